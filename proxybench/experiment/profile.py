"""The shape of a cluster's Services, as ``proxybench profile`` writes it: how many of which kind.

All that a file can hold is here: numbers, and the words of these models. There is no place for a name or an address.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from proxybench.errors import ExperimentError
from proxybench.experiment import source
from proxybench.experiment.wording import word
from proxybench.experiment.words import Duration, Words, distinct, one_of, schema_of, show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.experiment.source import Document, Loc

FORMAT = 1
LEAST_PROBED = 9
_DIGEST = 12  # hexadecimal digits


class ServiceType(StrEnum):
    """A Service's ``type``, with headless ones (``clusterIP: None``) apart."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    HEADLESS = "Headless"
    EXTERNAL_NAME = "ExternalName"


PROXIED = frozenset({ServiceType.CLUSTER_IP, ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER})
"""What a Service proxy makes rules for."""


def _known_format(version: int) -> int:
    if version != FORMAT:
        raise ValueError(f"{version} is no format of profiles that this proxybench reads; write {FORMAT}")
    return version


def _counts(value: object) -> object:
    """Read a histogram: whole numbers, and how many Services have each."""
    if not isinstance(value, dict):
        return value  # pydantic says that it is no mapping
    for key, count in value.items():
        if not str(key).isdecimal() or len(str(key)) > len("100000"):
            raise ValueError(f"{show(key)} is no number that a Service can have; write a whole number, such as 2: 40")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{show(count)} is no number of Services; write at least 1, such as {key}: 40")
    return {int(key): count for key, count in sorted(value.items(), key=lambda pair: int(pair[0]))}


_Count = Annotated[int, Field(strict=True, ge=1)]
_CountOrNone = Annotated[int, Field(strict=True, ge=0)]
_Rate = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Policy = Literal["Cluster", "Local"]
_Histogram = Annotated[dict[int, int], BeforeValidator(_counts), Field(examples=["{1: 12, 2: 40}"])]


class _Brief(Words):
    """Words of which those that say what is usual are not written."""

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in handler(self).items() if getattr(self, name) != fields[name].default}


class Ports(_Brief):
    """How many ports a Service has over each protocol."""

    tcp: _CountOrNone = 0
    udp: _CountOrNone = 0
    sctp: _CountOrNone = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.tcp + self.udp + self.sctp


class Shape(_Brief):
    """Services that are alike in all but their endpoints."""

    services: _Count
    """How many there are."""
    type: Annotated[ServiceType, one_of("a type of Service", *ServiceType), schema_of(*ServiceType)]
    ports: Ports = Ports()
    families: Annotated[tuple[Literal["IPv4", "IPv6"], ...], Field(min_length=1), AfterValidator(distinct)] = ("IPv4",)
    """Of its ClusterIPs, the primary one first."""
    external_traffic_policy: _Policy = "Cluster"
    internal_traffic_policy: _Policy = "Cluster"
    session_affinity: Literal["None", "ClientIP"] = "None"
    node_ports: bool = True
    """Whether its ports have node ports; false only for a LoadBalancer that was told to have none."""
    external_ips: bool = False
    """Whether it has externalIPs."""
    load_balancer_ip: bool = False
    """Whether a load balancer gave it an address that a Service proxy serves (not a name, nor ipMode: Proxy)."""
    source_ranges: bool = False
    """Whether it has loadBalancerSourceRanges."""
    endpoints: _Histogram = {}  # noqa: RUF012 - pydantic copies it
    """Endpoints of the primary family: how many Services have so many."""
    slices: _Histogram = {}  # noqa: RUF012 - pydantic copies it
    """EndpointSlices of the primary family: how many Services have so many."""
    unready: _CountOrNone = 0
    """Endpoints of all these Services that are neither ready nor terminating."""
    terminating: _CountOrNone = 0
    """Endpoints of all these Services that are terminating."""

    @property
    def proxied(self) -> bool:
        """Whether a Service proxy makes rules for them."""
        return self.type in PROXIED

    @property
    def total_endpoints(self) -> int:
        """Endpoints of all these Services."""
        return sum(number * services for number, services in self.endpoints.items())

    @property
    def has_node_ports(self) -> bool:
        """Whether each port has a node port."""
        return self.type is ServiceType.NODE_PORT or (self.type is ServiceType.LOAD_BALANCER and self.node_ports)

    @property
    def has_health_check(self) -> bool:
        """Whether the Service has a healthCheckNodePort."""
        return self.type is ServiceType.LOAD_BALANCER and self.external_traffic_policy == "Local"


class NodeShares(Words):
    """The nodes that have endpoints, and which share of all endpoints a node has."""

    count: _Count
    shares: Annotated[tuple[_Share, ...], Field(min_length=5, max_length=5, examples=["[0.01, 0.02, 0.02, 0.03, 0.1]"])]
    """Least, lower quartile, median, upper quartile and most."""


class Churn(Words):
    """Changes per minute."""

    added: _Rate = 0.0
    changed: _Rate = 0.0
    deleted: _Rate = 0.0


class Watched(Words):
    """What changed while the cluster was watched."""

    watched: Duration
    services: Churn = Churn()
    endpoint_slices: Churn = Churn()

    @property
    def slices_per_minute(self) -> float:
        """EndpointSlices that came, changed or went."""
        return self.endpoint_slices.added + self.endpoint_slices.changed + self.endpoint_slices.deleted


class Profile(_Brief):
    """All of a profile file."""

    own_file = True

    version: Annotated[int, Field(strict=True, examples=["1"]), AfterValidator(_known_format)]
    nodes: NodeShares | None = None
    """Left out where no endpoint says on which node it is."""
    shapes: Annotated[
        tuple[Shape, ...], Field(min_length=1, max_length=500, examples=["[{services: 9, type: ClusterIP, …}]"])
    ]
    churn: Watched | None = None

    @property
    def services(self) -> int:
        """All Services."""
        return sum(shape.services for shape in self.shapes)

    @property
    def endpoints(self) -> int:
        """All endpoints of Services that a proxy makes rules for."""
        return sum(shape.total_endpoints for shape in self.shapes if shape.proxied)

    @property
    def endpoints_each(self) -> int:
        """Endpoints of such a Service, on the average: a whole number, at least 1."""
        proxied = sum(shape.services for shape in self.shapes if shape.proxied)
        return max(1, round(self.endpoints / max(1, proxied)))

    @property
    def node_ports(self) -> int:
        """Ports of the node that these Services take."""
        return sum(
            shape.services * (shape.has_node_ports * shape.ports.total + shape.has_health_check)
            for shape in self.shapes
        )

    @property
    def probed(self) -> int:
        """Services of proxybench's own that a replay has besides: one in a hundred, at least ``LEAST_PROBED``."""
        return max(LEAST_PROBED, self.services // 100)

    @property
    def size(self) -> int:
        """All Services of a replay."""
        return self.services + self.probed

    @cached_property
    def digest(self) -> str:
        """What tells it from all others whose objects differ: twelve hexadecimal digits. Churn is a soak's only."""
        words = self.model_dump(mode="json", exclude={"churn"})
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:_DIGEST]


def read_profile(path: Path) -> Profile:
    """Read and check a profile file. Raises ExperimentError with every problem, as file:line:column."""
    return check(source.read(path))


def check(document: Document) -> Profile:
    """Check a profile that was read. Raises ExperimentError with every problem."""
    if document.problems or not isinstance(document.data, dict):
        raise ExperimentError(document.problems)
    try:
        profile = Profile.model_validate(document.data)
    except ValidationError as error:
        found = [word(detail, Profile) for detail in error.errors()]
        raise ExperimentError([document.problem(one.loc, one.text, key=one.key) for one in found if one]) from None
    if problems := [document.problem(loc, text) for loc, text in findings(profile)]:
        raise ExperimentError(problems)
    return profile


def findings(profile: Profile) -> Iterator[tuple[Loc, str]]:
    """Yield what does not agree: counts that do not add up, and what no Service can have."""
    for index, shape in enumerate(profile.shapes):
        for key, text in (*_sums(shape), *_impossible(shape)):
            yield ("shapes", index, key), text


def _sums(shape: Shape) -> Iterator[tuple[str, str]]:
    for name, counts in (("endpoints", shape.endpoints), ("slices", shape.slices)):
        told = sum(counts.values())
        if told != shape.services and (shape.proxied or counts):
            yield name, f"{name}: its counts are of {told} Services, and there are {shape.services}; make them equal"
    if shape.unready + shape.terminating > shape.total_endpoints:
        many = f"{shape.unready} unready and {shape.terminating} terminating"
        yield "endpoints", f"endpoints: {many} are more than there are ({shape.total_endpoints}); write fewer"


def _impossible(shape: Shape) -> Iterator[tuple[str, str]]:
    balanced, outside = shape.type is ServiceType.LOAD_BALANCER, shape.external_ips or shape.has_node_ports
    if shape.proxied and not shape.ports.total:
        yield "ports", f"ports: a Service of type {shape.type} has at least one; write ports: {{tcp: 1}}"
    if not shape.node_ports and not balanced:
        yield "node_ports", "node_ports: false is for type LoadBalancer only; remove it"
    if shape.external_traffic_policy == "Local" and not (outside or balanced):
        right = "a NodePort, a LoadBalancer or external_ips: true"
        yield "external_traffic_policy", f"external_traffic_policy: Local needs {right}; remove it"
    for name in ("load_balancer_ip", "source_ranges"):
        if getattr(shape, name) and not balanced:
            yield name, f"{name}: only a LoadBalancer has it; remove it"
