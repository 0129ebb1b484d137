"""The documented roles against a real API server: they are enough for a run, and for a switch."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from proxybench.errors import ApiError
from proxybench.experiment.places import ClusterSpec
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, AddressPlan
from proxybench.model import Mode
from proxybench.nodes.cluster import ApiAccess
from proxybench.scenarios.population import Populator
from proxybench.targets.cluster import access
from proxybench.targets.cluster.switch.changes import CONFIG_MAP
from proxybench.targets.cluster.switch.switcher import plan
from proxybench.targets.cluster.target import clean, open_api
from tests.lab.binaries import ETCD, FIRST_BUILD_S, program
from tests.lab.control_plane import SERVICE_CIDR, control_plane
from tests.lab.kubeadm import objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.control_plane import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * FIRST_BUILD_S)]

RBAC = Path(__file__).parents[2] / "docs" / "cluster-rbac.yaml"
GROUP = "/apis/rbac.authorization.k8s.io/v1"
USER = "ann"


def place(obj: dict[str, object]) -> str:
    """Return where an object is posted, as kubectl knows it."""
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{'/api/v1' if obj['apiVersion'] == 'v1' else GROUP}{space}/{str(obj['kind']).lower()}s"


def commands() -> Iterator[dict[str, object]]:
    """Yield the bindings that the file's comments tell the user to make."""
    for line in RBAC.read_text().splitlines():
        words = line.removeprefix("#").split()
        if words[:2] != ["kubectl", "create"]:
            continue
        kind = {"clusterrolebinding": "ClusterRoleBinding", "rolebinding": "RoleBinding"}[words[2]]
        (role,) = (word.partition("=")[2] for word in words if word.startswith(("--role=", "--clusterrole=")))
        space = {"namespace": words[words.index("-n") + 1]} if "-n" in words else {}
        group = "rbac.authorization.k8s.io"
        yield {
            "apiVersion": f"{group}/v1",
            "kind": kind,
            "metadata": {"name": words[3], **space},
            "roleRef": {"apiGroup": group, "kind": kind.removesuffix("Binding"), "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        }


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Access]:
    programs = program("etcd", ETCD), program("kube-apiserver", "1.37.2")
    with control_plane(tmp_path, *programs, users=[USER]) as found:
        for path, body in objects("mode: iptables\n"):
            code, answer = found.ask("POST", path, body)
            assert code == 201, answer
        for body in [*YAML(typ="safe").load_all(RBAC.read_text()), *commands()]:
            code, answer = found.ask("POST", place(body), body)
            assert code == 201, answer
        yield found


def test_the_documented_roles_are_enough_and_no_more(admin: Access) -> None:
    first = ApiAccess(admin.url, admin.url, admin.ca_pem, USER)
    with ExitStack() as stack:
        user = open_api(first, stack)
        assert access.has_namespace(user)
        assert access.service_cidr(user, ClusterSpec(inventory="-")) == SERVICE_CIDR
        assert user.list(Kind.NODE) == []
        own = access.own_access(user, first)
        assert own.token != USER
        writer = open_api(own, stack)
        populator = Populator(writer, AddressPlan(SERVICE_CIDR, (("node1", "10.244.0.0/17"),), 8080))
        population = populator.reach(5, 2, 1, lambda _: None)
        populator.restore(population, 1)
        assert len(writer.list(Kind.SERVICE, NAMESPACE)) == 5
        populator.clear()
        populator.reach(2, 2, 1, lambda _: None)
        clean(user, own_namespace=False)
        assert admin.get(f"/api/v1/namespaces/{NAMESPACE}/services")["items"] == []
        with pytest.raises(ApiError, match="forbidden"):
            writer.list(Kind.SERVICE, "default")
        for change in plan(user, Mode.NFTABLES, "mark"):
            found = user.ask("GET", change.path)
            user.ask("PUT", change.path, found)
        with pytest.raises(ApiError, match="forbidden"):
            writer.ask("GET", CONFIG_MAP)
