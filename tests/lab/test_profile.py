"""A real API server's cluster: its shape is read with the documented role and replayed in the lab, up to a report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from proxybench.errors import ApiError
from proxybench.experiment.profile import Profile, ServiceType, read_profile
from proxybench.kube.client import KubernetesServiceApi
from tests.lab.binaries import CLUSTER, ETCD, FIRST_BUILD_S, kube_proxy, program
from tests.lab.control_plane import control_plane, kubeconfig
from tests.lab.mixed_cluster import TEAMS, cluster, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.control_plane import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * FIRST_BUILD_S)]

RBAC = Path(__file__).parents[2] / "docs" / "profile-rbac.yaml"
GROUP = "rbac.authorization.k8s.io"
USER = "ann"
SERVICES = int(os.environ.get("PROXYBENCH_TEST_SERVICES", "200"))
PROGRAM = "from proxybench.cli.main import entry; entry()"
EXPERIMENT = """\
version: 1
name: theirs
target: {lab: {kind: netns}}
subjects: [{kind: kube-proxy, version: v1.37.2, mode: nftables}]
scale: {profile: cluster.yaml}
repetitions: 1
measure:
  sync: {scenarios: [cold-start, new-service, add-batch], batch: 5, timeout: 60s}
  cpu: {idle: 1s}
  forwarding: {connections: 20, warmup: 2, established: 20}
"""


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """Return a real API server with the mixed cluster in it, where the user has the documented role and no other."""
    programs = program("etcd", ETCD), program("kube-apiserver", CLUSTER)
    with control_plane(tmp_path_factory.mktemp("real"), *programs, users=[USER]) as found:
        role = YAML(typ="safe").load(RBAC.read_text())
        binding = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "proxybench-profile"},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role["metadata"]["name"]},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": USER}],
        }
        for resource, body in (("clusterroles", role), ("clusterrolebindings", binding)):
            code, answer = found.ask("POST", f"/apis/{GROUP}/v1/{resource}", body)
            assert code == 201, answer
        with KubernetesServiceApi(found.url, found.token, ca_pem=found.ca_pem) as api:
            api.create_many(namespaces())
            made = cluster(SERVICES)
            api.create_many([service for service, _ in made])
            api.create_many([one for _, slices in made for one in slices])
        yield found


@pytest.fixture(scope="module")
def written(admin: Access, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the profile that the program wrote, while somebody changed things."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").write_text(json.dumps(kubeconfig(admin.url, USER, admin.ca_pem)))
    over = threading.Event()
    somebody = threading.Thread(target=churn, args=(admin, over))
    somebody.start()
    try:
        done = proxybench(home, "profile", "--kubeconfig", "config", "--watch", "4s", "-o", "cluster.yaml")
    finally:
        over.set()
        somebody.join(20)
    assert done.returncode == 0, done.stderr
    assert f"{SERVICES + 1:,} Services; listing" in done.stderr  # and the cluster's own, kubernetes
    return home / "cluster.yaml"


def proxybench(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(argv, cwd=home, capture_output=True, text=True, timeout=400, check=False)


def churn(admin: Access, over: threading.Event) -> None:
    """Change an EndpointSlice now and then, as a rollout does."""
    (busy,) = [slices[0] for _, slices in cluster(SERVICES) if len(slices) > 2]
    path = f"/apis/discovery.k8s.io/v1/namespaces/{busy['metadata']['namespace']}/endpointslices"
    turn = 0
    while not over.wait(0.1):
        turn += 1
        changed = {**busy, "metadata": {**busy["metadata"], "annotations": {"turn": str(turn)}}}
        code, answer = admin.ask("PUT", f"{path}/{busy['metadata']['name']}", changed)
        assert code == 200, answer


def of_type(profile: Profile, type_: ServiceType, **words: object) -> int:
    found = [one for one in profile.shapes if one.type is type_]
    return sum(one.services for one in found if all(getattr(one, name) == value for name, value in words.items()))


def test_the_documented_role_is_enough_and_lets_nothing_else_be_read(admin: Access, written: Path) -> None:
    assert written.exists()
    with KubernetesServiceApi(admin.url, USER, ca_pem=admin.ca_pem) as user:
        for path in ("/api/v1/pods", "/api/v1/nodes", "/api/v1/secrets", "/api/v1/namespaces"):
            with pytest.raises(ApiError, match="forbidden"):
                user.ask("GET", path)


def test_the_shape_is_that_of_the_cluster(written: Path) -> None:
    profile = read_profile(written)
    specs = [service["spec"] for service, _ in cluster(SERVICES)]
    types = Counter(spec.get("type", "ClusterIP") for spec in specs)
    headless = sum(spec.get("clusterIP") == "None" for spec in specs)
    assert profile.services == SERVICES + 1
    assert of_type(profile, ServiceType.HEADLESS) == headless
    assert of_type(profile, ServiceType.CLUSTER_IP) == types["ClusterIP"] - headless + 1
    for type_ in (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER, ServiceType.EXTERNAL_NAME):
        assert of_type(profile, type_) == types[type_]
    local = sum(spec.get("externalTrafficPolicy") == "Local" for spec in specs if spec.get("type") == "NodePort")
    assert of_type(profile, ServiceType.NODE_PORT, external_traffic_policy="Local") == local
    affine = sum(spec.get("sessionAffinity") == "ClientIP" for spec in specs)
    assert sum(one.services for one in profile.shapes if one.session_affinity == "ClientIP") == affine
    endpoints = sum(
        len(one["endpoints"])
        for spec, (_, slices) in zip(specs, cluster(SERVICES), strict=True)
        for one in slices
        if spec.get("clusterIP") != "None"
    )
    assert profile.endpoints == pytest.approx(endpoints, rel=0.03)  # numbers above ten are rounded
    assert sum(one.slices.get(9, 0) for one in profile.shapes) == 1
    assert profile.nodes is not None
    assert profile.nodes.count == 40
    assert profile.churn is not None
    assert profile.churn.endpoint_slices.changed > 60


def test_nothing_in_the_file_names_anything(written: Path) -> None:
    words = re.findall(r"\w[\w.@-]+", json.dumps(cluster(SERVICES)))
    secrets = {word for word in words if re.search(r"[-.@]", word)} | set(TEAMS)  # names, hosts and addresses
    text = "\n".join(line for line in written.read_text().splitlines() if not line.startswith("#"))
    told = set(re.findall(r"\w[\w.@-]+", text))
    assert len(secrets) > SERVICES
    assert not told & secrets


@pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root")
def test_it_is_replayed_in_the_lab_up_to_a_report(written: Path) -> None:
    kube_proxy()
    home = written.parent
    (home / "theirs.yaml").write_text(EXPERIMENT)
    done = proxybench(home, "run", "theirs.yaml", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    profile = read_profile(written)
    records: list[dict[str, Any]] = outcome["summary"]
    assert {(one["profile"], one["services"]) for one in records} == {(profile.digest, profile.size)}
    found = {(one["metric"], one["scenario"]) for one in records}
    assert {("sync.end_to_end", "cold-start"), ("sync.programmed", "cold-start")} <= found
    assert {("sync.end_to_end", "add-batch"), ("forwarding.connect", "steady")} <= found
    folder = home / outcome["folder"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert Profile.model_validate(manifest["experiment"]["scale"]["profile"]) == profile
    report = (folder / "report.html").read_text()
    assert f"in the shape of profile {profile.digest}" in report
    log = next((folder / "logs").glob("*-node1.log")).read_text()
    ports = max(map(int, re.findall(r"numServices=(\d+)", log)))
    proxied = sum(shape.services * shape.ports.total for shape in profile.shapes if shape.proxied)
    assert ports >= proxied + profile.probed
