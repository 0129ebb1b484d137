"""The userspace data plane: a relay listens for every Service port, and portals in iptables lead there.

Unlike kube-proxy, which runs iptables several times per rule, all rules of a sync go into one restore; a change of
endpoints needs none, since only the relay knows them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from refproxy import userspace_rules as rules
from refproxy.errors import ProxierError
from refproxy.fixed_tables import Iptables, frame, missing_base, removal
from refproxy.iptables_found import NOTHING, find
from refproxy.plane import SyncSplit, in_order
from refproxy.relay_process import Relay, RelayProcess
from refproxy.relay_wire import Port
from refproxy.times import NO_TIME, Times, now
from refproxy.udp_flows import KernelConnections, Stale, drop, faces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from refproxy.config import LoopConfig
    from refproxy.plane import ServicePort, ServicePortKey
    from refproxy.relay_wire import Answer
    from refproxy.tools import ToolRunner
    from refproxy.udp_flows import Connections, Face

log = logging.getLogger(__name__)


class Portal(NamedTuple):
    """What the kernel and the relay hold for one Service port."""

    port: ServicePort
    relay_port: int
    nat: tuple[bytes, ...]
    filter: tuple[bytes, ...]


class UserspacePlane:
    """Implements Plane with a relay; ``host_ip`` is the node's address that its own traffic is sent to.

    Without ``host_ip`` it is the first of the node's addresses. ``read_clocks`` tells the time for the timings.
    """

    def __init__(
        self,
        runner: ToolRunner,
        config: LoopConfig,
        *,
        relay: Relay | None = None,
        host_ip: str = "",
        connections: Connections | None = None,
        read_clocks: Callable[[], Times] = now,
    ) -> None:
        self._iptables = Iptables(runner, config.iptables)
        self._host_ip = host_ip or config.node_ips[0]
        self._relay = relay or RelayProcess()
        self._now = read_clocks
        self._portals: dict[ServicePortKey, Portal] = {}
        self._connections = connections or KernelConnections()
        self._stale: set[Face] = set()  # of UDP ports: flows that lead to a port of the relay that is no more
        self._unheld: dict[ServicePortKey, str] = {}  # NodePorts that somebody else has, and what was told of it
        self._trusted = False

    def setup(self) -> None:
        """Start the relay; it gets ready while the Services are being listed. Raises ProxierError."""
        self._relay.start()

    def sync(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> SyncSplit:
        """Bring relay and kernel to ``ports``; see Plane."""
        start = self._now()
        self._replace_dead_relay()
        full = changed is None or not self._trusted
        self._trusted = False
        keys = self._in_order(ports, None if full else changed)
        before = {key: portal for key in keys if (portal := self._portals.get(key)) is not None}
        relay = self._relay_to(ports, keys)
        tool = self._write_full(ports) if full else self._write_change(ports, before, keys)
        self._trusted = True
        away = relay + self._drop_stale()
        return SyncSplit((self._now() - start - away - tool).cpu_ns, tool.elapsed_ns, away.elapsed_ns)

    def relayed_ns(self) -> int | None:
        """Return the CPU time of relaying connections; see Plane."""
        return self._relay.relayed_ns()

    def cleanup(self) -> None:
        """Remove the portals and end the relay. Never raises."""
        self._trusted = False
        try:
            if content := removal((rules.NAT, rules.FILTER), find(self._iptables.save())):
                self._iptables.restore(content)
        except ProxierError as error:
            log.warning("iptables: not all was removed: %s", error)
        self._relay.stop()
        self._portals.clear()

    def _replace_dead_relay(self) -> None:
        """Start a new relay for one that ended by itself; this sync becomes a full one, since its ports are new."""
        if words := self._relay.ended():
            log.warning("relay: %s; starting a new one", words)
            self._relay.stop()
            self._forget_portals()
            self._trusted = False
            self._relay.start()

    def _in_order(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> list[ServicePortKey]:
        """Return the keys to look at (None: all), those that are there in the order in which Services were created."""
        if changed is None:
            return [*(key for key in self._portals if key not in ports), *ports]
        return in_order(ports, changed)

    def _relay_to(self, ports: Mapping[ServicePortKey, ServicePort], keys: Sequence[ServicePortKey]) -> Times:
        """Bring the relay and the portals to ``ports``; return the time spent waiting for the relay."""
        wanted = [
            ports[key]
            for key in keys
            if key in ports and (key not in self._portals or self._portals[key].port is not ports[key])
        ]
        if self._unheld:
            there = {port.key for port in wanted}
            wanted += [ports[key] for key in self._unheld if key in ports and key not in there]
        gone = [key for key in keys if key in self._portals and key not in ports]
        if not wanted and not gone:
            return NO_TIME
        batch = [_relayed(port) for port in wanted]
        begun = self._now()
        try:
            self._relay.start()
            answer = self._relay.apply([_name(key) for key in gone], batch)
        except ProxierError:
            # Nothing is known about it any more: end it, and let the next, full sync fill a new one.
            self._relay.stop()
            self._forget_portals()
            raise
        waited = self._now() - begun
        for key in gone:
            self._note_stale(self._portals.pop(key), None)
        for port in wanted:
            if (number := answer.listening.get(_name(port.key))) is not None:
                portal = self._portal(port, number)
                self._note_stale(self._portals.get(port.key), portal)
                self._portals[port.key] = portal
        self._note_unheld(wanted, answer)
        return waited

    def _note_unheld(self, wanted: Sequence[ServicePort], answer: Answer) -> None:
        """Tell which NodePorts could not be held, each once, and keep them: the next sync tries again.

        The rules lead to the relay all the same. Raises ProxierError for a port that does not listen at all.
        """
        unheld = {}
        for port in wanted if answer.errors else ():
            if words := answer.errors.get(name := _name(port.key)):
                if name not in answer.listening:
                    raise ProxierError(f"relay: {name}: {words}")
                if self._unheld.get(port.key) != words:
                    log.warning("NodePort of %s is not held, and tried again in each sync: %s", name, words)
                unheld[port.key] = words
        self._unheld = unheld

    def _forget_portals(self) -> None:
        for portal in self._portals.values():
            self._note_stale(portal, None)
        self._portals.clear()

    def _note_stale(self, old: Portal | None, new: Portal | None) -> None:
        """Note which UDP flows end: those whose way to the relay is another now. Endpoints are the relay's business."""
        before, after = (
            faces(one.port) if one and one.port.key.protocol == "udp" else frozenset() for one in (old, new)
        )
        self._stale |= before ^ after if old and new and old.relay_port == new.relay_port else before | after

    def _drop_stale(self) -> Times:
        """Delete the noted flows; return the nanoseconds that it took."""
        stale = Stale(frozenset(self._stale))
        self._stale.clear()
        return drop(self._connections, stale, self._now)

    def _portal(self, port: ServicePort, number: int) -> Portal:
        """Return the portal of a port; its rules are made anew only when something in them changed."""
        old = self._portals.get(port.key)
        if old is not None and old.relay_port == number and _faces_alike(old.port, port):
            return old._replace(port=port)
        return Portal(port, number, rules.nat_rules(port, number, self._host_ip), rules.filter_rules(port, number))

    def _write_full(self, ports: Mapping[ServicePortKey, ServicePort]) -> Times:
        """Empty the chains and write all rules; return what the programs took."""
        begun = self._now()
        saved = find(self._iptables.save())
        tool = self._now() - begun
        portals = [self._portals[key] for key in ports if key in self._portals]
        nat = (rule for portal in portals for rule in portal.nat)
        other = (rule for portal in portals for rule in portal.filter)
        content = frame(
            rules.NAT, rules.full_input(rules.NAT, missing_base(rules.NAT, saved.get(b"nat", NOTHING)), nat)
        ) + frame(
            rules.FILTER,
            rules.full_input(rules.FILTER, missing_base(rules.FILTER, saved.get(b"filter", NOTHING)), other),
        )
        return tool + self._restore(content)

    def _write_change(
        self,
        ports: Mapping[ServicePortKey, ServicePort],
        before: Mapping[ServicePortKey, Portal],
        keys: Sequence[ServicePortKey],
    ) -> Times:
        """Write only what changed; return what the program took, nothing without a change.

        Rules of a Service that was there before go back to their places; new Services' are appended.
        """
        old, new = [], []
        stays = False
        for key in keys:
            was, now = before.get(key), self._portals.get(key)
            if was is None or now is None or was.nat != now.nat or was.filter != now.filter:
                old += [was] if was else []
                new += [now] if now else []
                stays = stays or (was is not None and now is not None)
        # Places must be counted only for those that stay, and hardly ever does a Service change its rules.
        everyone = [self._portals[key] for key in ports if key in self._portals] if stays else new
        written = {portal.port.key for portal in new}
        wanted = [(portal, portal.port.key in written) for portal in everyone]
        nat = rules.change_input(
            (rule for portal in old for rule in portal.nat),
            ((rule, is_new) for portal, is_new in wanted for rule in portal.nat),
            counted=stays,
        )
        other = rules.change_input(
            (rule for portal in old for rule in portal.filter),
            ((rule, is_new) for portal, is_new in wanted for rule in portal.filter),
            counted=stays,
        )
        content = frame(rules.NAT, nat) + frame(rules.FILTER, other)
        return self._restore(content) if content else NO_TIME

    def _restore(self, content: bytes) -> Times:
        begun = self._now()
        self._iptables.restore(content)
        return self._now() - begun


def _faces_alike(one: ServicePort, other: ServicePort) -> bool:
    """Tell whether two versions of a Service port have the same rules: endpoints are not in them."""
    return (one.cluster_ip, one.port, one.node_port, one.external_ips, one.ingress_ips, not one.source_ranges) == (
        other.cluster_ip,
        other.port,
        other.node_port,
        other.external_ips,
        other.ingress_ips,
        not other.source_ranges,
    )


def _relayed(port: ServicePort) -> Port:
    return Port(
        _name(port.key),
        port.key.protocol,
        [(end.ip, end.port) for end in port.endpoints],
        port.node_port,
        port.affinity_seconds,
    )


def _name(key: ServicePortKey) -> str:
    return f"{key} {key.protocol}"
