from __future__ import annotations

from typing import Any, cast

import pytest

from proxybench.kube import resources
from proxybench.kube.resources import Target, discovery, parse_path

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
        ("/apis/events.k8s.io/v1/namespaces/a/events", Target(resources.GROUP_EVENTS, "v1", "a", "")),
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


@pytest.mark.parametrize("resource", resources.RESOURCES, ids=lambda item: item.qualified)
def test_path_and_parse_path_agree(resource: resources.Resource) -> None:
    namespace = "ns" if resource.namespaced else ""
    for version in resource.versions:
        for name in ("", "n"):
            path = resource.path(namespace, name, version)
            assert parse_path(path) == Target(resource, version, namespace, name)


def test_discovery_documents() -> None:
    assert discovery("/api") == {"kind": "APIVersions", "versions": ["v1"]}
    group = discovery("/apis/discovery.k8s.io")
    assert group == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "discovery.k8s.io",
        "versions": [
            {"groupVersion": "discovery.k8s.io/v1", "version": "v1"},
            {"groupVersion": "discovery.k8s.io/v1beta1", "version": "v1beta1"},
        ],
        "preferredVersion": {"groupVersion": "discovery.k8s.io/v1", "version": "v1"},
    }
    slices = discovery("/apis/discovery.k8s.io/v1beta1")
    assert slices == {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "discovery.k8s.io/v1beta1",
        "resources": [
            {
                "name": "endpointslices",
                "singularName": "endpointslice",
                "namespaced": True,
                "kind": "EndpointSlice",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            }
        ],
    }
    core = discovery("/api/v1")
    assert core is not None
    assert core["groupVersion"] == "v1"
    namespaces = next(
        found for found in cast("list[dict[str, Any]]", core["resources"]) if found["name"] == "namespaces"
    )
    assert namespaces["verbs"] == ["create", "delete", "get", "list", "patch", "update", "watch"]
    groups = discovery("/apis")
    assert groups is not None
    assert groups["kind"] == "APIGroupList"
    assert discovery("/apis/apps") is None
    assert discovery("/apis/discovery.k8s.io/v2") is None
