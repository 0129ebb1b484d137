"""The resources that the lab's API server serves, and the paths that name them (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxybench.kube.resources import BY_KIND, Resource

_CORE_DEPTH: Final = 2  # "api", "v1"
_GROUP_DEPTH: Final = 3  # "apis", group, version

EVENTS: Final = Resource("", "events", "Event", namespaced=True)
GROUP_EVENTS: Final = Resource("events.k8s.io", "events", "Event", namespaced=True, versions=("v1", "v1beta1"))
SERVICE_CIDRS: Final = Resource(
    "networking.k8s.io", "servicecidrs", "ServiceCIDR", namespaced=False, versions=("v1", "v1beta1")
)
RESOURCES: Final = (*BY_KIND.values(), EVENTS, GROUP_EVENTS, SERVICE_CIDRS)

_BY_NAME: Final = {
    (resource.group, version, resource.plural): resource for resource in RESOURCES for version in resource.versions
}


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
