"""What IPVS should hold for a set of Services, and how it differs from what it holds. Pure.

The meaning is that of kube-proxy 1.20.2 (tests/golden): a virtual server per ClusterIP, external IP and NodePort,
a real server per endpoint, one address per virtual IP, and members of the sets that a handful of iptables rules ask.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from refproxy.plane import in_order
from refproxy.ranges import EVERYBODY, contains

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from refproxy.plane import Endpoint, ServicePort, ServicePortKey

_Counted = TypeVar("_Counted")

LOCALHOST = "127.0.0.1"

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
LOAD_BALANCER_SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
LOAD_BALANCER_SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
NODE_PORT = {"tcp": "KUBE-NODE-PORT-TCP", "udp": "KUBE-NODE-PORT-UDP"}
NODE_PORT_LOCAL = {"tcp": "KUBE-NODE-PORT-LOCAL-TCP", "udp": "KUBE-NODE-PORT-LOCAL-UDP"}

HASH_IP_PORT = "hash:ip,port"
HASH_IP_PORT_IP = "hash:ip,port,ip"
HASH_IP_PORT_NET = "hash:ip,port,net"
BITMAP_PORT = "bitmap:port"

# All sets that kube-proxy makes, also those that the objects we serve never fill: their kinds by name.
SETS: Mapping[str, str] = {
    LOOP_BACK: HASH_IP_PORT_IP,
    CLUSTER_IP: HASH_IP_PORT,
    EXTERNAL_IP: HASH_IP_PORT,
    EXTERNAL_IP_LOCAL: HASH_IP_PORT,
    LOAD_BALANCER: HASH_IP_PORT,
    LOAD_BALANCER_FW: HASH_IP_PORT,
    LOAD_BALANCER_LOCAL: HASH_IP_PORT,
    LOAD_BALANCER_SOURCE_IP: HASH_IP_PORT_IP,
    LOAD_BALANCER_SOURCE_CIDR: HASH_IP_PORT_NET,
    "KUBE-NODE-PORT-TCP": BITMAP_PORT,
    "KUBE-NODE-PORT-LOCAL-TCP": BITMAP_PORT,
    "KUBE-NODE-PORT-UDP": BITMAP_PORT,
    "KUBE-NODE-PORT-LOCAL-UDP": BITMAP_PORT,
    "KUBE-NODE-PORT-SCTP-HASH": HASH_IP_PORT,
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": HASH_IP_PORT,
}


class ServerId(NamedTuple):
    """What names a virtual server in the kernel."""

    protocol: str  # "tcp" or "udp"
    address: str
    port: int


class RealServer(NamedTuple):
    """One endpoint behind a virtual server; always masqueraded (NAT)."""

    address: str
    port: int
    weight: int = 1


class VirtualServer(NamedTuple):
    """What a virtual server does; ``persistence`` in seconds, 0 for none."""

    scheduler: str
    persistence: int
    reals: frozenset[RealServer]


class Member(NamedTuple):
    """One element of a set: only ``port`` in a bitmap.

    ``source`` is an address in hash:ip,port,ip, and a range of addresses ("192.0.2.0/24") in hash:ip,port,net.
    """

    set_name: str
    protocol: str
    address: str
    port: int
    source: str = ""


class Dropped(NamedTuple):
    """Where new connections get no answer; an empty ``address`` stands for all of the node's."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class State:
    """All that IPVS mode keeps in the kernel and that depends on Services."""

    servers: Mapping[ServerId, VirtualServer]
    addresses: AbstractSet[str]
    members: AbstractSet[Member]


@dataclass(frozen=True, slots=True)
class Changes:
    """The requests that turn one state into another, by kind, in the order in which they are to be sent.

    First what makes a Service work (its address last, so that nobody is refused by a half-made one), then removals.
    ``servers_changed`` have another scheduler or persistence, ``reals_changed`` another weight.
    """

    members_added: tuple[Member, ...] = ()
    servers_added: tuple[tuple[ServerId, VirtualServer], ...] = ()
    servers_changed: tuple[tuple[ServerId, VirtualServer], ...] = ()
    reals_added: tuple[tuple[ServerId, RealServer], ...] = ()
    reals_changed: tuple[tuple[ServerId, RealServer], ...] = ()
    addresses_added: tuple[str, ...] = ()
    reals_removed: tuple[tuple[ServerId, RealServer], ...] = ()
    servers_removed: tuple[ServerId, ...] = ()
    addresses_removed: tuple[str, ...] = ()
    members_removed: tuple[Member, ...] = ()


def diff(held: State, wanted: State) -> Changes:
    """Return what turns ``held`` into ``wanted``. A removed virtual server takes its real servers with it.

    What is added or changed stands in ``wanted``'s order, what is removed is sorted: ``held`` may have no order.
    """
    added: list[tuple[ServerId, VirtualServer]] = []
    changed: list[tuple[ServerId, VirtualServer]] = []
    reals_added: list[tuple[ServerId, RealServer]] = []
    reals_changed: list[tuple[ServerId, RealServer]] = []
    reals_removed: list[tuple[ServerId, RealServer]] = []
    for name, server in wanted.servers.items():
        before = held.servers.get(name)
        if before == server:
            continue
        if before is None:
            added.append((name, server))
            reals_added.extend((name, real) for real in sorted(server.reals))
            continue
        if before[:2] != server[:2]:
            changed.append((name, server))
        new, other, old = _diff_reals(before.reals, server.reals)
        reals_added.extend((name, real) for real in new)
        reals_changed.extend((name, real) for real in other)
        reals_removed.extend((name, real) for real in old)
    return Changes(
        members_added=tuple(member for member in wanted.members if member not in held.members),
        servers_added=tuple(added),
        servers_changed=tuple(changed),
        reals_added=tuple(reals_added),
        reals_changed=tuple(reals_changed),
        addresses_added=tuple(address for address in wanted.addresses if address not in held.addresses),
        reals_removed=tuple(reals_removed),
        servers_removed=tuple(sorted(name for name in held.servers if name not in wanted.servers)),
        addresses_removed=tuple(sorted(address for address in held.addresses if address not in wanted.addresses)),
        members_removed=tuple(sorted(member for member in held.members if member not in wanted.members)),
    )


def _diff_reals(
    held: frozenset[RealServer], wanted: frozenset[RealServer]
) -> tuple[list[RealServer], list[RealServer], list[RealServer]]:
    """Return the real servers to add, to give another weight, and to remove."""
    held_names = {real[:2] for real in held}
    wanted_names = {real[:2] for real in wanted}
    fresh = sorted(wanted - held)
    return (
        [real for real in fresh if real[:2] not in held_names],
        [real for real in fresh if real[:2] in held_names],
        sorted(real for real in held if real[:2] not in wanted_names),
    )


@dataclass(frozen=True, slots=True)
class Share:
    """What one Service port asks of the kernel."""

    servers: tuple[tuple[ServerId, VirtualServer], ...]
    addresses: tuple[str, ...]
    members: tuple[Member, ...]
    dropped: tuple[Dropped, ...] = ()


def share(port: ServicePort, node_ips: tuple[str, ...], scheduler: str) -> Share:
    """Translate one Service port; ``node_ips`` are the node's addresses without 127.0.0.1."""
    protocol = port.key.protocol
    reals = frozenset([RealServer(end.ip, end.port) for end in port.endpoints])
    near = reals
    if port.local_only:
        near = frozenset([RealServer(end.ip, end.port) for end in port.outer_endpoints])
    dropped = () if near or not port.local_only else _unanswered(port)
    if port.leaving and protocol == "tcp":
        reals = _with_leaving(reals, port.leaving)
        near = _with_leaving(near, [end for end in port.leaving if end.local]) if port.local_only else reals
    inside = VirtualServer(scheduler, port.affinity_seconds, reals)
    outside = VirtualServer(scheduler, port.affinity_seconds, near)
    servers = {ServerId(protocol, port.cluster_ip, port.port): inside}
    members = [Member(CLUSTER_IP, protocol, port.cluster_ip, port.port)]
    ends = dict.fromkeys([*port.endpoints, *port.outer_endpoints]) if port.leaving else port.endpoints
    members += [Member(LOOP_BACK, protocol, end.ip, end.port, end.ip) for end in ends if end.local]
    for address in port.external_ips:
        servers.setdefault(ServerId(protocol, address, port.port), outside)
        kind = EXTERNAL_IP_LOCAL if port.local_only else EXTERNAL_IP
        members.append(Member(kind, protocol, address, port.port))
    for address in port.ingress_ips:
        servers.setdefault(ServerId(protocol, address, port.port), outside)
        members += _balanced(port, address, node_ips)
    if port.node_port:
        for address in (*node_ips, LOCALHOST):
            servers.setdefault(ServerId(protocol, address, port.node_port), outside)
        members.append(Member(NODE_PORT[protocol], protocol, "", port.node_port))
        if port.local_only:
            members.append(Member(NODE_PORT_LOCAL[protocol], protocol, "", port.node_port))
    addresses = (port.cluster_ip, *port.external_ips, *port.ingress_ips)
    return Share(tuple(servers.items()), addresses, tuple(members), dropped)


def _with_leaving(reals: frozenset[RealServer], leaving: Iterable[Endpoint]) -> frozenset[RealServer]:
    """Add endpoints that terminate, at weight 0: their connections go on, and new ones go elsewhere."""
    there = {real[:2] for real in reals}
    return reals | {RealServer(end.ip, end.port, 0) for end in leaving if end[:2] not in there}


def _unanswered(port: ServicePort) -> tuple[Dropped, ...]:
    """Return where traffic from outside is dropped, since no endpoint is local: IPVS would refuse it.

    Where there is no endpoint at all it may.
    """
    if not port.endpoints:
        return ()
    protocol = port.key.protocol
    places = [Dropped(protocol, address, port.port) for address in (*port.external_ips, *port.ingress_ips)]
    return (*places, Dropped(protocol, "", port.node_port)) if port.node_port else tuple(places)


def _balanced(port: ServicePort, address: str, node_ips: tuple[str, ...]) -> list[Member]:
    """Return the members for one address of a load balancer."""
    protocol = port.key.protocol
    sets = [LOAD_BALANCER]
    if port.local_only:
        sets.append(LOAD_BALANCER_LOCAL)
    if port.source_ranges:
        sets.append(LOAD_BALANCER_FW)
    members = [Member(name, protocol, address, port.port) for name in sets]
    for source in port.source_ranges:
        # This kind of set takes no range without a prefix; two halves say the same.
        parts = ("0.0.0.0/1", "128.0.0.0/1") if source == EVERYBODY else (source,)
        members += [Member(LOAD_BALANCER_SOURCE_CIDR, protocol, address, port.port, part) for part in parts]
    if node_ips and any(contains(source, node_ips[0]) for source in port.source_ranges):
        members.append(Member(LOAD_BALANCER_SOURCE_IP, protocol, address, port.port, address))
    return members


@dataclass(slots=True)
class Plan:
    """The wanted state, kept up to date Service port by Service port.

    Several ports may ask for the same address (TCP and UDP) or member (two Services with one endpoint), so both are
    counted. Of two ports that claim the same virtual server, the one whose key sorts first has it.
    """

    node_ips: tuple[str, ...]
    scheduler: str = "rr"
    _shares: dict[ServicePortKey, tuple[ServicePort, Share]] = field(default_factory=dict)
    _servers: dict[ServerId, VirtualServer] = field(default_factory=dict)
    _owners: dict[ServerId, tuple[ServicePortKey, ...]] = field(default_factory=dict)
    _addresses: Counter[str] = field(default_factory=Counter)
    _members: Counter[Member] = field(default_factory=Counter)
    _sizes: Counter[str] = field(default_factory=Counter)
    _dropped: dict[ServicePortKey, tuple[Dropped, ...]] = field(default_factory=dict)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Where new connections get no answer, in order."""
        return tuple(sorted({place for places in self._dropped.values() for place in places}))

    @property
    def filled_sets(self) -> AbstractSet[str]:
        """The names of the sets that have members."""
        return self._sizes.keys()

    @property
    def state(self) -> State:
        """The wanted state, as live views: use it before the next ``update``."""
        return State(self._servers, self._addresses.keys(), self._members.keys())

    def update(self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey]) -> Changes:
        """Take over the changed keys (absent from ``ports``: deleted) and return what that changes."""
        keys = in_order(ports, changed)
        gone = [key for key in keys if key in self._shares and self._shares[key][0] is not ports.get(key)]
        leaving = set(gone)
        come = [key for key in keys if key in ports and (key in leaving or key not in self._shares)]
        new = [(key, ports[key], share(ports[key], self.node_ips, self.scheduler)) for key in come]
        # What is new decides the order: a Service that only lost something comes last.
        touched = [*(item[2] for item in new), *(self._shares[key][1] for key in gone)]
        before = self._part(touched)
        self._forget(gone)
        for item in new:
            self._take(*item)
        return diff(before, self._part(touched))

    def replace(self, ports: Mapping[ServicePortKey, ServicePort]) -> State:
        """Make the wanted state exactly that of ``ports`` and return it in their order, whatever came before."""
        self._forget([key for key, (port, _) in self._shares.items() if ports.get(key) is not port])
        for key, port in ports.items():
            if key not in self._shares:
                self._take(key, port, share(port, self.node_ips, self.scheduler))
        return self._part(self._shares[key][1] for key in ports)

    def _part(self, shares: Iterable[Share]) -> State:
        """Return the wanted state of only what ``shares`` name."""
        servers: dict[ServerId, VirtualServer] = {}
        addresses: dict[str, None] = {}
        members: dict[Member, None] = {}
        for item in shares:
            for name, _ in item.servers:
                if (server := self._servers.get(name)) is not None:
                    servers[name] = server
            addresses.update((address, None) for address in item.addresses if address in self._addresses)
            members.update((member, None) for member in item.members if member in self._members)
        return State(servers, addresses.keys(), members.keys())

    def _take(self, key: ServicePortKey, port: ServicePort, wanted: Share) -> None:
        self._shares[key] = (port, wanted)
        if wanted.dropped:
            self._dropped[key] = wanted.dropped
        for name, server in wanted.servers:
            owners = self._owners.get(name)
            if owners is None:
                self._owners[name] = (key,)
                self._servers[name] = server
            else:
                self._owners[name] = tuple(sorted({*owners, key}))
                self._servers[name] = self._server_of(name)
        for address in wanted.addresses:
            self._addresses[address] += 1
        for member in wanted.members:
            if member not in self._members:
                self._sizes[member.set_name] += 1
            self._members[member] += 1

    def _forget(self, keys: Iterable[ServicePortKey]) -> None:
        for key in keys:
            _, wanted = self._shares.pop(key)
            if wanted.dropped:
                del self._dropped[key]
            for name, _ in wanted.servers:
                owners = tuple(owner for owner in self._owners[name] if owner != key)
                if owners:
                    self._owners[name] = owners
                    self._servers[name] = self._server_of(name)
                else:
                    self._owners.pop(name)
                    self._servers.pop(name)
            for address in wanted.addresses:
                _release(self._addresses, address)
            for member in wanted.members:
                if _release(self._members, member):
                    _release(self._sizes, member.set_name)

    def _server_of(self, name: ServerId) -> VirtualServer:
        """Return what the first owner of a contested virtual server wants of it."""
        first = self._owners[name][0]
        return next(server for other, server in self._shares[first][1].servers if other == name)


def _release(counts: dict[_Counted, int], item: _Counted) -> bool:
    """Count one claim less; drop the item and return True when that was the last."""
    counts[item] -= 1
    if counts[item]:
        return False
    del counts[item]
    return True
