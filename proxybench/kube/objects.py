"""The population: Services and their endpoints as plain Kubernetes objects, made from numbers (pure).

Everything follows from an index, so that any part of a run can be made again: Service i is ``svc-%05d`` and has the
virtual address ``vip(i)``; names sort in the order of the indices, and the canary sorts after all of them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxybench.kube.access import PLAIN, TCP, UNEXPOSED, Access, Exposure, over
from proxybench.model import Family, Position
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

Object = dict[str, Any]

NAMESPACE: Final = "proxybench"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABELS: Final = {MANAGED_BY: "proxybench"}
SELECTOR: Final = f"{MANAGED_BY}=proxybench"
MADE_BY_A_RUN: Final = "proxybench.io/made-by-a-run"
"""Annotation: "true" of a namespace that goes when a run has ended, however many were killed before."""
CANARY: Final = "svc-canary"  # letters sort after digits: after every numbered Service
PORT: Final = 80
PORT_NAME: Final = "http"
ENDPOINTS_PER_SLICE: Final = 100  # what the EndpointSlice controller fills by default
TRIGGER_TIME: Final = "endpoints.kubernetes.io/last-change-trigger-time"
MAX_SERVICES: Final = 100_000  # five digits in a name

_NODE_INFO: Final = (
    *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
    *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
)

# Addresses at the start of a range that the numbered objects leave alone: in a pod range for spares (a canary's
# endpoints, the new endpoint of a change), in the Service range for a real cluster's own (kubernetes, kube-dns).
_RESERVED: Final = 256
# What an API server takes node ports from by default, and where that ends, ports below it: neither a proxy's own nor
# those that Linux hands out.
_NODE_PORTS: Final = range(30_000, 32_768)
_MORE_NODE_PORTS: Final = range(11_000, 30_000)
MOST_NODE_PORTS: Final = len(_NODE_PORTS) + len(_MORE_NODE_PORTS) - _RESERVED
_FIRST_SPARE: Final = 16
_ELSEWHERE: Final = 3  # one Service in so many has its endpoints on a node other than the first


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_WORDS: Final = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}  # in Kubernetes' objects


def family_of(address: str) -> Family:
    """Return the family of an address."""
    return Family.IPV6 if ":" in address else Family.IPV4


class Pod(NamedTuple):
    """One endpoint: its address and the node on which it runs."""

    address: str
    node: str


@dataclass(frozen=True)
class AddressPlan:
    """Which addresses the population uses.

    ``pod_ranges`` holds (node name, range) of each node with pods, all of the family of ``service_cidr``; every address
    of a range answers on ``backend_port``, TCP and UDP. Of ``external_cidr``, which clients send to the measured node,
    one half is for external IPs and one for load balancers ("": there is none). Raises ValueError for ranges that are
    no networks, of two families, overlap or are too small.
    """

    service_cidr: str
    pod_ranges: tuple[tuple[str, str], ...]
    backend_port: int
    external_cidr: str = ""

    def __post_init__(self) -> None:
        networks = [self._services, *self._pods, *self._external]
        if not self._pods:
            raise ValueError("an address plan needs at least one pod range")
        for number, network in enumerate(networks):
            if network.num_addresses <= 2 * _RESERVED:
                raise ValueError(f"{network} is too small: more than {2 * _RESERVED} addresses are needed")
            for other in networks[:number]:
                if network.version != other.version:
                    raise ValueError(f"{network} and {other} are of two families")
                if network.overlaps(other):
                    raise ValueError(f"{network} overlaps {other}")

    @cached_property
    def _services(self) -> _Network:
        return ipaddress.ip_network(self.service_cidr)

    @cached_property
    def _pods(self) -> tuple[_Network, ...]:
        return tuple(ipaddress.ip_network(cidr) for _, cidr in self.pod_ranges)

    @property
    def family(self) -> Family:
        """The family of its addresses."""
        return family_of(str(self._services.network_address))

    @cached_property
    def _external(self) -> tuple[ipaddress.IPv4Network, ...]:
        """External IPs, then load balancers."""
        return tuple(ipaddress.IPv4Network(self.external_cidr).subnets()) if self.external_cidr else ()

    def vip(self, index: int) -> str:
        """Return the virtual address of Service ``index`` (from 0). Raises ValueError when the range is full."""
        offset = _RESERVED + index
        if not _RESERVED <= offset < self._services.num_addresses - 1:
            raise ValueError(f"Service {index} does not fit into {self.service_cidr}")
        return str(self._services[offset])

    def canary_vip(self, number: int = 0) -> str:
        """Return the virtual address of a Service outside the numbered ones; ``number`` 0 to 239."""
        return str(self._services[_spare_offset(number)])

    def access(self, exposure: Exposure, index: int) -> Access:
        """Return what Service ``index`` has besides its ClusterIP. Raises ValueError when a range is full."""
        return self._access(exposure, _RESERVED + index)

    def canary_access(self, exposure: Exposure, number: int = 0) -> Access:
        """Return the same for a Service outside the numbered ones; ``number`` 0 to 239."""
        return self._access(exposure, _spare_offset(number))

    def _access(self, exposure: Exposure, offset: int) -> Access:
        return Access(
            node_port=_node_port(offset) if exposure.node_port else 0,
            external_ips=(self._outside(0, offset),) if exposure.external_ip else (),
            load_balancer_ips=(self._outside(1, offset),) if exposure.load_balancer_ip else (),
            local_only=exposure.local_only,
            protocols=exposure.protocols,
        )

    def _outside(self, half: int, offset: int) -> str:
        if not self._external:
            raise ValueError("the cluster has no range for external and load balancers' addresses")
        if offset >= self._external[half].num_addresses - 1:
            raise ValueError(f"Service {offset - _RESERVED} does not fit into {self._external[half]}")
        return str(self._external[half][offset])

    def pod(self, number: int) -> Pod:
        """Return endpoint ``number`` of the whole population, on the nodes by turns.

        Addresses are unique for as many endpoints as the smallest range has room for, times the number of nodes
        (two /17: 65,022); after that they start again, so that two Services share an address. That is harmless for
        rules, since an endpoint belongs to its Service, and one Service's own endpoints never repeat within that
        number.
        """
        turn, place = divmod(number, len(self._pods))
        room = min(network.num_addresses for network in self._pods) - _RESERVED - 1
        return Pod(str(self._pods[place][_RESERVED + turn % room]), self.pod_ranges[place][0])

    def spare(self, number: int) -> Pod:
        """Return an endpoint that no numbered Service has, on the nodes by turns; ``number`` from 0."""
        turn, place = divmod(number, len(self._pods))
        return Pod(str(self._pods[place][_spare_offset(turn)]), self.pod_ranges[place][0])


@dataclass(frozen=True)
class Population:
    """Services 0 … n-1, each with the same number of endpoints.

    Of several ``exposures``, three Services in a row have the first, the next three the second, and so on.
    """

    plan: AddressPlan
    endpoints_per_service: int
    namespace: str = NAMESPACE
    exposures: tuple[Exposure, ...] = (UNEXPOSED,)

    def name(self, index: int) -> str:
        """Return the name of Service ``index``. Raises ValueError beyond MAX_SERVICES."""
        return service_name(index)

    def pods(self, index: int) -> tuple[Pod, ...]:
        """Return the endpoints of Service ``index``, all on one node (see ``on_first_node``).

        Addresses repeat (see ``AddressPlan.pod``) once all Services together have more endpoints than the smallest
        range has room for: two /17 hold 32,511, so 10,000 Services of two or three endpoints share none.
        """
        places = len(self.plan.pod_ranges)
        place = 0 if self.on_first_node(index) else 1 + index // _ELSEWHERE % (places - 1)
        first = index * self.endpoints_per_service
        return tuple(self.plan.pod((first + turn) * places + place) for turn in range(self.endpoints_per_service))

    def on_first_node(self, index: int) -> bool:
        """Tell whether the endpoints of Service ``index`` run on the first node; a third of the Services' do not.

        A Service whose endpoints are on two nodes answers over paths of two lengths. The median of such a mixture
        jumps between them from run to run, so each Service here has its endpoints in one place.
        """
        return len(self.plan.pod_ranges) == 1 or index % _ELSEWHERE != 1

    def measured(self, services: int, position: Position) -> int:
        """Return the index of the Service to measure at a position: on the first node, at it or next to it.

        Raises ValueError for Position.NONE.
        """
        exact = {Position.FIRST: 0, Position.MIDDLE: services // 2, Position.LAST: services - 1}
        if position not in exact:
            raise ValueError(f"{position} is no position of a rule")
        index = exact[position]
        return index if self.on_first_node(index) else index - 1

    def service_ports(self, services: int) -> int:
        """Return how many ports a proxy has rules for at least, once so many Services are there."""
        return services

    def exposure(self, index: int) -> Exposure:
        """Return what Service ``index`` has besides its ClusterIP."""
        return self.exposures[index // _ELSEWHERE % len(self.exposures)]

    def access(self, index: int) -> Access:
        """Return the same with its addresses."""
        return self.plan.access(self.exposure(index), index)

    def service(self, index: int) -> Object:
        """Return Service ``index``."""
        vip, port = self.plan.vip(index), self.plan.backend_port
        return service(self.name(index), vip, port, namespace=self.namespace, access=self.access(index))

    def endpoint_slices(self, index: int, changed_ns: int) -> tuple[Object, ...]:
        """Return the EndpointSlices of Service ``index``; see ``endpoint_slices`` below."""
        return endpoint_slices(
            self.name(index),
            self.pods(index),
            self.plan.backend_port,
            changed_ns,
            namespace=self.namespace,
            family=self.plan.family,
            protocols=self.exposure(index).protocols,
        )

    def endpoints(self, index: int, changed_ns: int) -> Object:
        """Return the Endpoints object of Service ``index``."""
        return endpoints(
            self.name(index),
            self.pods(index),
            self.plan.backend_port,
            changed_ns,
            namespace=self.namespace,
            protocols=self.exposure(index).protocols,
        )


def service_name(index: int) -> str:
    """Return the name of Service ``index``; names sort as indices do. Raises ValueError beyond MAX_SERVICES."""
    if not 0 <= index < MAX_SERVICES:
        raise ValueError(f"Service {index} has no name: there are at most {MAX_SERVICES}")
    return f"svc-{index:05d}"


def service(name: str, vip: str, target_port: int, *, namespace: str = NAMESPACE, access: Access = PLAIN) -> Object:
    """Return a Service without selector: its endpoints are written by us and by no controller.

    Like all objects here it is written as an API server would complete it, so that what comes back is what was sent.
    """
    spec: Object = {
        "clusterIP": vip,
        "clusterIPs": [vip],
        "ipFamilies": [_WORDS[family_of(vip)]],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        **access.spec(),
        "ports": access.ports({"name": PORT_NAME, "port": PORT, "targetPort": target_port}),
    }
    metadata = _metadata(name, namespace)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": access.status()}


def endpoint_slices(
    service_name: str,
    pods: Sequence[Pod],
    port: int,
    changed_ns: int,
    *,
    namespace: str = NAMESPACE,
    protocols: tuple[str, ...] = TCP,
    family: Family = Family.IPV4,
) -> tuple[Object, ...]:
    """Return the EndpointSlices (discovery.k8s.io/v1) of a Service: at most 100 endpoints in each, at least one.

    ``changed_ns`` (UTC ns since 1970) becomes the trigger time from which kube-proxy counts its network programming
    latency.
    """
    starts = range(0, max(len(pods), 1), ENDPOINTS_PER_SLICE)
    labels = {
        "kubernetes.io/service-name": service_name,
        "endpointslice.kubernetes.io/managed-by": "proxybench",
    }
    return tuple(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": _metadata(f"{service_name}-{number:03d}", namespace, labels, changed_ns),
            "addressType": _WORDS[family],
            "endpoints": [_endpoint(pod) for pod in pods[start : start + ENDPOINTS_PER_SLICE]] or None,
            "ports": over(protocols, {"name": PORT_NAME, "port": port}),
        }
        for number, start in enumerate(starts)
    )


def endpoints(
    service_name: str,
    pods: Sequence[Pod],
    port: int,
    changed_ns: int,
    *,
    namespace: str = NAMESPACE,
    protocols: tuple[str, ...] = TCP,
) -> Object:
    """Return the Endpoints object of a Service, which a userspace kube-proxy reads instead of EndpointSlices."""
    # Where a cluster has both, its mirroring controller would make a second set of slices from this object.
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    addresses = [{"ip": pod.address, "nodeName": pod.node} for pod in pods]
    ports = over(protocols, {"name": PORT_NAME, "port": port})
    metadata = _metadata(service_name, namespace, labels, changed_ns)
    subsets = {"subsets": [{"addresses": addresses, "ports": ports}]} if addresses else {}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, **subsets}


def namespace(name: str) -> Object:
    """Return a namespace with our label, which says that a run has made it."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {**LABELS, "kubernetes.io/metadata.name": name},
            "annotations": {MADE_BY_A_RUN: "true"},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def node(name: str, address: str, pod_cidr: str, second: tuple[str, str] | None = None) -> Object:
    """Return a Node as kube-proxy wants it: with an InternalIP and a pod range; ``second`` are those of IPv6."""
    addresses, ranges = zip(*filter(None, ((address, pod_cidr), second)), strict=True)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**LABELS, "kubernetes.io/hostname": name}},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": list(ranges)},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": one} for one in addresses),
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": dict.fromkeys(_NODE_INFO, ""),
        },
    }


def rfc3339(utc_ns: int) -> str:
    """Write UTC nanoseconds since 1970 as RFC 3339 with nine digits of a second."""
    seconds, nanoseconds = divmod(utc_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _metadata(name: str, namespace: str, labels: dict[str, str] | None = None, changed_ns: int = 0) -> Object:
    metadata: Object = {"name": name, "namespace": namespace, "labels": {**LABELS, **(labels or {})}}
    if changed_ns:
        metadata["annotations"] = {TRIGGER_TIME: rfc3339(changed_ns)}
    return metadata


def _endpoint(pod: Pod) -> Object:
    ready = {"ready": True, "serving": True, "terminating": False}
    return {"addresses": [pod.address], "conditions": ready, "nodeName": pod.node}


def _node_port(offset: int) -> int:
    if offset < len(_NODE_PORTS):
        return _NODE_PORTS[offset]
    if offset - len(_NODE_PORTS) < len(_MORE_NODE_PORTS):
        return _MORE_NODE_PORTS[offset - len(_NODE_PORTS)]
    raise ValueError(f"Service {offset - _RESERVED} has no node port: there are {MOST_NODE_PORTS}")


def _spare_offset(number: int) -> int:
    offset = _FIRST_SPARE + number
    if not _FIRST_SPARE <= offset < _RESERVED:
        raise ValueError(f"there is no spare address {number}: there are {_RESERVED - _FIRST_SPARE}")
    return offset
