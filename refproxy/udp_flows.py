"""UDP flows that the kernel remembers and that lead nowhere any more: which they are, and their end.

A TCP client of an endpoint that is gone gets a reset, or a timeout, and connects anew. A UDP client that keeps its
socket sends on, and connection tracking sends each datagram where it sent the first one. So kube-proxy deletes the
entries of a UDP Service's addresses when it loses an endpoint, those of that endpoint; and when the Service goes, or
gets its first endpoint, all of them (1.20: pkg/proxy/endpoints.go and service.go, detectStaleConnections and
UDPStaleClusterIP). Here the same holds for an address or NodePort that a Service gets or loses.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

from refproxy import netlink_conntrack as conntrack
from refproxy.errors import ProxierError
from refproxy.netlink import NETLINK_NETFILTER, Netlink
from refproxy.times import NO_TIME, Times, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from refproxy.netlink_conntrack import Flow
    from refproxy.plane import ServicePort, ServicePortKey

log = logging.getLogger(__name__)

_GONE = frozenset({errno.ENOENT})


class Face(NamedTuple):
    """What clients send to: an address with any port, or, without one, a NodePort on any address."""

    address: str
    node_port: int = 0


class Stale(NamedTuple):
    """Flows to delete: all of some faces, and those of a face that lead to one endpoint's address."""

    whole: frozenset[Face] = frozenset()
    behind: frozenset[tuple[Face, str]] = frozenset()

    def holds(self, flow: Flow) -> bool:
        """Tell whether a flow is one of them."""
        return any(
            face in self.whole or (face, flow.behind) in self.behind
            for face in (Face(flow.address), Face("", flow.port))
        )


class Connections(Protocol):
    """The kernel's connection tracking."""

    def drop(self, stale: Stale) -> None:
        """Delete flows, as far as they are there. Never raises."""
        ...


class KernelConnections:
    """Implements Connections for the network namespace of this process."""

    def __init__(self) -> None:
        self._told = False

    def drop(self, stale: Stale) -> None:
        """Delete flows; see Connections. As with kube-proxy no sync fails for it; a refusal is logged once."""
        try:
            with Netlink(NETLINK_NETFILTER) as link:
                flows = conntrack.parse_flows(link.dump(conntrack.GET, conntrack.list_request()))
                requests = [conntrack.delete_request(flow) for flow in flows if stale.holds(flow)]
                refused = link.send(conntrack.DELETE, 0, requests, _GONE)
            words = f"{len(refused)} entries could not be deleted: {refused[0].words}" if refused else ""
        except (ProxierError, OSError) as error:
            words = str(error)
        if words and not self._told:
            self._told = True
            log.warning("connection tracking: UDP clients may stay with endpoints that are gone: %s", words)


class UdpMemory:
    """Remembers the UDP Service ports of the last sync; ``read_clocks`` tells the time for the timings."""

    def __init__(self, connections: Connections | None = None, read_clocks: Callable[[], Times] = now) -> None:
        self._connections = connections or KernelConnections()
        self._now = read_clocks
        self._ports: dict[ServicePortKey, ServicePort] = {}

    def settle(self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None) -> Times:
        """Delete what became stale since the last call, after ``ports`` are in the kernel; see Plane.sync.

        ``changed`` is None for all. Returns what it took, nothing when there was nothing to delete.
        """
        keys = self._ports.keys() | ports.keys() if changed is None else changed
        pairs = [
            (key, self._ports.get(key), ports.get(key))
            for key in keys
            if key.protocol == "udp" and self._ports.get(key) is not ports.get(key)
        ]
        if not pairs:
            return NO_TIME
        stale = stale_between((old, new) for _, old, new in pairs)
        for key, _, new in pairs:
            if new is None:
                self._ports.pop(key, None)
            else:
                self._ports[key] = new
        return drop(self._connections, stale, self._now)


def drop(connections: Connections, stale: Stale, read_clocks: Callable[[], Times]) -> Times:
    """Delete flows, if there are any to delete; return what it took."""
    if stale == Stale():
        return NO_TIME
    begun = read_clocks()
    connections.drop(stale)
    return read_clocks() - begun


def stale_between(pairs: Iterable[tuple[ServicePort | None, ServicePort | None]]) -> Stale:
    """Return what is stale after UDP ports changed; each pair is one port before and after, None for absent."""
    whole: set[Face] = set()
    behind: set[tuple[Face, str]] = set()
    for old, new in pairs:
        before, after = _served(old), _served(new)
        whole |= before ^ after
        if old is not None and new is not None and before & after:
            stay = {(end.ip, end.port) for end in new.endpoints}
            gone = {end.ip for end in old.endpoints if (end.ip, end.port) not in stay}
            behind.update((face, address) for face in before & after for address in gone)
    return Stale(frozenset(whole), frozenset(behind))


def faces(port: ServicePort) -> frozenset[Face]:
    """Return what clients of a Service port may send to."""
    addresses = [Face(address) for address in (port.cluster_ip, *port.external_ips, *port.ingress_ips)]
    return frozenset([*addresses, Face("", port.node_port)] if port.node_port else addresses)


def _served(port: ServicePort | None) -> frozenset[Face]:
    """Return the faces behind which something answers."""
    return faces(port) if port is not None and port.endpoints else frozenset()
