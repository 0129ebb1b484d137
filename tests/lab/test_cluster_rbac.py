"""The documented roles against a real API server: they are enough for a run, and for a switch."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from proxybench.errors import ApiError
from proxybench.experiment.places import ClusterSpec
from proxybench.hosts import sudo
from proxybench.hosts.inventory import Sudo
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, AddressPlan
from proxybench.model import Mode
from proxybench.nodes.cluster import ApiAccess
from proxybench.scenarios.population import Populator
from proxybench.targets.cluster import access
from proxybench.targets.cluster.switch.changes import CONFIG_MAP
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.target import clean, open_api
from tests.lab.binaries import CLUSTER, ETCD, FIRST_BUILD_S, program
from tests.lab.control_plane import SERVICE_CIDR, control_plane
from tests.lab.kubeadm import objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.control_plane import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * FIRST_BUILD_S)]

RBAC = Path(__file__).parents[2] / "docs" / "cluster-rbac.yaml"
DOCS = RBAC.with_name("cluster.md")
TRIED = f"{' '.join(sudo.NEEDS_NO_PASSWORD)} && "
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
            "roleRef": {"apiGroup": group, "kind": "ClusterRole" if "--clusterrole" in line else "Role", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        }


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Access]:
    programs = program("etcd", ETCD), program("kube-apiserver", CLUSTER)
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
        for change in DaemonSetWay(user).plan(Mode.NFTABLES, "registry.k8s.io/kube-proxy:v1.36.3", "mark"):
            found = user.ask("GET", change.path)
            user.ask("PUT", change.path, found)
        with pytest.raises(ApiError, match="forbidden"):
            writer.ask("GET", CONFIG_MAP)
        assert access.list_pods(user, "default", "app=web") == []
        with pytest.raises(ApiError, match="forbidden"):
            access.list_pods(user, "kube-system", "app=web")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("sudo") is None, reason="needs root, and sudo")
def test_the_documented_line_of_sudoers_is_enough(tmp_path: Path) -> None:
    """In mounts of its own, where nobody may do what the line says, and is asked for no password."""
    (line,) = (words for words in DOCS.read_text().split("`") if "NOPASSWD" in words)
    sudoers = tmp_path / "sudoers"
    sudoers.write_text(f"{line.replace('admin', 'nobody', 1)}\n")
    sudoers.chmod(0o440)
    asked = sudo.command(Sudo(), ["sh", "-c", "id -u"], "A=b")
    script = 'mount --bind "$1" /etc/sudoers && exec setpriv --reuid=nobody --clear-groups sh -c "$2"'
    argv = ["unshare", "--mount", "sh", "-c", script, "x", str(sudoers), f"{TRIED}{asked}"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr
