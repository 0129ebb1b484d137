"""What the API server fills in, checks and converts: the difference between a client's object and a stored one (pure).

EndpointSlices are stored as ``discovery.k8s.io/v1``. ``v1beta1`` says where an endpoint runs in its ``topology``
map, ``v1`` in ``nodeName`` and ``zone`` (Kubernetes deprecation guide, v1.25, "EndpointSlice").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.kube.resources import ENDPOINT_SLICES, SERVICES
from proxybench.kube.status import invalid

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.kube.status import Object

_HOSTNAME: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"


def to_stored(resource: Resource, version: str, obj: Object) -> Object:
    """Return the object in the stored version."""
    if version == resource.versions[0]:
        return obj
    converted = {**obj, "apiVersion": resource.api_version(resource.versions[0])}
    if resource == ENDPOINT_SLICES and isinstance(obj.get("endpoints"), list):
        converted["endpoints"] = [_endpoint_to_v1(endpoint) for endpoint in obj["endpoints"]]
    return converted


def from_stored(resource: Resource, version: str, obj: Object) -> Object:
    """Return a stored object in the version that a client asked for."""
    if version == resource.versions[0]:
        return obj
    converted = {**obj, "apiVersion": resource.api_version(version)}
    if resource == ENDPOINT_SLICES and isinstance(obj.get("endpoints"), list):
        converted["endpoints"] = [_endpoint_to_v1beta1(endpoint) for endpoint in obj["endpoints"]]
    return converted


def fill_in(resource: Resource, obj: Object) -> None:
    """Set, in place, the defaults that clients such as kube-proxy rely on to be there."""
    if resource == SERVICES:
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        if spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
        if spec["type"] == "NodePort":
            spec.setdefault("externalTrafficPolicy", "Cluster")
        obj.setdefault("status", {"loadBalancer": {}})
    elif resource == ENDPOINT_SLICES:
        for port in obj.get("ports") or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")


def check(resource: Resource, name: str, obj: Object, before: Object | None) -> None:
    """Refuse what a real API server would refuse and a proxy would stumble over. Raises StatusError (422).

    This server hands out no addresses: where a real one would choose a ClusterIP, the client must.
    """
    if resource == SERVICES:
        _check_service(name, obj["spec"], before)
    elif resource == ENDPOINT_SLICES and obj.get("addressType") not in {"IPv4", "IPv6", "FQDN"}:
        problem = 'Required value: one of "FQDN", "IPv4", "IPv6"'
        raise invalid(resource, name, "addressType", "FieldValueRequired", problem)


def _check_service(name: str, spec: Object, before: Object | None) -> None:
    if spec["type"] != "ExternalName" and not spec.get("clusterIP"):
        problem = "Required value: this server allocates no addresses"
        raise invalid(SERVICES, name, "spec.clusterIP", "FieldValueRequired", problem)
    if not spec.get("ports") and spec.get("clusterIP") not in {None, "None"}:
        raise invalid(SERVICES, name, "spec.ports", "FieldValueRequired", "Required value")
    if before is not None and before["spec"].get("clusterIP") not in {None, spec.get("clusterIP")}:
        problem = f'Invalid value: []string{{"{spec.get("clusterIP")}"}}: may not change once set'
        raise invalid(SERVICES, name, "spec.clusterIPs[0]", "FieldValueInvalid", problem)


def _endpoint_to_v1(endpoint: Object) -> Object:
    if "topology" not in endpoint:
        return endpoint
    topology = dict(endpoint["topology"] or {})
    converted = {key: value for key, value in endpoint.items() if key != "topology"}
    if node := topology.pop(_HOSTNAME, None):
        converted["nodeName"] = node
    if zone := topology.pop(_ZONE, None):
        converted["zone"] = zone
    if topology:
        converted["deprecatedTopology"] = topology
    return converted


def _endpoint_to_v1beta1(endpoint: Object) -> Object:
    dropped = ("nodeName", "zone", "deprecatedTopology")
    converted = {key: value for key, value in endpoint.items() if key not in dropped}
    topology = dict(endpoint.get("deprecatedTopology") or {})
    if endpoint.get("nodeName"):
        topology[_HOSTNAME] = endpoint["nodeName"]
    if endpoint.get("zone"):
        topology[_ZONE] = endpoint["zone"]
    if topology:
        converted["topology"] = topology
    return converted
