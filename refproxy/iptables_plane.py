"""The iptables data plane: one ``iptables-restore`` per sync, with the tables of kube-proxy 1.20 as a result.

What is written is what kube-proxy writes since 1.26 (KEP-3453): the chains that all Service ports share in full, and
those of the Service ports that changed. A full sync writes everything. Besides, rules are built only for what changed,
and the kernel is read (``iptables-save``) only when nothing is known about it, since the loop remembers which chains
it made.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from refproxy import iptables_found as found_tables
from refproxy.errors import ProxierError
from refproxy.iptables_rules import (
    LARGE_CLUSTER_ENDPOINTS,
    Block,
    build_block,
    filter_table,
    nat_table,
)
from refproxy.plane import SyncSplit, in_order
from refproxy.sysctl import Sysctls
from refproxy.times import NO_TIME, Times, now
from refproxy.tools import check
from refproxy.udp_flows import UdpMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from refproxy.config import LoopConfig
    from refproxy.plane import ServicePort, ServicePortKey
    from refproxy.tools import ToolRunner
    from refproxy.udp_flows import Connections

log = logging.getLogger(__name__)

SYSCTLS = {"net.ipv4.conf.all.route_localnet": 1}  # NodePorts answer on 127.0.0.1 too
TOOL_TIMEOUT = 120.0
LOCK_WAIT = "5"


class _Changes(NamedTuple):
    """What the tables lack: the blocks that were built anew, and the chains that nothing needs any more."""

    written: list[Block]
    stale: set[bytes]


class IptablesPlane:
    """Implements Plane with iptables rules; ``read_clocks`` tells the time for the timings.

    With more endpoints than ``comments_up_to`` the rules carry no comments.
    """

    def __init__(
        self,
        runner: ToolRunner,
        config: LoopConfig,
        *,
        sysctls: Sysctls | None = None,
        connections: Connections | None = None,
        read_clocks: Callable[[], Times] = now,
        comments_up_to: int = LARGE_CLUSTER_ENDPOINTS,
    ) -> None:
        self._runner = runner
        self._config = config
        self._node_ip = config.node_ips[0] if config.node_ips else ""
        self._sysctls = sysctls or Sysctls()
        self._now = read_clocks
        self._udp = UdpMemory(connections, read_clocks)
        self._blocks: dict[ServicePortKey, tuple[ServicePort, Block]] = {}
        self._comments = True
        self._comments_up_to = comments_up_to
        self._trusted = False

    def setup(self) -> None:
        """Set the sysctls, and lay the chains and jumps that do not depend on Services. Raises ProxierError."""
        self._sysctls.set(SYSCTLS)
        if base := found_tables.base_input(found_tables.find(self._save())):
            self._restore(base)

    def sync(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> SyncSplit:
        """Write the shared chains and those of the changed Service ports; see Plane."""
        start = self._now()
        reading = NO_TIME
        saved = None
        if changed is None or not self._trusted:
            changed = None
            saved = self._save()
            reading = self._now() - start
        self._trusted = False
        content = self._build(ports, changed, saved)
        built = self._now()
        self._restore(content)
        self._trusted = True
        tool = reading + self._now() - built
        return SyncSplit((built - start - reading).cpu_ns, tool.elapsed_ns, self._udp.settle(ports, changed).elapsed_ns)

    def relayed_ns(self) -> None:
        """Return None: the kernel forwards."""

    def cleanup(self) -> None:
        """Remove all chains and jumps, and put the sysctls back. Never raises."""
        self._trusted = False
        self._blocks.clear()
        try:
            if removal := found_tables.removal_input(found_tables.find(self._save())):
                self._restore(removal)
        except ProxierError as error:
            log.warning("iptables: not all was removed: %s", error)
        self._sysctls.restore()

    def _build(
        self,
        ports: Mapping[ServicePortKey, ServicePort],
        changed: AbstractSet[ServicePortKey] | None,
        saved: bytes | None,
    ) -> bytes:
        """Return the input of one restore, and bring the cached blocks up to date on the way."""
        changes = self._refresh(ports, None if saved is not None else changed)
        blocks = [self._blocks[key][1] for key in ports]
        if saved is None:
            return b"".join(self._tables(blocks, changes.written, changes.stale))
        found = found_tables.find(saved)
        live = {name for block in blocks for name in block.names}
        stale = found.get(b"nat", found_tables.NOTHING).service_chains - live
        return b"".join([found_tables.base_input(found), *self._tables(blocks, blocks, stale)])

    def _tables(self, blocks: Sequence[Block], written: Sequence[Block], stale: AbstractSet[bytes]) -> list[bytes]:
        return [*nat_table(blocks, written, stale), *filter_table(blocks, self._config.cluster_cidr)]

    def _refresh(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> _Changes:
        """Rebuild the blocks that are out of date."""
        comments = sum([len(port.endpoints) for port in ports.values()]) <= self._comments_up_to
        restyled = comments != self._comments
        self._comments = comments
        before: set[bytes] = set()
        written: list[Block] = []
        keys = self._blocks.keys() | ports.keys() if changed is None or restyled else changed
        for key in in_order(ports, keys):
            old, new = self._blocks.get(key), ports.get(key)
            if old is not None:
                if old[0] is new and not restyled:
                    continue
                before.update(old[1].names)
            if new is None:
                self._blocks.pop(key, None)
            else:
                block = build_block(new, self._config.cluster_cidr, self._node_ip, comments=comments)
                self._blocks[key] = (new, block)
                written.append(block)
        return _Changes(written, before.difference(*[block.names for block in written]))

    def _save(self) -> bytes:
        argv = (self._config.iptables, "iptables-save")
        return check(self._runner.run(argv, timeout=TOOL_TIMEOUT), "iptables-save")

    def _restore(self, content: bytes) -> None:
        argv = (self._config.iptables, "iptables-restore", "-w", LOCK_WAIT, "--noflush", "--counters")
        check(self._runner.run(argv, content, timeout=TOOL_TIMEOUT), "iptables-restore")
