from __future__ import annotations

import pytest

from proxybench.kube import resources
from proxybench.targets.lab.apiserver.paths import GROUP_EVENTS, RESOURCES, SERVICE_CIDRS, Target, parse_path

SLICES = resources.ENDPOINT_SLICES


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/services", Target(resources.SERVICES, "v1", "", "")),
        ("/api/v1/namespaces/a/services", Target(resources.SERVICES, "v1", "a", "")),
        ("/api/v1/namespaces/a/services/b", Target(resources.SERVICES, "v1", "a", "b")),
        ("/api/v1/nodes", Target(resources.NODES, "v1", "", "")),
        ("/api/v1/nodes/n", Target(resources.NODES, "v1", "", "n")),
        ("/api/v1/namespaces", Target(resources.NAMESPACES, "v1", "", "")),
        ("/api/v1/namespaces/a", Target(resources.NAMESPACES, "v1", "", "a")),
        ("/apis/discovery.k8s.io/v1/endpointslices", Target(SLICES, "v1", "", "")),
        ("/apis/discovery.k8s.io/v1beta1/namespaces/a/endpointslices/b", Target(SLICES, "v1beta1", "a", "b")),
        ("/apis/events.k8s.io/v1/namespaces/a/events", Target(GROUP_EVENTS, "v1", "a", "")),
        ("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", Target(SERVICE_CIDRS, "v1", "", "kubernetes")),
    ],
)
def test_paths_that_name_something(path: str, target: Target) -> None:
    assert parse_path(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/services",
        "/api/v1/pods",
        "/api/v1/services/b",
        "/api/v1/namespaces/a/nodes",
        "/api/v1/namespaces//services",
        "/api/v1/namespaces/a/services/b/status",
        "/apis/discovery.k8s.io/v1",
        "/apis/discovery.k8s.io/v2/endpointslices",
        "/apis/apps/v1/deployments",
    ],
)
def test_paths_that_name_nothing(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: item.qualified)
def test_path_and_parse_path_agree(resource: resources.Resource) -> None:
    namespace = "ns" if resource.namespaced else ""
    for version in resource.versions:
        for name in ("", "n"):
            path = resource.path(namespace, name, version)
            assert parse_path(path) == Target(resource, version, namespace, name)
