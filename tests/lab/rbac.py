"""The roles that docs/cluster-rbac.yaml tells a user to make, given to a user who has nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.control_plane import Access

USER = "ann"
_RBAC = Path(__file__).parents[2] / "docs" / "cluster-rbac.yaml"
_GROUP = "rbac.authorization.k8s.io"


def grant(admin: Access) -> None:
    """Make what the file says, and bind the user as its comments do."""
    for body in [*YAML(typ="safe").load_all(_RBAC.read_text()), *_bindings()]:
        code, answer = admin.ask("POST", _place(body), body)
        assert code == 201, answer


def _place(obj: dict[str, object]) -> str:
    """Return where an object is posted, as kubectl knows it."""
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{'/api/v1' if obj['apiVersion'] == 'v1' else f'/apis/{_GROUP}/v1'}{space}/{str(obj['kind']).lower()}s"


def _bindings() -> Iterator[dict[str, object]]:
    """Yield the bindings that the file's comments tell the user to make."""
    for line in _RBAC.read_text().splitlines():
        words = line.removeprefix("#").split()
        if words[:2] != ["kubectl", "create"]:
            continue
        kind = {"clusterrolebinding": "ClusterRoleBinding", "rolebinding": "RoleBinding"}[words[2]]
        (role,) = (word.partition("=")[2] for word in words if word.startswith(("--role=", "--clusterrole=")))
        space = {"namespace": words[words.index("-n") + 1]} if "-n" in words else {}
        yield {
            "apiVersion": f"{_GROUP}/v1",
            "kind": kind,
            "metadata": {"name": words[3], **space},
            "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole" if "--clusterrole" in line else "Role", "name": role},
            "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": USER}],
        }
