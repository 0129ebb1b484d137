"""The resources that the lab's API server knows, and the paths that name them (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CORE_DEPTH: Final = 2  # "api", "v1"
_GROUP_DEPTH: Final = 3  # "apis", group, version


@dataclass(frozen=True)
class Resource:
    """One kind of object; ``versions`` holds the stored version first, ``group`` is "" for the core."""

    group: str
    plural: str
    kind: str
    namespaced: bool
    versions: tuple[str, ...] = ("v1",)

    def __hash__(self) -> int:
        """Hash the name only: a resource is a dictionary key on every request."""
        return hash((self.group, self.plural))

    @property
    def verbs(self) -> tuple[str, ...]:
        """What can be done with it; namespaces, as on a real API server, are deleted one by one."""
        return tuple(verb for verb in VERBS if verb != "deletecollection") if self.kind == "Namespace" else VERBS

    @property
    def qualified(self) -> str:
        """The name as error messages write it: "services", "endpointslices.discovery.k8s.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version: str) -> str:
        """Return what stands in an object's ``apiVersion``."""
        return f"{self.group}/{version}" if self.group else version

    def path(self, namespace: str = "", name: str = "", version: str = "") -> str:
        """Return the path of a collection, or of one object when ``name`` is given."""
        version = version or self.versions[0]
        parts = ["apis", self.group, version] if self.group else ["api", version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/" + "/".join([*parts, self.plural, *([name] if name else [])])


SERVICES: Final = Resource("", "services", "Service", namespaced=True)
ENDPOINTS: Final = Resource("", "endpoints", "Endpoints", namespaced=True)
NODES: Final = Resource("", "nodes", "Node", namespaced=False)
NAMESPACES: Final = Resource("", "namespaces", "Namespace", namespaced=False)
EVENTS: Final = Resource("", "events", "Event", namespaced=True)
GROUP_EVENTS: Final = Resource("events.k8s.io", "events", "Event", namespaced=True, versions=("v1", "v1beta1"))
ENDPOINT_SLICES: Final = Resource(
    "discovery.k8s.io", "endpointslices", "EndpointSlice", namespaced=True, versions=("v1", "v1beta1")
)
SERVICE_CIDRS: Final = Resource(
    "networking.k8s.io", "servicecidrs", "ServiceCIDR", namespaced=False, versions=("v1", "v1beta1")
)
RESOURCES: Final = (SERVICES, ENDPOINTS, NODES, NAMESPACES, EVENTS, GROUP_EVENTS, ENDPOINT_SLICES, SERVICE_CIDRS)

_BY_NAME: Final = {
    (resource.group, version, resource.plural): resource for resource in RESOURCES for version in resource.versions
}
BY_KIND: Final = {item.kind: item for item in (SERVICES, ENDPOINTS, NODES, NAMESPACES, ENDPOINT_SLICES)}


class Target(NamedTuple):
    """What a path names: a collection (``name`` is "") of one or all ("") namespaces, or one object."""

    resource: Resource
    version: str
    namespace: str
    name: str


def parse_path(path: str) -> Target | None:
    """Return what the path names, or None when this server has no such resource."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > _CORE_DEPTH:
        return _target("", parts[1], parts[2:])
    if parts[0] == "apis" and len(parts) > _GROUP_DEPTH:
        return _target(parts[1], parts[2], parts[3:])
    return None


def _target(group: str, version: str, parts: list[str]) -> Target | None:
    match parts:
        case ["namespaces", namespace, plural, *rest] if len(rest) <= 1:
            resource = _BY_NAME.get((group, version, plural))
            if resource is None or not resource.namespaced or not namespace:
                return None
            return Target(resource, version, namespace, rest[0] if rest else "")
        case [plural]:
            resource = _BY_NAME.get((group, version, plural))
            return Target(resource, version, "", "") if resource else None
        case [plural, name]:
            resource = _BY_NAME.get((group, version, plural))
            return Target(resource, version, "", name) if resource and not resource.namespaced else None
        case _:
            return None


def discovery(path: str) -> dict[str, object] | None:
    """Return the discovery document at ``/api``, ``/apis``, ``/api/v1``, ``/apis/G`` or ``/apis/G/V``, or None."""
    match path.strip("/").split("/"):
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            groups = [_group(name) for name in _groups()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", "v1"]:
            return _resource_list("", "v1")
        case ["apis", group] if group in _groups():
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["apis", group, version] if version in _groups().get(group, ()):
            return _resource_list(group, version)
        case _:
            return None


def _groups() -> dict[str, tuple[str, ...]]:
    return {resource.group: resource.versions for resource in RESOURCES if resource.group}


def _group(name: str) -> dict[str, object]:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _groups()[name]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(group: str, version: str) -> dict[str, object]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [
            {
                "name": resource.plural,
                "singularName": resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(resource.verbs),
            }
            for resource in RESOURCES
            if resource.group == group and version in resource.versions
        ],
    }
