"""The IPVS data plane: wanted state and kernel are compared, and only the difference is sent.

A full sync reads the kernel and trusts nothing; a partial one sends what the changed Service ports change. The few
iptables rules are written again only when another set gets its first or loses its last member, when something else is
to be dropped, or in a full sync.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from refproxy import ipvs_rules as rules
from refproxy.errors import ProxierError
from refproxy.fixed_tables import Iptables, frame, missing_base, removal
from refproxy.iptables_found import NOTHING, find
from refproxy.ipvs_kernel import IpvsKernel, NetlinkIpvs
from refproxy.ipvs_plan import LOAD_BALANCER_FW, Dropped, Plan, diff
from refproxy.plane import SyncSplit
from refproxy.sysctl import Sysctls
from refproxy.times import NO_TIME, Times, now
from refproxy.udp_flows import UdpMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from refproxy.config import LoopConfig
    from refproxy.plane import ServicePort, ServicePortKey
    from refproxy.tools import ToolRunner
    from refproxy.udp_flows import Connections

log = logging.getLogger(__name__)

SYSCTLS = {
    "net.ipv4.conf.all.route_localnet": 1,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.vs.conntrack": 1,
    "net.ipv4.vs.conn_reuse_mode": 0,
    "net.ipv4.vs.expire_nodest_conn": 1,
    "net.ipv4.vs.expire_quiescent_template": 1,
}


class IpvsPlane:
    """Implements Plane with IPVS; ``read_clocks`` tells the time for the timings.

    All virtual servers of the network namespace are taken for ours, as kube-proxy does.
    """

    def __init__(
        self,
        runner: ToolRunner,
        config: LoopConfig,
        *,
        kernel: IpvsKernel | None = None,
        sysctls: Sysctls | None = None,
        connections: Connections | None = None,
        scheduler: str = "rr",
        read_clocks: Callable[[], Times] = now,
    ) -> None:
        self._iptables = Iptables(runner, config.iptables)
        self._cluster_cidr = config.cluster_cidr
        self._kernel = kernel
        self._sysctls = sysctls or Sysctls()
        self._now = read_clocks
        self._udp = UdpMemory(connections, read_clocks)
        self._plan = Plan(tuple(config.node_ips), scheduler)
        self._written: tuple[frozenset[str], tuple[Dropped, ...]] | None = None  # what the kernel's rules are for
        self._guarded = False
        self._trusted = False

    def setup(self) -> None:
        """Make the device, the sets and the sysctls. Raises ProxierError."""
        if self._kernel is None:
            self._kernel = NetlinkIpvs()  # loads the module, without which the sysctls are not there
        self._sysctls.set(SYSCTLS)
        self._kernel.prepare()

    def sync(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> SyncSplit:
        """Bring the kernel to ``ports``; see Plane."""
        kernel = self._ready_kernel()
        start, spent_before = self._now(), kernel.spent
        full = changed is None or not self._trusted
        self._trusted = False
        if changed is None or full:
            kernel.prepare()
            wanted = self._plan.replace(ports)
            changes = diff(kernel.held(), wanted)
        else:
            changes = self._plan.update(ports, changed)
        kernel.apply(changes)
        tool = self._write_rules(full=full)
        self._trusted = True
        away = kernel.spent - spent_before + self._udp.settle(ports, None if full else changed)
        return SyncSplit((self._now() - start - tool - away).cpu_ns, tool.elapsed_ns, away.elapsed_ns)

    def relayed_ns(self) -> None:
        """Return None: the kernel forwards."""

    def cleanup(self) -> None:
        """Remove rules, virtual servers, device and sets, and put the sysctls back. Never raises."""
        self._trusted = False
        try:
            if content := removal((rules.NAT, rules.GUARDED_FILTER), find(self._iptables.save())):
                self._iptables.restore(content)
        except ProxierError as error:
            log.warning("iptables: not all was removed: %s", error)
        if self._kernel is not None:
            for line in self._kernel.remove():
                log.warning("IPVS: not removed: %s", line)
        self._sysctls.restore()
        self._written, self._guarded = None, False

    def _ready_kernel(self) -> IpvsKernel:
        if self._kernel is None:
            raise ProxierError("IPVS: sync before setup")
        return self._kernel

    def _write_rules(self, *, full: bool) -> Times:
        """Write the rules where needed; return what the programs took."""
        filled, dropped = wanted = (frozenset(self._plan.filled_sets), self._plan.dropped)
        if wanted == self._written and not full:
            return NO_TIME
        begun = self._now()
        self._written = None
        guarded = self._guarded or bool(dropped) or LOAD_BALANCER_FW in filled
        table = rules.GUARDED_FILTER if guarded else rules.FILTER
        nat = rules.nat_lines(filled, self._cluster_cidr)
        other = rules.guarded_lines(filled, dropped) if guarded else rules.filter_lines()
        if full or guarded != self._guarded:
            saved = find(self._iptables.save())
            nat = missing_base(rules.NAT, saved.get(b"nat", NOTHING)) + nat
            other = missing_base(table, saved.get(b"filter", NOTHING)) + other
        self._iptables.restore(frame(rules.NAT, nat) + frame(table, other))
        self._written, self._guarded = wanted, guarded
        return self._now() - begun
