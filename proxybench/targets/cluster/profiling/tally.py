"""Counts Services and EndpointSlices; what it is asked for has numbers in it and no names. Pure.

An object's name and namespace are kept while it is counted, to find a slice's Service, and its nodes' names; nothing
else of it is that the words of a profile do not say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxybench.experiment.profile import FORMAT, NodeShares, Ports, Profile, ServiceType, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.experiment.profile import Watched
    from proxybench.kube.base import Object

MOST_SHAPES: Final = 64
"""Rarer shapes than so many are counted among the commonest of their type."""

_EXACT: Final = 10
_STEPS: Final = (10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100)
_SERVICE_NAME: Final = "kubernetes.io/service-name"
_OUTSIDE: Final = frozenset({ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER})


def rounded(number: int) -> int:
    """Return a number that says how many, but is not one by which somebody knows a cluster: exact up to 10 only."""
    scale = 1
    while number > _STEPS[-1] * scale:
        scale *= 10
    return number if number <= _EXACT else min((step * scale for step in _STEPS), key=lambda one: abs(one - number))


def brief(share: float) -> float:
    """Return two significant digits of a share or a rate."""
    return float(f"{share:.2g}")


@dataclass(frozen=True, order=True)
class _Kind:
    """What a profile says of one Service, but for its endpoints; fields are those of ``Shape`` and ``Ports``."""

    type: ServiceType
    ports: tuple[int, int, int] = (0, 0, 0)
    families: tuple[str, ...] = ("IPv4",)
    external_traffic_policy: str = "Cluster"
    internal_traffic_policy: str = "Cluster"
    session_affinity: str = "None"
    node_ports: bool = True
    external_ips: bool = False
    load_balancer_ip: bool = False
    source_ranges: bool = False


@dataclass
class _Counted:
    kind: _Kind
    slices: int = 0
    endpoints: int = 0
    unready: int = 0
    terminating: int = 0


@dataclass
class Tally:
    """Counts a cluster's objects: all Services first, then all EndpointSlices."""

    _services: dict[tuple[str, str], _Counted] = field(default_factory=dict)
    _nodes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Return how many Services there are."""
        return len(self._services)

    def service(self, obj: Object) -> None:
        """Count a Service."""
        metadata = obj["metadata"]
        self._services[metadata["namespace"], metadata["name"]] = _Counted(_kind(obj))

    def endpoint_slice(self, obj: Object) -> None:
        """Count an EndpointSlice, if its Service was counted and it is of that one's primary family."""
        metadata = obj["metadata"]
        name = (metadata.get("labels") or {}).get(_SERVICE_NAME, "")
        found = self._services.get((metadata["namespace"], name))
        if found is None or obj["addressType"] != found.kind.families[0] or not _proxied(found):
            return
        found.slices += 1
        for endpoint in obj.get("endpoints") or ():
            found.endpoints += 1
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready") is False:
                leaving = conditions.get("terminating") and conditions.get("serving") is not False
                found.terminating += bool(leaving)
                found.unready += not leaving
            if node := endpoint.get("nodeName"):
                self._nodes[node] += 1

    def profile(self, churn: Watched | None = None) -> tuple[Profile, int]:
        """Return the shape of at least one Service, and how many are counted among others since theirs is rare."""
        groups: dict[_Kind, list[_Counted]] = {}
        for one in self._services.values():
            groups.setdefault(one.kind, []).append(one)
        ranked = sorted(groups, key=lambda kind: (-len(groups[kind]), kind))
        commonest: dict[ServiceType, _Kind] = {}
        folded = 0
        for place, kind in enumerate(ranked):
            into = commonest.setdefault(kind.type, kind)
            if place >= MOST_SHAPES and into != kind:
                folded += len(groups[kind])
                groups[into] += groups.pop(kind)
        shapes = tuple(_shape(kind, groups[kind]) for kind in ranked if kind in groups)
        return Profile(version=FORMAT, nodes=_shares(self._nodes), shapes=shapes, churn=churn), folded


def _proxied(one: _Counted) -> bool:
    return one.kind.type not in {ServiceType.HEADLESS, ServiceType.EXTERNAL_NAME}


def _kind(obj: Object) -> _Kind:
    spec = obj["spec"]
    if spec.get("type") == ServiceType.EXTERNAL_NAME:
        return _Kind(ServiceType.EXTERNAL_NAME)
    headless = spec.get("clusterIP") == "None"
    type_ = ServiceType.HEADLESS if headless else ServiceType(spec.get("type", "ClusterIP"))
    families = tuple(spec.get("ipFamilies") or ("IPv6" if ":" in spec.get("clusterIP", "") else "IPv4",))
    if headless:
        return _Kind(type_, families=families)
    ports = spec.get("ports") or ()
    balanced, external = type_ is ServiceType.LOAD_BALANCER, bool(spec.get("externalIPs"))
    return _Kind(
        type=type_,
        ports=_protocols(ports),
        families=families,
        external_traffic_policy=spec.get("externalTrafficPolicy", "Cluster")
        if external or type_ in _OUTSIDE
        else "Cluster",
        internal_traffic_policy=spec.get("internalTrafficPolicy", "Cluster"),
        session_affinity=spec.get("sessionAffinity", "None"),
        node_ports=not balanced or any(port.get("nodePort") for port in ports),
        external_ips=external,
        load_balancer_ip=balanced and any(map(_served, _ingress(obj))),
        source_ranges=balanced and bool(spec.get("loadBalancerSourceRanges")),
    )


def _protocols(ports: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
    found = Counter(port.get("protocol", "TCP") for port in ports)
    return rounded(found["TCP"]), rounded(found["UDP"]), rounded(found["SCTP"])


def _ingress(obj: Object) -> Sequence[Object]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()


def _served(ingress: Object) -> bool:
    return bool(ingress.get("ip")) and ingress.get("ipMode", "VIP") == "VIP"


def _shape(kind: _Kind, alike: Sequence[_Counted]) -> Shape:
    words = asdict(kind)
    tcp, udp, sctp = words.pop("ports")
    counts: dict[str, Any] = {}
    if _proxied(alike[0]):
        counts["endpoints"] = dict(Counter(rounded(one.endpoints) for one in alike))
        counts["slices"] = dict(Counter(rounded(one.slices) for one in alike))
        left = sum(number * services for number, services in counts["endpoints"].items())
        for name in ("terminating", "unready"):  # each rounded by itself, they may be more than all
            counts[name] = min(left, rounded(sum(getattr(one, name) for one in alike)))
            left -= counts[name]
    return Shape(services=len(alike), ports=Ports(tcp=tcp, udp=udp, sctp=sctp), **words, **counts)


def _shares(nodes: Counter[str]) -> NodeShares | None:
    if not nodes:
        return None
    total, counts = nodes.total(), sorted(nodes.values())
    last = len(counts) - 1
    quartiles = tuple(brief(counts[round(part * last / 4)] / total) for part in range(5))
    return NodeShares(count=rounded(len(counts)), shares=quartiles)
