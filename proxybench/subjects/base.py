"""The seam to a Service proxy: one driver per way in which a control loop runs on a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxybench.model import Mode


@dataclass(frozen=True)
class ProxierConfig:
    """How a control loop is to run; periods in seconds. Pinned for every mode and printed in the report."""

    mode: Mode
    min_sync_period: float
    sync_period: float


@dataclass(frozen=True)
class LoopFigures:
    """The control loop's own figures, totals since its start (differences of two readings are what counts).

    ``sync_*`` are sum and count of ``kubeproxy_sync_proxy_rules_duration_seconds``; ``programming_*`` of
    ``kubeproxy_network_programming_duration_seconds``; all sums in seconds. ``build``, ``tool`` and ``kernel``
    split the syncs of the reference proxier, None for others; so is ``wait``, the seconds in which something was known
    to have changed and the minimum period between syncs had to pass. ``relay_cpu`` is the CPU time (s) of relaying
    connections, None where the kernel forwards. ``pending`` is the number of changes seen but not yet taken up by a
    sync.
    """

    sync_sum: float
    sync_count: int
    programming_sum: float
    programming_count: int
    build: float | None = None
    tool: float | None = None
    kernel: float | None = None
    wait: float | None = None
    relay_cpu: float | None = None
    pending: int = 0


class Proxier(Protocol):
    """A control loop on one node."""

    @property
    def cgroup(self) -> str:
        """The cgroup v2 folder on the node that holds the control loop and its children."""
        ...

    def start(self, config: ProxierConfig) -> int:
        """Start it and return the node's monotonic ns of that moment. Raises ProxierError."""
        ...

    def ready(self, timeout: float) -> None:
        """Wait until it reports a finished first sync. Raises ProxierError with the log's tail."""
        ...

    def figures(self) -> LoopFigures:
        """Read its metrics."""
        ...

    def stop(self, timeout: float) -> None:
        """Stop it and wait until what it made is gone."""
        ...

    def leftovers(self) -> tuple[str, ...]:
        """Return what it left in the kernel, one line each; empty when the node is as it was found."""
        ...

    def log(self) -> str:
        """Return the log it wrote."""
        ...
