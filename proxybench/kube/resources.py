"""The kinds of objects that proxybench writes, and their paths (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


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
ENDPOINT_SLICES: Final = Resource(
    "discovery.k8s.io", "endpointslices", "EndpointSlice", namespaced=True, versions=("v1", "v1beta1")
)

BY_KIND: Final = {item.kind: item for item in (SERVICES, ENDPOINTS, NODES, NAMESPACES, ENDPOINT_SLICES)}
