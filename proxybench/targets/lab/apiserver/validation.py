"""What the lab's API server takes: objects that a Service proxy can read, field by field (pure).

The fields and their bounds are those of the Kubernetes API reference (Service v1, EndpointSlice v1, Endpoints v1, Node
v1). What is not named here nobody in the lab reads, and is kept as it is sent.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from proxybench.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, SERVICES
from proxybench.targets.lab.apiserver import status
from proxybench.targets.lab.apiserver.paths import SERVICE_CIDRS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

_FAMILIES: Final = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
_RANGE: Final = re.compile(r"(.+)/(0|[1-9]\d{0,2})")
_BITS: Final = {socket.AF_INET: 32, socket.AF_INET6: 128}
_OUTSIDE: Final = frozenset({"NodePort", "LoadBalancer"})
_BALANCED: Final = (
    "healthCheckNodePort",
    "loadBalancerSourceRanges",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "loadBalancerIP",
)
"""What a Service's spec has by its type alone: from outside, and with a load balancer."""


def _is(address: str, family: socket.AddressFamily) -> bool:
    try:
        socket.inet_pton(family, address)
    except (OSError, ValueError):
        return False
    return True


def _ip(address: str) -> str:
    if not any(_is(address, family) for family in _FAMILIES.values()):
        raise ValueError(f"{address!r} must be a valid IP address")
    return address


def _cidr(text: str) -> str:
    found = _RANGE.fullmatch(text)
    if not found or not any(_is(found[1], family) and int(found[2]) <= _BITS[family] for family in _BITS):
        raise ValueError(f"{text!r} must be a range of addresses, such as 10.9.8.0/24")
    return text


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, alias_generator=to_camel, frozen=True)


_Ip = Annotated[str, AfterValidator(_ip)]
_IpOrNone = Annotated[str, AfterValidator(lambda text: text if text in {"", "None"} else _ip(text))]
_Port = Annotated[int, Field(ge=1, le=65535)]
_PortOrNone = Annotated[int, Field(ge=0, le=65535)]
_Protocol = Literal["TCP", "UDP", "SCTP", ""]
_Label = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)]
_Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]


class _Metadata(_Part):
    name: _Name
    namespace: _Label | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str | None = None


class _Object(_Part):
    metadata: _Metadata


class _ServicePort(_Part):
    name: _Label | None = None
    port: _Port
    protocol: _Protocol | None = None
    target_port: int | str | None = None
    node_port: _PortOrNone | None = None


class _ClientIp(_Part):
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None


class _Affinity(_Part):
    client_ip: Annotated[_ClientIp | None, Field(alias="clientIP")] = None


class _ServiceSpec(_Part):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", ""] | None = None
    cluster_ip: Annotated[_IpOrNone | None, Field(alias="clusterIP")] = None
    cluster_ips: Annotated[list[_IpOrNone] | None, Field(alias="clusterIPs", max_length=2)] = None
    ports: list[_ServicePort] | None = None
    external_ips: Annotated[list[_Ip] | None, Field(alias="externalIPs")] = None
    session_affinity: Literal["None", "ClientIP", ""] | None = None
    session_affinity_config: _Affinity | None = None
    external_traffic_policy: Literal["Cluster", "Local", ""] | None = None
    internal_traffic_policy: Literal["Cluster", "Local"] | None = None
    load_balancer_source_ranges: list[Annotated[str, AfterValidator(_cidr)]] | None = None
    health_check_node_port: _PortOrNone | None = None


class _Ingress(_Part):
    ip: _Ip | Literal[""] | None = None
    hostname: str | None = None


class _LoadBalancer(_Part):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(_Part):
    load_balancer: _LoadBalancer | None = None


class _Service(_Object):
    spec: _ServiceSpec
    status: _ServiceStatus | None = None


class _Conditions(_Part):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Endpoint(_Part):
    addresses: Annotated[list[str], Field(min_length=1, max_length=100)]
    conditions: _Conditions | None = None
    node_name: str | None = None
    zone: str | None = None


class _EndpointPort(_Part):
    name: _Label | None = None
    port: _Port | None = None
    protocol: _Protocol | None = None


class _EndpointSlice(_Object):
    address_type: Literal["IPv4", "IPv6", "FQDN"] = "IPv4"
    endpoints: Annotated[list[_Endpoint] | None, Field(max_length=1000)] = None
    ports: Annotated[list[_EndpointPort] | None, Field(max_length=100)] = None


class _Address(_Part):
    ip: _Ip
    node_name: str | None = None


class _Subset(_Part):
    addresses: list[_Address] | None = None
    not_ready_addresses: list[_Address] | None = None
    ports: list[_EndpointPort] | None = None


class _Endpoints(_Object):
    subsets: list[_Subset] | None = None


class _NodeSpec(_Part):
    pod_cidr: Annotated[str | None, Field(alias="podCIDR")] = None
    pod_cidrs: Annotated[list[Annotated[str, AfterValidator(_cidr)]] | None, Field(alias="podCIDRs")] = None


class _NodeAddress(_Part):
    type: str
    address: str


class _NodeStatus(_Part):
    addresses: list[_NodeAddress] | None = None


class _Node(_Object):
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _CidrSpec(_Part):
    cidrs: list[Annotated[str, AfterValidator(_cidr)]]


class _ServiceCidr(_Object):
    spec: _CidrSpec


_SHAPES: Final[dict[Resource, type[_Object]]] = {
    SERVICES: _Service,
    ENDPOINT_SLICES: _EndpointSlice,
    ENDPOINTS: _Endpoints,
    NODES: _Node,
    SERVICE_CIDRS: _ServiceCidr,
}


def check(resource: Resource, obj: Object, old: Object | None = None) -> None:
    """Refuse what a Service proxy could not read. Raises StatusError (422) that names each field.

    A Service that has become of another type than the ``old`` one loses what only that one could have.
    """
    try:
        found = _SHAPES.get(resource, _Object).model_validate(obj)
    except ValidationError as error:
        causes = [(_path(one["loc"]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        raise status.invalid(resource, obj["metadata"]["name"], causes) from None
    wrong: list[tuple[str, str]] = []
    if resource == SERVICES:
        if old is not None:
            _drop_what_was_of_its_former_type(old, obj)
        wrong += [*_misplaced(obj), *_at_odds(obj["spec"])]
    if isinstance(found, _EndpointSlice) and (family := _FAMILIES.get(found.address_type)) is not None:
        wrong += _of_another_family(found, family)
    if wrong:
        raise status.invalid(resource, obj["metadata"]["name"], wrong)


def _drop_what_was_of_its_former_type(old: Object, new: Object) -> None:
    """Take from a Service that has become of another type what it had by the former one, as a real API server does."""
    spec = new["spec"]
    kind = _type(spec)
    if kind == _type(old["spec"]):
        return
    if kind != "LoadBalancer":
        for name in _BALANCED:
            spec.pop(name, None)
        if new.get("status"):
            new["status"] = {**new["status"], "loadBalancer": {}}
    if kind not in _OUTSIDE:
        if not spec.get("externalIPs"):
            spec.pop("externalTrafficPolicy", None)
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _misplaced(service: Object) -> Iterator[tuple[str, str]]:
    """Yield the fields that no Service of this type has, each with what is wrong."""
    spec = service["spec"]
    kind = _type(spec)
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    if kind != "LoadBalancer":
        found = [f"spec.{name}" for name in _BALANCED if spec.get(name)]
        found += ["status.loadBalancer.ingress"] if balancer.get("ingress") else []
        yield from ((field, "may only be used when `type` is 'LoadBalancer'") for field in found)
    if kind not in _OUTSIDE:
        for number, port in enumerate(spec.get("ports") or ()):
            if port.get("nodePort"):
                yield f"spec.ports[{number}].nodePort", f"may not be used when `type` is '{kind}'"
        if spec.get("externalTrafficPolicy") and not spec.get("externalIPs"):
            yield "spec.externalTrafficPolicy", "may only be set for externally-accessible services"


def _at_odds(spec: Object) -> Iterator[tuple[str, str]]:
    """Yield what is wrong about the two ways in which a Service tells its ClusterIP."""
    first, *others = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    if first != (spec.get("clusterIP") or ""):
        yield "spec.clusterIPs[0]", "must match `clusterIP`"
    if set(others) & {"", "None"}:
        yield "spec.clusterIPs[1]", "must be a valid IP address"


def _of_another_family(found: _EndpointSlice, family: socket.AddressFamily) -> Iterator[tuple[str, str]]:
    for number, endpoint in enumerate(found.endpoints or ()):
        for place, address in enumerate(endpoint.addresses):
            if not _is(address, family):
                yield f"endpoints[{number}].addresses[{place}]", f"{address!r} must be of {found.address_type}"


def _type(spec: Object) -> str:
    return spec.get("type") or "ClusterIP"


def _path(loc: tuple[int | str, ...]) -> str:
    """Write a place in an object as the API does: spec.ports[0].port."""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return words.removeprefix(".")
