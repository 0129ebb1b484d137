"""What is asked of a cluster's API is there in Kubernetes 1.25, the oldest that is measured."""

from __future__ import annotations

import re
from pathlib import Path

import proxybench
from proxybench.kube.resources import BY_KIND

# By its API reference: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.25/
SERVED_BY_1_25 = {
    "v1": {"configmaps", "endpoints", "namespaces", "nodes", "pods", "serviceaccounts", "services"},
    "apps/v1": {"daemonsets"},
    "authentication.k8s.io/v1": {"TokenRequest"},
    "authorization.k8s.io/v1": {"SelfSubjectAccessReview", "selfsubjectaccessreviews"},
    "discovery.k8s.io/v1": {"endpointslices"},
}
TOLD_WHERE_IT_LACKS = ("networking.k8s.io/v1", "servicecidrs")
"""Since 1.33; before, the user is asked for ``service_cidr``."""
PATH = re.compile(r"/apis?/((?:[a-z0-9.]+\.[a-z0-9.]+/|apps/)?v\d\w*)/(?:namespaces/[^/\"]+/)?([a-z]+)")
PACKAGE = Path(proxybench.__file__).parent


def asked() -> set[tuple[str, str]]:
    """Return (group and version, resource) of every path that the rooms of clusters write."""
    files = [file for room in ("kube", "targets/cluster") for file in sorted((PACKAGE / room).rglob("*.py"))]
    return {(found[1], found[2]) for file in files for found in PATH.finditer(file.read_text(encoding="utf-8"))}


def test_every_path_that_is_asked_for_is_there() -> None:
    found = asked()
    lacking = {(group, name) for group, name in found if name not in SERVED_BY_1_25.get(group, ())}
    assert lacking == {TOLD_WHERE_IT_LACKS}
    assert {"configmaps", "daemonsets", "nodes", "pods", "services", "endpointslices"} <= {name for _, name in found}


def test_every_kind_that_is_written_is_there_in_the_version_that_is_stored() -> None:
    for one in BY_KIND.values():
        assert one.plural in SERVED_BY_1_25[one.api_version(one.versions[0])]


def test_objects_with_a_version_of_their_own_name_one_that_is_there() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((PACKAGE / "targets/cluster").rglob("*.py")))
    named = set(re.findall(r"\"apiVersion\": \"([\w./]+)\"", text))
    assert named == {"authentication.k8s.io/v1", "authorization.k8s.io/v1"}
