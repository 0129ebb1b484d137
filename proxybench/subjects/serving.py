"""A running proxy that serves what kube-proxy serves on the node's loopback: /proxyMode, /metrics and /healthz."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from proxybench.errors import ProxierError
from proxybench.model import Family, Mode
from proxybench.subjects import inventory
from proxybench.subjects.process import RunningProgram
from proxybench.subjects.proxy_log import count_syncs, parse_syncs
from proxybench.subjects.proxy_metrics import parse_metrics
from proxybench.subjects.removals import look, removal
from proxybench.subjects.rule_ranks import (
    NODE_PORTS,
    WALKED_CHAINS,
    list_argv,
    parse_places,
    parse_port_ranks,
    parse_ranks,
)
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.deadline import Deadline
    from proxybench.subjects.driver import ProxyMetrics, SyncRecord
    from proxybench.subjects.inventory import Inventory
    from proxybench.subjects.process import Process
    from proxybench.subjects.removals import Part
    from proxybench.units import Clock

METRICS_PORT: Final = 10249
HEALTHZ_PORT: Final = 10256
_RANKS_LIMIT: Final = 120.0  # ten thousand rules are read back in seconds, under emulation in many
_LOGGED: Final = (Mode.IPTABLES, Mode.NFTABLES)  # the modes whose syncs kube-proxy logs at --v=2


@dataclass(frozen=True)
class Served:
    """What is known of the proxy besides its process.

    ``iptables`` is the multi-call program of the backend that it uses. ``logs_syncs``: whether its log is klog and
    tells of syncs; ``counts_syncs``: whether its metrics do. ``files`` go into the run folder. ``families`` are those
    of which it makes rules. ``runs_already``: it ran before its log was looked at, which need not tell of a sync.
    ``periods`` as in ``RunningProxy``.
    """

    mode: Mode
    iptables: str
    logs_syncs: bool = False
    counts_syncs: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    families: tuple[Family, ...] = (Family.IPV4,)
    runs_already: bool = False
    periods: tuple[float, float] | None = None


class ServingProxy(RunningProgram):
    """Implements RunningProxy."""

    def __init__(self, process: Process, served: Served, clock: Clock) -> None:
        super().__init__(process, clock)
        self._served = served
        self._year = datetime.fromtimestamp(clock.utc_ns() / NS_PER_S, UTC).year

    @property
    def periods(self) -> tuple[float, float] | None:
        """The periods that it says itself."""
        return self._served.periods

    def wait_ready(self, deadline: Deadline, limit_s: float) -> None:
        """Wait until it is healthy, has counted a sync, and holds no change that no sync has taken up.

        Raises ProxierError with the log's tail: it ended, runs in another mode, or did not sync within the limit;
        MeasurementError when the deadline passes.
        """
        self._wait_while(self._missing, "had no first sync", deadline, limit_s)
        mode = self._process.get(METRICS_PORT, "/proxyMode").strip()
        if mode != self._served.mode:
            raise self._process.error(f"runs in {mode} mode, not in {self._served.mode} mode as it was asked to")

    def metrics(self) -> ProxyMetrics:
        """Read its metrics, or what its log says of them. Raises ProxierError."""
        self._process.check_running()
        text = self._process.get(METRICS_PORT, "/metrics") if self._served.counts_syncs else ""
        try:
            return parse_metrics(text) if self._served.counts_syncs else count_syncs(self.syncs())
        except ProxierError as error:
            raise ProxierError(f"{self.handle.name}: {error}") from error

    def rule_ranks(self) -> Mapping[str, int] | None:
        """Read back the rank of each ClusterIP's rule; None where the mode has no order. Raises ProxierError."""
        chain = WALKED_CHAINS.get(self._served.mode)
        return None if chain is None else self._read(chain, parse_ranks)

    def node_port_ranks(self) -> Mapping[str, int]:
        """Read back the rank of each node port's rule; empty where the mode has no order. Raises ProxierError."""
        chain = NODE_PORTS.get(self._served.mode)
        return {} if chain is None else self._read(chain, parse_port_ranks)

    def endpoint_places(self, vip: str) -> Mapping[str, int]:
        """Read back the place of each endpoint in a Service's chain; empty where there is none. Raises ProxierError."""
        if self._served.mode is not Mode.IPTABLES:
            return {}
        return self._read("", lambda listing, _: parse_places(listing, vip))

    def _read(self, chain: str, parse: Callable[[str, str], dict[str, int]]) -> dict[str, int]:
        if not self._served.iptables:
            raise ProxierError(f"{self.handle.name}: no iptables there sees {chain}")
        ranks: dict[str, int] = {}
        for family in self._served.families:
            argv = list_argv(self._served.iptables, chain, family)
            ranks |= parse(self._asked(argv, f"the rules of {chain or 'nat'} cannot be read"), chain)
        return ranks

    def _asked(self, argv: Sequence[str], otherwise: str) -> str:
        """Return what a command on the node prints. Raises ProxierError, with ``otherwise``, when it fails."""
        ended = self.handle.executor.run(argv, timeout=_RANKS_LIMIT, check=False)
        if ended.code != 0:
            raise ProxierError(f"{self.handle.name}: {otherwise}: {ended.stderr.strip()}")
        return ended.stdout

    def syncs(self) -> tuple[SyncRecord, ...]:
        """Return the syncs that its log tells of, oldest first; empty for a proxy or mode that does not log them."""
        if not self._served.logs_syncs:
            return ()
        return parse_syncs(self._process.log(), self._year, self._process.zone_s)

    def inventory(self) -> Inventory | None:
        """Read back what it has in the kernel. Raises ProxierError."""
        vips, chains = frozenset[str](), 0
        for family in self._served.families:
            argv = inventory.list_argv(self._served.mode, self._served.iptables, family)
            found = inventory.read(self._served.mode, self._asked(argv, "its rules cannot be read"))
            vips, chains = vips | found.vips, chains + found.chains
        return inventory.Inventory(vips, chains)

    def removal(self, part: Part, vip: str, port: int) -> tuple[str, ...] | None:
        """Return the command that removes a part of the way to a Service from the kernel. Raises ProxierError."""
        mode, program, address, looked = self._served.mode, self._served.iptables, (vip, port), ""
        if argv := look(mode, part, address, program):
            looked = self._asked(argv, f"{' '.join(argv)} failed")
        return removal(mode, part, address, program, looked)

    def files(self) -> Mapping[str, str]:
        """Return what shaped the run, by file name."""
        return self._served.files

    def _missing(self) -> str:
        """Say what is not there yet; empty when it is ready."""
        try:
            self._process.get(HEALTHZ_PORT, "/healthz")
            # Reading metrics before the first sync logs errors of counters that are not there yet (from 1.33 on).
            logged = self._served.logs_syncs and self._served.mode in _LOGGED and not self._served.runs_already
            if logged and not self.syncs():
                return "its log tells of no sync"
            metrics = self.metrics()
        except ProxierError as error:
            return str(error)
        if metrics.sync_count == 0:
            return "no sync was counted"
        return f"{metrics.pending} changes are pending" if metrics.pending else ""
