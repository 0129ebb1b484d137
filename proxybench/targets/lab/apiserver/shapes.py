"""The JSON types of the fields that Kubernetes gives the objects served here (pure).

A typed client decodes a list as a whole: one object whose field is of another type would break it for all. Fields that
are not named here are let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxybench.kube.resources import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    GROUP_EVENTS,
    NAMESPACES,
    NODES,
    SERVICE_CIDRS,
    SERVICES,
)
from proxybench.targets.lab.apiserver.problems import type_name

if TYPE_CHECKING:
    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.problems import Problems
    from proxybench.targets.lab.apiserver.status import Object


class MapOf(NamedTuple):
    """An object with any keys, whose values are of one type."""

    kind: type


# A type, a tuple of types, a list of one shape, a MapOf, or a dictionary of shapes by field.
Shape = Any

_TEXTS: Final = MapOf(str)
_METADATA: Final[Shape] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "finalizers": [str],
    "ownerReferences": [
        {
            "apiVersion": str,
            "kind": str,
            "name": str,
            "uid": str,
            "controller": bool,
            "blockOwnerDeletion": bool,
        }
    ],
    "managedFields": [{}],
}
_CONDITIONS: Final[Shape] = [{"type": str, "status": str, "reason": str, "message": str}]
_REFERENCE: Final[Shape] = {"kind": str, "namespace": str, "name": str, "uid": str}
_PORTS: Final[Shape] = [{"name": str, "protocol": str, "port": int, "appProtocol": str}]
_INGRESS: Final[Shape] = [{"ip": str, "hostname": str, "ipMode": str, "ports": _PORTS}]
_SUBSET_ADDRESSES: Final[Shape] = [{"ip": str, "hostname": str, "nodeName": str, "targetRef": _REFERENCE}]

_SHAPES: Final[dict[Resource, Shape]] = {
    SERVICES: {
        "metadata": _METADATA,
        "spec": {
            "type": str,
            "clusterIP": str,
            "clusterIPs": [str],
            "externalIPs": [str],
            "externalName": str,
            "externalTrafficPolicy": str,
            "internalTrafficPolicy": str,
            "trafficDistribution": str,
            "healthCheckNodePort": int,
            "ipFamilies": [str],
            "ipFamilyPolicy": str,
            "loadBalancerIP": str,
            "loadBalancerClass": str,
            "loadBalancerSourceRanges": [str],
            "allocateLoadBalancerNodePorts": bool,
            "publishNotReadyAddresses": bool,
            "selector": _TEXTS,
            "sessionAffinity": str,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": int}},
            "ports": [
                {
                    "name": str,
                    "protocol": str,
                    "port": int,
                    "targetPort": (int, str),
                    "nodePort": int,
                    "appProtocol": str,
                }
            ],
        },
        "status": {"loadBalancer": {"ingress": _INGRESS}, "conditions": _CONDITIONS},
    },
    ENDPOINT_SLICES: {
        "metadata": _METADATA,
        "addressType": str,
        "endpoints": [
            {
                "addresses": [str],
                "conditions": {"ready": bool, "serving": bool, "terminating": bool},
                "hostname": str,
                "nodeName": str,
                "zone": str,
                "deprecatedTopology": _TEXTS,
                "targetRef": _REFERENCE,
                "hints": {"forZones": [{"name": str}], "forNodes": [{"name": str}]},
            }
        ],
        "ports": _PORTS,
    },
    ENDPOINTS: {
        "metadata": _METADATA,
        "subsets": [{"addresses": _SUBSET_ADDRESSES, "notReadyAddresses": _SUBSET_ADDRESSES, "ports": _PORTS}],
    },
    NODES: {
        "metadata": _METADATA,
        "spec": {
            "podCIDR": str,
            "podCIDRs": [str],
            "providerID": str,
            "unschedulable": bool,
            "taints": [{"key": str, "value": str, "effect": str}],
        },
        "status": {"addresses": [{"type": str, "address": str}], "conditions": _CONDITIONS},
    },
    NAMESPACES: {
        "metadata": _METADATA,
        "spec": {"finalizers": [str]},
        "status": {"phase": str, "conditions": _CONDITIONS},
    },
    EVENTS: {"metadata": _METADATA},
    GROUP_EVENTS: {"metadata": _METADATA},
    SERVICE_CIDRS: {"metadata": _METADATA},
}


def check_shape(resource: Resource, obj: Object, problems: Problems) -> None:
    """Note every field that is of a wrong type."""
    shape = _SHAPES[resource]
    if not _fits(obj, shape):
        _explain(obj, shape, "", problems)


def _fits(value: Any, shape: Shape) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether all types are right. JSON's null means that a field is not set."""
    kind = type(shape)
    if kind is type:
        return type(value) is shape
    if kind is dict:
        if type(value) is not dict:
            return False
        for key, item in value.items():
            wanted = shape.get(key)
            if wanted is not None and type(item) is not wanted and item is not None and not _fits(item, wanted):
                return False
        return True
    if kind is list:
        return type(value) is list and all(_fits(item, shape[0]) for item in value)
    if kind is MapOf:
        return type(value) is dict and {shape.kind}.issuperset(map(type, value.values()))
    return type(value) in shape


def _explain(value: Any, shape: Shape, path: str, problems: Problems) -> None:  # noqa: ANN401 - any JSON value
    """Do the same once more for a value that is known to be wrong, with the names of the fields."""
    inner: list[tuple[str, Any, Shape]] = []
    match shape, value:
        case MapOf(), dict():
            inner = [(f"{path}[{key}]", item, shape.kind) for key, item in value.items()]
        case dict(), dict():
            dot = "." if path else ""
            known = [(key, item) for key, item in value.items() if key in shape and item is not None]
            inner = [(f"{path}{dot}{key}", item, shape[key]) for key, item in known]
        case list(), list():
            inner = [(f"{path}[{number}]", item, shape[0]) for number, item in enumerate(value)]
        case _:
            problems.wrong_type(path, value, _wanted(shape))
    for field, item, wanted in inner:
        if not _fits(item, wanted):
            _explain(item, wanted, field, problems)


def _wanted(shape: Shape) -> str:
    match shape:
        case MapOf() | dict():
            return "object"
        case list():
            return "array"
        case tuple():
            return " or ".join(type_name(kind) for kind in shape)
        case _:
            return type_name(shape)
