"""The API versions of an object: the one that is stored, and those in which clients send and get it (pure).

EndpointSlices are stored as ``discovery.k8s.io/v1``. ``v1beta1`` says where an endpoint runs in its ``topology``
map, ``v1`` in ``nodeName`` and ``zone`` (Kubernetes deprecation guide, v1.25, "EndpointSlice").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxybench.kube.resources import ENDPOINT_SLICES
from proxybench.targets.lab.apiserver.status import bad_request

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

_HOSTNAME: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"


def to_stored(resource: Resource, version: str, obj: Object) -> Object:
    """Return the object, which may be of any shape, in the stored version. Raises StatusError (400)."""
    if version == resource.versions[0]:
        return obj
    converted = {**obj, "apiVersion": resource.api_version(resource.versions[0])}
    if resource == ENDPOINT_SLICES and isinstance(obj.get("endpoints"), list):
        converted["endpoints"] = [_endpoint_to_v1(index, item) for index, item in enumerate(obj["endpoints"])]
    return converted


def from_stored(resource: Resource, version: str, obj: Object) -> Object:
    """Return a stored object in the version that a client asked for."""
    if version == resource.versions[0]:
        return obj
    converted = {**obj, "apiVersion": resource.api_version(version)}
    if resource == ENDPOINT_SLICES and isinstance(obj.get("endpoints"), list):
        converted["endpoints"] = [_endpoint_to_v1beta1(endpoint) for endpoint in obj["endpoints"]]
    return converted


def _endpoint_to_v1(index: int, endpoint: Any) -> Any:  # noqa: ANN401 - any JSON value; the store checks it
    if not isinstance(endpoint, dict) or "topology" not in endpoint:
        return endpoint
    topology = endpoint["topology"] or {}
    if not isinstance(topology, dict):
        raise bad_request(f"endpoints[{index}].topology: must be of type object")
    topology = dict(topology)
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
