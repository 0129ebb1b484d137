"""A population of the shape of a profile: its Services as plain Kubernetes objects, all that its numbers say. Pure.

Which Service comes when, and which endpoint is on which node, is drawn by a generator that the profile's digest seeds:
the same profile is the same objects, everywhere and each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, repeat
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from proxybench.experiment.profile import ServiceType
from proxybench.kube import objects
from proxybench.kube.access import Exposure
from proxybench.kube.objects import MOST_NODE_PORTS, PORT, Object, Population

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.experiment.profile import Profile, Shape
    from proxybench.kube.access import Access
    from proxybench.kube.objects import AddressPlan, Pod
    from proxybench.model import Position

T = TypeVar("T")

MOST_IN_A_SLICE: Final = 1000  # that the API takes
_MEDIAN: Final = 2  # of NodeShares.shares
_READY, _UNREADY, _TERMINATING = "ready", "unready", "terminating"
_CONDITIONS: Final = {
    _READY: {"ready": True, "serving": True, "terminating": False},
    _UNREADY: {"ready": False, "serving": False, "terminating": False},
    _TERMINATING: {"ready": False, "serving": True, "terminating": True},
}
_PROTOCOLS: Final = {
    "tcp": "TCP",
    "udp": "UDP",
    "sctp": "TCP",
}  # rules for SCTP need a module that not every kernel has
_AFFINITY_S: Final = 10_800  # the API's default
_SOURCE_RANGE: Final = "198.51.100.0/24"  # of documentation: no client is in it


@dataclass(frozen=True)
class Planned:
    """One Service of the profile: its endpoints with the condition of each, and the first of its node ports."""

    shape: Shape
    slices: int
    states: tuple[str, ...]
    pods: tuple[Pod, ...] = ()
    node_port: int = 0

    @property
    def endpoints(self) -> tuple[Object, ...]:
        """Its endpoints as an EndpointSlice has them."""
        return tuple(
            {"addresses": [pod.address], "conditions": _CONDITIONS[state], "nodeName": pod.node}
            for pod, state in zip(self.pods, self.states, strict=True)
        )


@dataclass(frozen=True)
class Replay(Population):
    """The Services of ``profile``, and those of proxybench's own that are connected to, evenly apart among them.

    Services 0 … ``profile.size`` - 1 are both together. Our own are those of any population, all on the first node;
    those beyond ``profile.size`` (a batch) are such, too. A node of the cluster had the median share of its endpoints:
    so many are on the first node here, the others on the others.
    """

    profile: Profile = field(kw_only=True)

    @cached_property
    def own(self) -> tuple[int, ...]:
        """The indices of our own Services, the first and the last among them."""
        last, most = self.profile.size - 1, self.profile.probed - 1
        return tuple(number * last // most for number in range(most + 1))

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {index: number for number, index in enumerate(self.own)}

    @cached_property
    def _planned(self) -> dict[int, Planned]:
        free = (index for index in range(self.profile.size) if index not in self._numbers)
        return dict(zip(free, _plan(self.profile, self.plan), strict=True))

    def _number(self, index: int) -> int | None:
        """Return the number of one of our own Services among these, None for one of the profile."""
        beyond = index - self.profile.size
        return self.profile.probed + beyond if beyond >= 0 else self._numbers.get(index)

    def on_first_node(self, index: int) -> bool:
        """Tell whether the Service is one that may be connected to: one of our own."""
        return self._number(index) is not None

    def pods(self, index: int) -> tuple[Pod, ...]:
        """Return the endpoints of Service ``index``, whatever their condition."""
        number = self._number(index)
        if number is None:
            return self._planned[index].pods
        first, places = number * self.endpoints_per_service, len(self.plan.pod_ranges)
        return tuple(self.plan.pod((first + turn) * places) for turn in range(self.endpoints_per_service))

    def measured(self, services: int, position: Position) -> int:
        """Return the Service of our own that is nearest to a position. Raises ValueError for Position.NONE."""
        exact = super().measured(services, position)
        return min(self.own, key=lambda index: abs(index - exact))

    def exposure(self, index: int) -> Exposure:
        """Return what one of our own has besides its ClusterIP."""
        return self.exposures[(self._number(index) or 0) % len(self.exposures)]

    def access(self, index: int) -> Access:
        """Return the same with its addresses; node ports by its number among our own, lest the profile's are taken."""
        exposure = self.exposure(index)
        made = self.plan.access(exposure, index)
        return replace(made, node_port=self.plan.access(exposure, self._number(index) or 0).node_port)

    def service_ports(self, services: int) -> int:
        """Return for how many ports of Services a proxy makes rules, once all are there."""
        proxied = (shape for shape in self.profile.shapes if shape.proxied)
        return services - self.profile.services + sum(shape.services * shape.ports.total for shape in proxied)

    def service(self, index: int) -> Object:
        """Return Service ``index``."""
        if self.on_first_node(index):
            return super().service(index)
        planned, vip = self._planned[index], self.plan.vip(index)
        made = objects.service(self.name(index), vip, self.plan.backend_port, namespace=self.namespace)
        if planned.shape.type is ServiceType.EXTERNAL_NAME:
            spec = {"type": "ExternalName", "externalName": "replayed.invalid", "sessionAffinity": "None"}
            return {**made, "spec": spec}
        made["spec"] |= _inside(planned.shape) | self._outside(planned, index) | {"ports": self._ports(planned)}
        if planned.shape.load_balancer_ip:
            address = self.plan.access(Exposure(load_balancer_ip=True), index).load_balancer_ips[0]
            made["status"] = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
        return made

    def endpoint_slices(self, index: int, changed_ns: int) -> tuple[Object, ...]:
        """Return the EndpointSlices of Service ``index``, as many as the profile says, equally filled."""
        if self.on_first_node(index):
            return super().endpoint_slices(index, changed_ns)
        planned, name, port = self._planned[index], self.name(index), self.plan.backend_port
        (empty,) = objects.endpoint_slices(
            name, (), port, changed_ns, namespace=self.namespace, family=self.plan.family
        )
        total, slices = len(planned.pods), max(planned.slices, ceil(len(planned.pods) / MOST_IN_A_SLICE))
        return tuple(
            {
                **empty,
                "metadata": {**empty["metadata"], "name": f"{name}-{number:03d}"},
                "endpoints": list(planned.endpoints[number * total // slices : (number + 1) * total // slices]) or None,
                "ports": self._endpoint_ports(planned),
            }
            for number in range(slices)
        )

    def endpoints(self, index: int, changed_ns: int) -> Object:
        """Return the Endpoints object of Service ``index``: what is not ready is left out."""
        if self.on_first_node(index):
            return super().endpoints(index, changed_ns)
        planned = self._planned[index]
        ready = [pod for pod, state in zip(planned.pods, planned.states, strict=True) if state == _READY]
        made = objects.endpoints(self.name(index), ready, self.plan.backend_port, changed_ns, namespace=self.namespace)
        for subset in made.get("subsets", ()):
            subset["ports"] = self._endpoint_ports(planned)
        return made

    def _endpoint_ports(self, planned: Planned) -> list[Object]:
        port = self.plan.backend_port
        return [{"name": name, "port": port, "protocol": protocol} for name, protocol in _port_names(planned.shape)]

    def _ports(self, planned: Planned) -> list[Object]:
        node_ports = count(planned.node_port) if planned.shape.has_node_ports else repeat(None)
        return [
            {
                "name": name,
                "protocol": protocol,
                "port": PORT + number,
                "targetPort": self.plan.backend_port,
                **({} if node_port is None else {"nodePort": self._node_port(node_port)}),
            }
            for number, ((name, protocol), node_port) in enumerate(zip(_port_names(planned.shape), node_ports))  # noqa: B905 - one is endless
        ]

    def _outside(self, planned: Planned, index: int) -> Object:
        """Return what of a Service's spec is for those outside of the cluster."""
        shape = planned.shape
        spec: Object = {}
        if shape.external_ips:
            spec["externalIPs"] = list(self.plan.access(Exposure(external_ip=True), index).external_ips)
        if shape.external_ips or shape.type in {ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER}:
            spec["externalTrafficPolicy"] = shape.external_traffic_policy
        if shape.type is ServiceType.LOAD_BALANCER:
            spec["allocateLoadBalancerNodePorts"] = shape.node_ports
        if shape.source_ranges:
            spec["loadBalancerSourceRanges"] = [_SOURCE_RANGE]
        if shape.has_health_check:
            after = shape.ports.total if shape.has_node_ports else 0
            spec["healthCheckNodePort"] = self._node_port(planned.node_port + after)
        return spec

    def _node_port(self, number: int) -> int:
        """Return a port of the node, from the last one on: our own Services have the first ones."""
        return self.plan.access(Exposure(node_port=True), MOST_NODE_PORTS - 1 - number).node_port


def _plan(profile: Profile, plan: AddressPlan) -> list[Planned]:
    """Return the profile's Services in the order in which they are made, with endpoints and node ports."""
    random = Random(profile.digest)  # noqa: S311 - no secret: the same each time
    made = [one for shape in profile.shapes for one in _alike(shape, random)]
    places, ports = len(plan.pod_ranges), 0
    here = profile.nodes.shares[_MEDIAN] if profile.nodes else 1 / places
    turns, found = [0] * places, []
    elsewhere = 0
    for one in _mixed(made, random):
        pods = []
        for _ in one.states:
            place = 0
            if places > 1 and random.random() >= here:
                place, elsewhere = 1 + elsewhere % (places - 1), elsewhere + 1
            turns[place] += 1
            # From the end of each range: our own Services have the addresses at its beginning.
            pods.append(plan.pod(place - turns[place] * places))
        found.append(replace(one, pods=tuple(pods), node_port=ports))
        shape = one.shape
        ports += shape.has_node_ports * shape.ports.total + shape.has_health_check
    return found


def _alike(shape: Shape, random: Random) -> Iterator[Planned]:
    """Yield the Services of one shape: those with most endpoints have most slices."""
    numbers, slices = _listed(shape.endpoints, shape.services), _listed(shape.slices, shape.services)
    states = [_TERMINATING] * shape.terminating + [_UNREADY] * shape.unready
    states = _mixed([*states, *[_READY] * (sum(numbers) - len(states))], random)
    end = 0
    for number, parts in zip(numbers, slices, strict=True):
        start, end = end, end + number
        yield Planned(shape, parts, tuple(states[start:end]))


def _listed(histogram: dict[int, int], services: int) -> list[int]:
    """Return the number of each Service, ascending; where nothing is told, none has any."""
    return [number for number, times in histogram.items() for _ in range(times)] or [0] * services


def _mixed(items: Sequence[T], random: Random) -> list[T]:
    """Return the items in a random order, the same on every Python: of a generator only random() is promised."""
    order = [random.random() for _ in items]
    return [items[place] for place in sorted(range(len(items)), key=order.__getitem__)]


def _port_names(shape: Shape) -> Iterator[tuple[str, str]]:
    """Yield a name and the protocol of each port."""
    for word, protocol in _PROTOCOLS.items():
        for number in range(getattr(shape.ports, word)):
            yield f"{word}-{number}", protocol


def _inside(shape: Shape) -> Object:
    """Return what of a Service's spec is for those within the cluster."""
    headless = shape.type is ServiceType.HEADLESS
    spec: Object = {
        "type": str(ServiceType.CLUSTER_IP if headless else shape.type),
        "internalTrafficPolicy": shape.internal_traffic_policy,
        "sessionAffinity": shape.session_affinity,
    }
    if headless:
        spec |= {"clusterIP": "None", "clusterIPs": ["None"]}
    if shape.session_affinity == "ClientIP":
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_S}}
    return spec
