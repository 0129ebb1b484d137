"""What a Service has besides its ClusterIP, as typed variants of the Service object. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxybench.model import Address, Transport

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxybench.model import ServicePath

Object = dict[str, Any]


TCP = ("TCP",)


@dataclass(frozen=True)
class Exposure:
    """Which further addresses each Service of a population has, and the protocols of its port ("TCP", "UDP").

    ``local_only`` stands for ``externalTrafficPolicy: Local``.
    """

    node_port: bool = False
    external_ip: bool = False
    load_balancer_ip: bool = False
    local_only: bool = False
    protocols: tuple[str, ...] = TCP

    def has(self, address: Address) -> bool:
        """Tell whether a Service that is exposed so can be addressed so."""
        if address is Address.CLUSTER_IP:
            return True
        if address is Address.NODE_PORT_LOCAL:
            return self.node_port and self.local_only
        found = {
            Address.NODE_PORT: self.node_port,
            Address.EXTERNAL_IP: self.external_ip,
            Address.LOAD_BALANCER_IP: self.load_balancer_ip,
        }
        return found[address] and not self.local_only


def exposures(paths: Collection[ServicePath]) -> tuple[Exposure, ...]:
    """Return how Services are exposed that can be connected to over all of ``paths``, by turns if there are several.

    A Service has one ``externalTrafficPolicy``: with paths of both there are Services of both.
    """
    asked = {path.address for path in paths}
    protocols = (*TCP, "UDP") if any(path.transport is Transport.UDP for path in paths) else TCP
    both = Exposure(
        node_port=Address.NODE_PORT in asked,
        external_ip=Address.EXTERNAL_IP in asked,
        load_balancer_ip=Address.LOAD_BALANCER_IP in asked,
        protocols=protocols,
    )
    if Address.NODE_PORT_LOCAL not in asked:
        return (both,)
    local = Exposure(node_port=True, local_only=True, protocols=protocols)
    return (both, local) if both != Exposure(protocols=protocols) else (local,)


UNEXPOSED = Exposure()
"""A ClusterIP and nothing else, over TCP."""


@dataclass(frozen=True)
class Access:
    """The same for one Service, with its addresses; 0 and empty: none.

    ``affinity_s`` is for how long ``sessionAffinity: ClientIP`` remembers a client. ``source_ranges`` are a load
    balancer's ``loadBalancerSourceRanges``, ``health_check_port`` its ``healthCheckNodePort`` with Local. Raises
    ValueError for what no Service can have.
    """

    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    local_only: bool = False
    protocols: tuple[str, ...] = TCP
    affinity_s: int = 0
    source_ranges: tuple[str, ...] = ()
    health_check_port: int = 0

    def __post_init__(self) -> None:
        if self.local_only and self.type == "ClusterIP" and not self.external_ips:
            raise ValueError("externalTrafficPolicy: Local needs a nodePort, an external IP or a load balancer")
        if (self.source_ranges or self.health_check_port) and not self.load_balancer_ips:
            raise ValueError("source ranges and a health check's port are a load balancer's; give it an address")

    @property
    def type(self) -> str:
        """The Service's type."""
        if self.load_balancer_ips:
            return "LoadBalancer"
        return "NodePort" if self.node_port else "ClusterIP"

    def ports(self, port: Object) -> list[Object]:
        """Return a Service's ports: this one over each protocol, with the node port."""
        node_port = {"nodePort": self.node_port} if self.node_port else {}
        return [{**one, **node_port} for one in over(self.protocols, port)]

    def spec(self) -> Object:
        """Return its part of the Service's spec, written as an API server would complete it."""
        spec: Object = {"type": self.type, "sessionAffinity": "ClientIP" if self.affinity_s else "None"}
        if self.affinity_s:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": self.affinity_s}}
        if self.external_ips:
            spec["externalIPs"] = list(self.external_ips)
        if self.external_ips or self.type != "ClusterIP":
            spec["externalTrafficPolicy"] = "Local" if self.local_only else "Cluster"
        if self.load_balancer_ips:
            spec["allocateLoadBalancerNodePorts"] = bool(self.node_port)
        if self.source_ranges:
            spec["loadBalancerSourceRanges"] = list(self.source_ranges)
        if self.health_check_port:
            spec["healthCheckNodePort"] = self.health_check_port
        return spec

    def status(self) -> Object:
        """Return the Service's status: a load balancer's addresses."""
        ingress = [{"ip": address, "ipMode": "VIP"} for address in self.load_balancer_ips]
        return {"loadBalancer": {"ingress": ingress} if ingress else {}}


PLAIN = Access()
"""What ``UNEXPOSED`` is for one Service."""


def over(protocols: tuple[str, ...], port: Object) -> list[Object]:
    """Return a named port over each protocol; the name of all but the first says which: "http-udp"."""
    return [
        {**port, "name": port["name"] if number == 0 else f"{port['name']}-{protocol.lower()}", "protocol": protocol}
        for number, protocol in enumerate(protocols)
    ]
