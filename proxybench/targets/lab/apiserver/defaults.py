"""What the API server fills in where a client left it out (pure).

The defaults are those that the Kubernetes API reference gives for Service v1, EndpointSlice v1 and Endpoints v1, and
that clients such as kube-proxy rely on to be there. Objects have passed ``check_shape`` before: types are right, but
any field may be null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxybench.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, SERVICES
from proxybench.targets.lab.apiserver.syntax import ip_family

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

AFFINITY_SECONDS: Final = 10_800
HEADLESS: Final = "None"
EXTERNAL_NAME: Final = "ExternalName"
NODE_PORT_TYPES: Final = frozenset({"NodePort", "LoadBalancer"})
_FAMILIES: Final = ("IPv4", "IPv6")


def fill_in(resource: Resource, obj: Object, before: Object | None = None) -> None:
    """Set, in place, what the client left out; ``before`` is the object that this one replaces."""
    if before is not None and obj.get("status") is None and "status" in before:
        obj["status"] = before["status"]
    if resource is SERVICES:
        _fill_in_service(obj, before)
    elif resource is ENDPOINT_SLICES:
        for port in obj.get("ports") or ():
            if port.get("name") is None:
                port["name"] = ""
            _default(port, "protocol", "TCP")
    elif resource is ENDPOINTS:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                _default(port, "protocol", "TCP")
    elif resource is NAMESPACES:
        _default(obj, "status", {"phase": "Active"})


def externally_accessible(spec: Object) -> bool:
    """Tell whether a Service is reached from outside of the cluster, so that externalTrafficPolicy means something."""
    return spec.get("type") in NODE_PORT_TYPES or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _fill_in_service(obj: Object, before: Object | None) -> None:
    spec = obj["spec"] = {} if obj.get("spec") is None else obj["spec"]
    _default(obj, "status", {"loadBalancer": {}})
    _default(spec, "type", "ClusterIP")
    if before is not None:
        _carry_over(spec, before["spec"])
    _default(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec["sessionAffinityConfig"] = spec.get("sessionAffinityConfig") or {}
        client_ip = config["clientIP"] = config.get("clientIP") or {}
        if client_ip.get("timeoutSeconds") is None:
            client_ip["timeoutSeconds"] = AFFINITY_SECONDS
    for port in spec.get("ports") or ():
        _default(port, "protocol", "TCP")
        _default(port, "targetPort", port.get("port"))
    if spec["type"] == EXTERNAL_NAME:
        return
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    _default(spec, "internalTrafficPolicy", "Cluster")
    if externally_accessible(spec):
        _default(spec, "externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    _fill_in_families(spec)


def _fill_in_families(spec: Object) -> None:
    """Say of which families the addresses are; a headless Service without selector has both, whatever the cluster."""
    if spec.get("clusterIP") == HEADLESS:
        families = spec.get("ipFamilies") or [_FAMILIES[0]]
        _default(spec, "ipFamilyPolicy", "SingleStack" if spec.get("selector") else "RequireDualStack")
        if not spec.get("selector") and spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1:
            families = [*families, *(family for family in _FAMILIES if family not in families)]
        spec["ipFamilies"] = families
        return
    _default(spec, "ipFamilies", [ip_family(address) for address in spec.get("clusterIPs") or ()] or [_FAMILIES[0]])
    _default(spec, "ipFamilyPolicy", "SingleStack" if len(spec["ipFamilies"]) == 1 else "RequireDualStack")


def _carry_over(spec: Object, before: Object) -> None:
    """Keep what the server had chosen and the client did not send; drop what the new type has no use for."""
    if spec["type"] == EXTERNAL_NAME:
        if before["type"] != EXTERNAL_NAME:
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                _drop_if_same(spec, before, field)
    elif not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"], spec["clusterIPs"] = before["clusterIP"], before["clusterIPs"]
    if spec["type"] in NODE_PORT_TYPES:
        _keep_node_ports(spec, before)
    elif before["type"] in NODE_PORT_TYPES:
        _drop_node_ports(spec, before)


def _keep_node_ports(spec: Object, before: Object) -> None:
    known = {_port_key(port): port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
    for port in spec.get("ports") or ():
        if not port.get("nodePort") and _port_key(port) in known:
            port["nodePort"] = known[_port_key(port)]
    if before.get("healthCheckNodePort") and spec.get("externalTrafficPolicy") == "Local":
        _default(spec, "healthCheckNodePort", before["healthCheckNodePort"])


def _drop_node_ports(spec: Object, before: Object) -> None:
    for field in ("externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"):
        _drop_if_same(spec, before, field)
    known = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in known:
            port.pop("nodePort", None)


def _port_key(port: Object) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol") or "TCP"


def _drop_if_same(spec: Object, before: Object, field: str) -> None:
    if field in spec and spec[field] == before.get(field):
        del spec[field]


def _default(obj: Object, field: str, value: object) -> None:
    if not obj.get(field):
        obj[field] = value
