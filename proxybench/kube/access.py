"""What a Service has besides its ClusterIP, as typed variants of the Service object. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Exposure:
    """Which further addresses each Service of a population has, and the protocol of its port ("TCP" or "UDP").

    ``local_only`` stands for ``externalTrafficPolicy: Local``.
    """

    node_port: bool = False
    external_ip: bool = False
    load_balancer_ip: bool = False
    local_only: bool = False
    protocol: str = "TCP"


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
    protocol: str = "TCP"
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

    def port(self) -> Object:
        """Return its part of the Service's port."""
        port: Object = {"protocol": self.protocol}
        return port | ({"nodePort": self.node_port} if self.node_port else {})

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
