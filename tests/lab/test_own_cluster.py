"""The user's own cluster, known by inventory and kubeconfig alone: observed as it is, nothing changed, nothing left."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from proxybench.agent import schedule
from proxybench.hosts.fleet import Fleet
from proxybench.kube.base import Kind
from proxybench.kube.client import KubernetesServiceApi
from proxybench.model import ClockKind, Mode
from proxybench.nodes.node import NodeHandle
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.targets.lab.topology import with_clients
from tests.lab.binaries import CLUSTER, kube_proxy
from tests.lab.labs import agents_on
from tests.lab.own_cluster import (
    CGROUP,
    FOLDER,
    add_addresses,
    add_stranger,
    config,
    end_kube_proxy,
    make_user,
    proxybench,
    seem_apart,
    start_kube_proxy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.nodes.cluster import Cluster

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

EXPERIMENT = """\
version: 1
name: own
target: TARGET
subjects: [{kind: cluster, modes: [iptables, nftables]}]
scale: {services: [20], endpoints_per_service: [2]}
repetitions: 1
measure:
  sync: {timeout: 20s}
  cpu: {idle: 1s}
  forwarding: {connections: 20, warmup: 2, established: 20}
load: {rate: 100, users: 10, duration: 2s}
"""
UNTOLD = "nothing is switched without --allow-switch"
NOT_STARTED = "not applicable, since the cluster's own proxy is neither started nor stopped for it"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    lab = NetnsLab(Settings(ClockKind.WALL, "none", topology=with_clients(2)))
    try:
        yield lab.up()
    finally:
        lab.down()


@pytest.fixture
def node1(cluster: Cluster) -> Iterator[NodeHandle]:
    with Fleet.connect(cluster.targets) as fleet, agents_on(fleet, cluster, "node1") as agents:
        add_addresses(fleet["node2"])
        seem_apart(fleet)
        yield NodeHandle(cluster.measured, fleet["node1"], agents["node1"])
        end_kube_proxy(fleet["node1"])


def process(node: NodeHandle) -> str:
    """Return what tells the running kube-proxy from one that was started anew: its pid and its start."""
    script = f"for pid in $(cat {CGROUP}/cgroup.procs); do cut -d' ' -f1,22 /proc/$pid/stat; done"
    return node.executor.run(["sh", "-c", script]).stdout


def rules(node: NodeHandle) -> list[str]:
    """Return the node's NAT rules, without counters."""
    saved = node.executor.run([node.node.iptables["legacy"], "iptables-save", "-t", "nat"]).stdout
    return sorted(line for line in saved.splitlines() if line.startswith("-A"))


def settled(node: NodeHandle) -> list[str]:
    """Return the rules once kube-proxy has done what it was told."""
    deadline = time.monotonic() + 30
    seen: list[str] = []
    now = rules(node)
    while (not now or seen != now) and time.monotonic() < deadline:
        time.sleep(1.5)
        seen, now = now, rules(node)
    return now


def test_a_cluster_is_observed_as_it_is(cluster: Cluster, node1: NodeHandle, tmp_path: Path) -> None:
    start_kube_proxy(node1, kube_proxy(), cluster.api, config(cluster, node1, Mode.IPTABLES))
    user = make_user(tmp_path / "home", cluster, EXPERIMENT)
    quiet = settled(node1)
    before = process(node1), quiet
    looked = proxybench(user, "doctor", "--inventory", str(user.home / "nodes.yaml"), "--json")
    notes = {row["node"]: row["note"] for row in json.loads(looked.stdout)}
    assert notes["node1"] == "kube-proxy in iptables mode, alone in its cgroup", looked.stderr + looked.stdout
    done = proxybench(user, "run", str(user.experiment), "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    run = user.home / outcome["folder"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert [(one["mode"], one["reason"]) for one in manifest["not_measured"]] == [
        (
            "nftables",
            f"cluster: the cluster's kube-proxy {CLUSTER}: it runs in iptables mode, and {UNTOLD}",
        ),
        (
            "iptables",
            f"cluster {CLUSTER}: cold-start, forwarding.bare: {NOT_STARTED}",
        ),
    ]
    found = {(record["metric"], record["scenario"]) for record in outcome["summary"]}
    changes = {"add-one", "change-endpoint", "delete-one", "add-batch"}
    assert {scenario for metric, scenario in found if metric == "sync.end_to_end"} == changes
    assert {
        ("cpu.control_loop", "idle"),
        ("sync.control_loop", "add-one"),
        ("forwarding.first_byte", "steady"),
    } <= found
    # Two clients make the load: locust's master and its workers, each 5 of the users.
    counts = {one["metric"]: one["n"] for one in outcome["summary"] if one["scenario"] == "load"}
    assert counts["forwarding.load"] == 200
    # The clocks of all are this machine's, by which they are asked.
    (table,) = (run / "logs").glob("*-clocks.csv")
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    assert {name for name, *_ in lines} == {"client", "client2", "node1", "node2"}
    for name, early, its_bound, late, bound in lines:
        assert (abs(int(early)) <= int(its_bound), abs(int(late)) <= int(bound)) == (True, True), name
    # What they lend.
    assert (manifest["lab"]["exclusive"], manifest["lab"]["starts_proxies"]) == (False, False)
    granted = {name: facts["real_time"] for name, facts in manifest["fingerprint"]["nodes"].items()}
    assert granted == dict.fromkeys(("client", "client2", "node1", "node2"), schedule.real_time())
    (own,) = (one["cgroup"] for one in manifest["subjects"])
    assert own.startswith("/sys/fs/cgroup/user-kube-proxy-")
    (log,) = (run / "logs").glob("*-node1.log")
    assert "SyncProxyRules complete" in log.read_text()
    assert cluster.api.token not in "".join(file.read_text(errors="replace") for file in run.rglob("*.*"))
    # Nothing was started, stopped or left: the same process, the same rules, no objects of ours.
    assert (process(node1), settled(node1)) == before
    with KubernetesServiceApi(cluster.api.url, cluster.api.token, ca_pem=cluster.api.ca_pem) as api:
        assert api.list(Kind.SERVICE) == api.list(Kind.ENDPOINT_SLICE) == []
        assert [one["metadata"]["name"] for one in api.list(Kind.NAMESPACE)] == ["default"]


INSIDE = "kube-proxy runs inside k3s-server, which does other work, too"


def test_one_inside_another_program_is_observed_without_its_cpu(
    cluster: Cluster, node1: NodeHandle, tmp_path: Path
) -> None:
    """As in k3s: the program has another name, its cgroup holds others, too, and nobody finds its log."""
    program = tmp_path / "k3s-server"
    shutil.copy(kube_proxy(), program)
    start_kube_proxy(node1, program, cluster.api, config(cluster, node1, Mode.IPTABLES))
    add_stranger(node1.executor)
    node1.executor.run(["rm", f"{FOLDER}/log"])
    short = EXPERIMENT[: EXPERIMENT.index("load:")].replace(", nftables]", "]")
    user = make_user(tmp_path / "home", cluster, short.replace("timeout: 20s", "scenarios: [add-one, delete-one]"))
    quiet = settled(node1)
    before = process(node1), quiet
    looked = proxybench(user, "doctor", "--inventory", str(user.home / "nodes.yaml"), "--json")
    (row,) = (row for row in json.loads(looked.stdout) if row["node"] == "node1")
    assert (row["lacks"], row["note"]) == ("", f"kube-proxy in iptables mode, its CPU and memory left out: {INSIDE}")
    done = proxybench(user, "run", str(user.experiment), "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    found = {(record["metric"], record["scenario"]) for record in outcome["summary"]}
    assert {
        ("sync.end_to_end", "add-one"),
        ("sync.control_loop", "add-one"),
        ("sync.count", "delete-one"),
        ("forwarding.first_byte", "steady"),
        ("cpu.node", "idle"),
    } <= found
    without = ("cpu.control_loop", "memory.", "sync.making")  # the last is told by a log alone
    assert not [metric for metric, _ in found if metric.startswith(without)]
    label = f"cluster {CLUSTER} iptables"
    assert f"{label}: CPU and memory of its control loop are left out: {INSIDE}" in outcome["notes"]
    run = user.home / outcome["folder"]
    (subject,) = json.loads((run / "manifest.json").read_text())["subjects"]
    assert (subject["cgroup"], subject["no_cpu"]) == (None, INSIDE)
    assert INSIDE in (run / "report.html").read_text()
    assert (process(node1), settled(node1)) == before
