"""EndpointSlices as ``discovery.k8s.io/v1beta1``, which kube-proxy reads up to 1.20 (pure).

They are stored as ``v1``, which says in ``nodeName`` and ``zone`` what ``v1beta1`` says in the map ``topology``
(Kubernetes deprecation guide, v1.25, "EndpointSlice").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.kube.resources import ENDPOINT_SLICES

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.status import Object

_TOPOLOGY: Final = {"nodeName": "kubernetes.io/hostname", "zone": "topology.kubernetes.io/zone"}


def from_stored(resource: Resource, version: str, obj: Object) -> Object:
    """Return a stored object in the version that a client asked for."""
    converted = {**obj, "apiVersion": resource.api_version(version)}
    if resource == ENDPOINT_SLICES and obj.get("endpoints"):
        converted["endpoints"] = [_endpoint(endpoint) for endpoint in obj["endpoints"]]
    return converted


def _endpoint(endpoint: Object) -> Object:
    converted = {key: value for key, value in endpoint.items() if key not in _TOPOLOGY}
    topology = {label: endpoint[field] for field, label in _TOPOLOGY.items() if endpoint.get(field)}
    return {**converted, "topology": topology} if topology else converted
