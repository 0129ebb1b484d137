"""Reading Services and EndpointSlices: from the API's objects to what a data plane programs. Pure.

What counts and what is skipped follows kube-proxy: headless and ExternalName Services, those that name another proxy,
and endpoints that neither are ready nor still serve leave no trace. SCTP ports are skipped too: none of the planes
carries it. A value that no API server should have let pass raises UnreadableError, which names its field; among several
addresses or ranges it is left out, and named.
"""

from __future__ import annotations

import re
from socket import AF_INET, inet_pton
from typing import TYPE_CHECKING, Any, NamedTuple

from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.ranges import NOBODY, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
PROTOCOLS = {"TCP": "tcp", "UDP": "udp"}
_WORD = re.compile("[a-zA-Z0-9.-]*")
_MOST_SECONDS = 86_400  # of ClientIP affinity, as the API allows them

ServiceName = tuple[str, str]  # namespace, name
Endpoints = dict[tuple[str, str], tuple[Endpoint, ...]]  # by port name and protocol
Object = dict[str, Any]


class PortEndpoints(NamedTuple):
    """The endpoints of a slice: those that are ready, and those that terminate and still serve."""

    ready: Endpoints
    leaving: Endpoints


NO_ENDPOINTS: Endpoints = {}


class UnreadableError(ValueError):
    """An object with a value that cannot be; the text is one line: the field, and what is wrong with it."""


def name_of(obj: object) -> ServiceName:
    """Return an object's namespace and name."""
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(meta, dict):
        raise UnreadableError("metadata: expected an object")
    namespace, name = meta.get("namespace"), meta.get("name")
    if isinstance(namespace, str) and isinstance(name, str):
        return namespace, name
    field, value = ("name", name) if isinstance(namespace, str) else ("namespace", namespace)
    raise UnreadableError(f"metadata.{field}: expected a name, got {value!r}")


def parse_service(name: ServiceName, obj: Mapping[str, Any], left_out: list[str]) -> tuple[ServicePort, ...]:
    """Return the Service's ports without endpoints; none for a Service that no proxy serves.

    ``left_out`` takes a line for each address or range that is none.
    """
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        raise UnreadableError("spec: expected an object")
    labels = obj["metadata"].get("labels") or {}
    kind = spec.get("type") or "ClusterIP"
    if kind == "ExternalName" or PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return ()
    cluster_ip = _cluster_ip(spec)
    if not cluster_ip:
        return ()
    outside = kind in {"NodePort", "LoadBalancer"}
    namespace, own_name = _word("metadata.namespace", name[0]), _word("metadata.name", name[1])
    external_ips = _ipv4_of("spec.externalIPs", spec.get("externalIPs"), left_out)
    affinity = _affinity(spec)
    status = obj.get("status")
    ingress_ips = _ingress(status, left_out) if status else ()
    ranges = _ranges(spec.get("loadBalancerSourceRanges"), left_out)
    return tuple(
        ServicePort(
            key=ServicePortKey(
                namespace,
                own_name,
                _word("spec.ports.name", port.get("name") or ""),
                PROTOCOLS[port.get("protocol") or "TCP"],
            ),
            cluster_ip=cluster_ip,
            port=_number("spec.ports.port", port.get("port")),
            endpoints=(),
            node_port=_number("spec.ports.nodePort", port["nodePort"]) if outside and port.get("nodePort") else 0,
            external_ips=external_ips,
            affinity_seconds=affinity,
            local_only=outside and spec.get("externalTrafficPolicy") == "Local",
            ingress_ips=ingress_ips,
            source_ranges=ranges,
        )
        for port in _objects("spec.ports", spec.get("ports"))
        if (port.get("protocol") or "TCP") in PROTOCOLS
    )


def not_done(spec: Mapping[str, Any], mode: str) -> Iterator[str]:
    """Yield what a Service that was parsed asks for and does not get, one line each: the field, and what is missing."""
    if mode == "userspace":
        yield from _not_relayed(spec)
    if spec.get("healthCheckNodePort"):
        yield "spec.healthCheckNodePort: nothing answers there"
    if spec.get("internalTrafficPolicy") == "Local":
        yield "spec.internalTrafficPolicy: Local is taken for Cluster"
    if "SCTP" in [port.get("protocol") for port in spec["ports"]]:
        yield "spec.ports.protocol: SCTP is not carried"


def _not_relayed(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a relay, which sees neither a client's packets nor its own node's share, has no answer to."""
    if spec.get("externalTrafficPolicy") == "Local" and spec.get("type") in {"NodePort", "LoadBalancer"}:
        yield "spec.externalTrafficPolicy: Local is taken for Cluster in userspace mode"
    if spec.get("loadBalancerSourceRanges"):
        yield "spec.loadBalancerSourceRanges: userspace mode serves the load balancer's addresses to nobody"


def parse_slice(obj: Mapping[str, Any], node_name: str) -> PortEndpoints:
    """Return the endpoints for each port of the slice; only an endpoint's first address counts."""
    ready: list[tuple[str, bool]] = []
    leaving: list[tuple[str, bool]] = []
    for item in _objects("endpoints", obj.get("endpoints")):
        conditions = item.get("conditions") or {}
        where = ready if conditions.get("ready") is not False else leaving
        if item.get("addresses") and (where is ready or _still_serves(conditions)):
            address = _ipv4("endpoints.addresses", item["addresses"][0])
            where.append((address, item.get("nodeName") == node_name))
    ports = {
        (port.get("name") or "", protocol): _number("ports.port", port["port"])
        for port in _objects("ports", obj.get("ports"))
        if port.get("port") and (protocol := PROTOCOLS.get(port.get("protocol") or "TCP"))
    }
    return PortEndpoints(_behind(ports, ready), _behind(ports, leaving) if leaving else NO_ENDPOINTS)


def _still_serves(conditions: Mapping[str, Any]) -> bool:
    return conditions.get("terminating") is True and conditions.get("serving") is True


def _behind(ports: Mapping[tuple[str, str], int], places: Sequence[tuple[str, bool]]) -> Endpoints:
    return {
        key: tuple([Endpoint(address, number, local) for address, local in places]) for key, number in ports.items()
    }


def _cluster_ip(spec: Object) -> str:
    """Return the IPv4 ClusterIP, which may be the second one; empty for a Service without."""
    first = spec.get("clusterIP") or "None"
    if first == "None":
        return ""
    if ":" not in str(first):
        return _ipv4("spec.clusterIP", first)
    others: list[str] = []
    found = _ipv4_of("spec.clusterIPs", spec.get("clusterIPs"), others)
    if others:
        raise UnreadableError(others[0])
    return next(iter(found), "")


def _affinity(spec: Object) -> int:
    """Return the seconds of ClientIP affinity, by default the API's three hours."""
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    return _number(field, client.get("timeoutSeconds") or 10800, _MOST_SECONDS)


def _objects(field: str, value: object) -> list[Object]:
    """Return the objects of a list, which may be absent."""
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UnreadableError(f"{field}: expected a list of objects")
    return value


def _ingress(status: object, left_out: list[str]) -> tuple[str, ...]:
    """Return the load balancer's addresses, without those whose ipMode leads traffic to itself at all times.

    A load balancer with a name instead of an address has an ingress without one.
    """
    try:
        balancer = status.get("loadBalancer") or {}  # type: ignore[attr-defined] # an AttributeError is an answer too
        places = _objects("status.loadBalancer.ingress", balancer.get("ingress"))
    except (UnreadableError, AttributeError):
        left_out.append("status.loadBalancer.ingress: expected a list of objects")
        return ()
    wanted = [place.get("ip") for place in places if place.get("ipMode") != "Proxy"]
    return _ipv4_of("status.loadBalancer.ingress.ip", wanted, left_out)


def _ipv4_of(field: str, values: object, left_out: list[str]) -> tuple[str, ...]:
    """Return the IPv4 addresses of a list, which may be absent; those of version 6 are another proxy's."""
    if not values or not isinstance(values, list):
        return ()
    found = []
    for value in values:
        if value and ":" not in str(value):
            try:
                found.append(_ipv4(field, value))
            except UnreadableError as error:
                left_out.append(str(error))
    return tuple(found)


def _ranges(values: object, left_out: list[str]) -> tuple[str, ...]:
    """Return the IPv4 ranges of loadBalancerSourceRanges, spelled as the kernel spells them.

    Who limits the sources to others than can be read here, or to those of version 6, does not let in everybody.
    """
    if not values:
        return ()
    if not isinstance(values, list):
        raise UnreadableError("spec.loadBalancerSourceRanges: expected a list")
    found = []
    for value in values:
        if ":" not in str(value):
            try:
                found.append(canonical(str(value)))
            except ValueError:
                left_out.append(f"spec.loadBalancerSourceRanges: expected a range of addresses, got {value!r}")
    return tuple(found) or (NOBODY,)


def _ipv4(field: str, value: object) -> str:
    """Return an address as it is; the planes hand it to the kernel in four bytes, and to iptables as a word."""
    try:
        inet_pton(AF_INET, value)  # type: ignore[arg-type] # a TypeError is an answer too
    except (OSError, TypeError, ValueError):
        raise UnreadableError(f"{field}: expected an IPv4 address, got {value!r}") from None
    return str(value)


def _word(field: str, value: object) -> str:
    """Return a name that can stand in a rule's comment: one wrong letter there, and no rule at all would be loaded."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise UnreadableError(f"{field}: expected letters, digits, dots and dashes, got {value!r}")
    return value


def _number(field: str, value: object, most: int = 65_535) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise UnreadableError(f"{field}: expected a number from 1 to {most}, got {value!r}")
    return value
