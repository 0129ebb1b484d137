"""A switch of a cluster's own kube-proxy against a real API server: two modes measured, all put back, killed or not."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import RunError
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import node as node_object
from proxybench.model import ClockKind
from proxybench.nodes.node import NodeHandle
from proxybench.targets.cluster.switch.changes import rolled_out
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.undo import FILE
from proxybench.targets.lab import topology
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from tests.lab.binaries import CLUSTER, ETCD, FIRST_BUILD_S, kube_proxy, program
from tests.lab.cluster_modes import FIRST, MEASURED, OTHER, SUBJECT, needs_two_modes
from tests.lab.control_plane import control_plane, daemon_set_controller
from tests.lab.killed_runs import killed_runs
from tests.lab.kubeadm import SETS, SYSTEM, Kubelets, node_access, objects, relayed, state
from tests.lab.labs import agents_on
from tests.lab.open_files import startable
from tests.lab.own_cluster import (
    User,
    add_addresses,
    begun,
    config,
    cut_ssh,
    fill,
    lost,
    make_user,
    proxybench,
    small_disk,
    waited,
)
from tests.lab.rbac import USER, grant
from tests.unit.targets.cluster.killed import MOMENTS, kill_at

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.control_plane import Access

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(2 * FIRST_BUILD_S),
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
    needs_two_modes,
]

OURS = "/api/v1/namespaces/proxybench/services"
FEW = (3, 6)
"""Tenths of a run's time: one in which there are Services and nothing is switched yet, and one in the rollout."""
IMAGE = f"images.example/kube-proxy:{CLUSTER}-mine"
EXPERIMENT = f"""\
version: 1
name: switch
target: TARGET
subjects:
  - {SUBJECT}
  - {{kind: cluster, mode: iptables, image: "{IMAGE}"}}
scale: {{services: [5], endpoints_per_service: [2]}}
repetitions: 1
measure: {{sync: {{scenarios: [add-one], timeout: 20s}}}}
limits: {{cell: 90s}}
"""


@dataclass(frozen=True)
class World:
    """A cluster with a real control plane, and its user."""

    access: Access
    kubelets: Kubelets
    nodes: list[NodeHandle]
    user: User
    lab_pid: int

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return proxybench(self.user, *words)

    def restart(self) -> None:
        """Do what ``kubectl rollout restart`` does, and wait until it is over."""
        annotations = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
        body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        code, answer = self.access.ask("PATCH", f"{SETS}/kube-proxy", body, 10.0, **headers)
        assert code == 200, answer
        self.await_rolled_out()

    def await_rolled_out(self) -> None:
        """Wait until each node runs a pod of the newest template, for whoever comes next.

        One that was asked to end counts as running where its template has come back before it did.
        """
        end = time.monotonic() + 60
        while not (rolled_out(self.access.get(f"{SETS}/kube-proxy")) and self.kubelets.settled()):
            assert time.monotonic() < end, "the rollout does not end"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("switch")
    programs = program("etcd", ETCD), program("kube-apiserver", CLUSTER)
    lab = NetnsLab(Settings(ClockKind.WALL, "none"))
    with ExitStack() as stack:
        stack.callback(lab.down)
        cluster = lab.up()
        access = stack.enter_context(control_plane(folder, *programs, [topology.CTL_ADDRESS], users=[USER]))
        stack.enter_context(relayed(lab.pid, access))
        fleet = stack.enter_context(Fleet.connect(cluster.targets))
        add_addresses(fleet["node2"])
        agents = stack.enter_context(agents_on(fleet, cluster, "node1", "node2"))
        nodes = [NodeHandle(node, fleet[node.name], agents[node.name]) for node in cluster.proxy_nodes]
        with KubernetesServiceApi(access.url, access.token, ca_pem=access.ca_pem) as api:
            api.create_many([node_object(node.name, node.address, node.pod_cidr or "") for node in cluster.proxy_nodes])
        text = config(cluster, nodes[0], FIRST).replace("hostnameOverride: node1", "hostnameOverride: ''")
        for path, body in objects(text):
            code, answer = access.ask("POST", path, body)
            assert code == 201, answer
        grant(access)
        manager = program("kube-controller-manager", CLUSTER)
        stack.enter_context(daemon_set_controller(folder, manager, access))
        kubelets = stack.enter_context(Kubelets(access, nodes, startable(kube_proxy(), FIRST, folder)))
        user = make_user(folder / "home", cluster, EXPERIMENT, replace(node_access(access), token=USER))
        kubelets.await_started()
        found = World(access, kubelets, nodes, user, lab.pid)
        found.await_rolled_out()
        yield found


def test_two_modes_are_measured_and_all_is_put_back(world: World) -> None:
    before = state(world.access)
    done = world.run("run", str(world.user.experiment), "--allow-switch", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    own = {(one["mode"], one["settings"]) for one in outcome["summary"] if one["metric"] == "sync.end_to_end"}
    assert own == {*((str(mode), "") for mode in MEASURED), ("iptables", f"image={IMAGE}")}
    assert IMAGE in world.kubelets.images
    assert state(world.access) == before
    again = world.run("restore", outcome["folder"])
    assert (again.returncode, "all is back already" in again.stdout) == (0, True)


def test_a_dry_run_shows_what_would_be_touched(world: World) -> None:
    before = state(world.access)
    done = world.run("run", str(world.user.experiment), "--allow-switch", "--dry-run")
    change = f"configmaps/kube-proxy data.config.conf: -mode: {FIRST} +mode: {OTHER}"
    assert f"would touch kube-proxy to {OTHER}: {change}" in done.stdout, done.stderr
    assert state(world.access) == before


def switching(world: World) -> tuple[subprocess.Popen[bytes], Path]:
    """Begin a run, and return as soon as it has switched something; none is begun before a rollout is over."""
    world.await_rolled_out()
    before = state(world.access)
    process, said = begun(world.user)
    deadline = time.monotonic() + 120
    while state(world.access) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, said


def signalled(world: World, number: signal.Signals) -> tuple[int, str]:
    """Send a run a signal as soon as it has switched something; return how it ended, and what it said."""
    process, said = switching(world)
    process.send_signal(number)
    return waited(process, 150), said.read_text()


def test_an_interrupt_in_a_switch_puts_all_back_and_nothing_is_written_after_it(world: World) -> None:
    before = state(world.access)
    code, said = signalled(world, signal.SIGINT)
    assert code == 130, said
    assert "put back: configmaps/kube-proxy data.config.conf" in said
    assert state(world.access) == before
    assert world.access.get(OURS)["items"] == []


def test_a_run_that_is_killed_in_a_switch_is_restored(world: World) -> None:
    before, started = state(world.access), world.kubelets.started
    code, said = signalled(world, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert state(world.access) != before, said
    run = str(max((world.user.home / "results/switch").glob("2*")))
    done = world.run("restore", run)
    assert done.returncode == 0, done.stderr
    assert "put back: configmaps/kube-proxy data.config.conf" in done.stdout
    assert state(world.access) == before
    assert world.access.get(OURS)["items"] == []
    assert world.kubelets.started >= started
    assert "all is back already" in world.run("restore", run).stdout


@pytest.mark.timeout(900)
def test_a_run_that_is_killed_in_any_tenth_of_its_time_is_put_back(world: World) -> None:
    """From before it has reached anything until it gives all back: whole runs, and the program that users call."""
    before = state(world.access)
    touched = []
    for killed in killed_runs(world.user, FEW, world.await_rolled_out):
        touched.append((state(world.access) != before, bool(world.access.get(OURS)["items"])))
        if killed.run:
            done = world.run("restore", str(killed.run))
            assert (done.returncode, state(world.access)) == (0, before), (killed, done.stderr)
        assert state(world.access) == before, killed
        assert world.access.get(OURS)["items"] == [], killed
    world.await_rolled_out()
    assert any(switched for switched, _ in touched), touched  # else no moment was one that matters
    assert any(services for _, services in touched), touched


def test_a_switch_that_is_killed_at_any_of_ten_requests_is_put_back(world: World, tmp_path: Path) -> None:
    """Each request is led to the real API server; the controller rolls out what was written, and the way back."""
    before = state(world.access)
    with KubernetesServiceApi(world.access.url, world.access.token, ca_pem=world.access.ca_pem) as api:
        for number, (moment, early) in enumerate(MOMENTS):
            folder = tmp_path / str(number)
            folder.mkdir()
            kill_at(api, moment, folder, early=early, mode=OTHER)
            if (folder / FILE).exists():
                restore(DaemonSetWay(api), folder / FILE, 120)
            assert state(world.access) == before, (moment, early)
            world.await_rolled_out()


def test_an_api_server_that_is_stopped_in_a_switch_and_started_again_stops_no_run(world: World) -> None:
    before = state(world.access)
    process, said = switching(world)
    world.access.program.kill()
    time.sleep(2)
    world.access.start()
    assert waited(process, 150) == 0, said.read_text()
    assert state(world.access) == before, said.read_text()
    assert world.access.get(OURS)["items"] == []


def test_ssh_that_is_cut_in_a_switch_leaves_nothing(world: World) -> None:
    before = state(world.access)
    process, said = switching(world)
    cut_ssh(world.nodes[0].executor)
    assert waited(process, 150) == 3, said.read_text()
    assert "\nerror: cluster v" in said.read_text()
    assert "node1: the " in said.read_text().splitlines()[-1]  # agent, or the connection to it
    assert state(world.access) == before, said.read_text()
    assert world.access.get(OURS)["items"] == []


def test_an_operator_who_edits_meanwhile_is_not_overwritten_but_reported(world: World) -> None:
    path = f"{SYSTEM}/configmaps/kube-proxy"
    before = world.access.get(path)["data"]
    process, said = switching(world)
    code = 409
    while code == 409:  # the run writes, too
        found = world.access.get(path)
        theirs = {**found["data"], "config.conf": found["data"]["config.conf"] + "# an operator's\n"}
        code, _ = world.access.ask("PUT", path, {**found, "data": theirs})
    assert waited(process, 300) == 3, said.read_text()
    assert world.access.get(path)["data"] == theirs
    assert "edited by somebody else since, and left as it is: configmaps/kube-proxy data.config.conf" in (
        said.read_text()
    )
    found = world.access.get(path)
    assert world.access.ask("PUT", path, {**found, "data": before})[0] == 200
    run = str(max((world.user.home / "results/switch").glob("2*")))
    generation = world.access.get(f"{SETS}/kube-proxy")["metadata"]["generation"]
    done = world.run("restore", run)
    assert (done.returncode, "it still takes: kubectl -n kube-system rollout restart ds/" in done.stdout) == (0, True)
    assert world.access.get(path)["data"] == before
    assert world.access.get(f"{SETS}/kube-proxy")["metadata"]["generation"] == generation
    world.restart()  # the operator's own doing: its pods may have begun by what the operator had written


def test_a_controller_that_takes_a_switch_back_ends_it_at_once_and_is_named(world: World) -> None:
    """As GitOps does it: what it knows is written again as soon as it is another."""
    path = f"{SYSTEM}/configmaps/kube-proxy"
    kept, before = world.access.get(path)["data"], state(world.access)
    process, said = switching(world)
    began, code = time.monotonic(), 409
    while code == 409:
        code, _ = world.access.ask("PUT", path, {**world.access.get(path), "data": kept})
    assert waited(process, 300) == 3, said.read_text()
    assert time.monotonic() - began < 150
    what = "configmaps/kube-proxy data.config.conf was taken back by Python-urllib during the switch"
    assert what in said.read_text()
    assert state(world.access) == before


def test_a_node_that_would_not_be_asked_and_cleaned_forbids_a_switch(world: World) -> None:
    world.await_rolled_out()
    before = state(world.access)
    text = (world.user.home / "nodes.yaml").read_text().replace("[other, backend]", "[backend]")
    (world.user.home / "few.yaml").write_text(text)
    few = ("--set", "target.cluster.inventory=few.yaml")
    done = world.run("run", str(world.user.experiment), "--allow-switch", *few)
    assert done.returncode == 3
    assert "neither asked nor cleaned: node2; give each the role other in the inventory" in done.stderr
    done = world.run("run", str(world.user.experiment), "--allow-switch", "--dry-run", "--json", *few)
    assert (done.returncode, len(json.loads(done.stdout)["refused"])) == (2, 1), done.stderr
    assert state(world.access) == before


def test_a_node_that_is_lost_for_good_in_a_rollout_is_named_and_all_is_put_back(world: World) -> None:
    """Its kubelet does nothing any more; what follows is the real controller's, which never ends the rollout."""
    world.await_rolled_out()  # else a pod of the test before is the one that is asked to end
    before, node = state(world.access), world.nodes[1]
    world.kubelets.dead.add(node.name)
    try:
        process, said = switching(world)
        world.kubelets.await_asked_to_end(node.name, said)
        process.send_signal(signal.SIGKILL)
        waited(process, 30)
        with lost(world.lab_pid, node.executor):
            world.kubelets.say_ready(node.name, "Unknown")
            run = max((world.user.home / "results/switch").glob("2*"))
            with (
                KubernetesServiceApi(world.access.url, world.access.token, ca_pem=world.access.ca_pem) as api,
                pytest.raises(RunError) as caught,
            ):
                restore(DaemonSetWay(api, stuck_s=10), run / FILE)
            assert "put back: configmaps/kube-proxy data.config.conf; " in str(caught.value), said.read_text()
            assert str(caught.value).endswith("not ready: node2 (NodeLost)")
            assert state(world.access) == before
    finally:
        world.kubelets.say_ready(node.name, "True")
        world.kubelets.dead.clear()
    done = world.run("restore", str(run))
    assert (done.returncode, "all is back already" in done.stdout) == (0, True), done.stderr
    assert world.access.get(OURS)["items"] == []
    world.await_rolled_out()


def test_a_disk_that_is_full_before_or_in_a_switch_leaves_nothing_switched(world: World) -> None:
    """Full as soon as there is a run's folder: the undo log has no room, or what follows it has none."""
    world.await_rolled_out()
    before = state(world.access)
    with small_disk(world.user.home / "small", 2048) as disk:
        process, said = begun(world.user, "--out", str(disk))
        deadline = time.monotonic() + 60
        while not list(disk.glob("switch/*/manifest.json")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        fill(disk)
        assert waited(process, 300) == 3, said.read_text()
        assert "(No space left on device)" in said.read_text()
    assert state(world.access) == before, said.read_text()
    assert world.access.get(OURS)["items"] == []


def test_services_of_others_forbid_a_switch(world: World) -> None:
    world.await_rolled_out()
    before = state(world.access)
    web = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    path = "/api/v1/namespaces/default/services"
    assert world.access.ask("POST", path, web)[0] == 201
    done = world.run("run", str(world.user.experiment), "--allow-switch")
    assert world.access.ask("DELETE", f"{path}/web")[0] == 200
    assert done.returncode == 3
    assert (
        "1 Services of others would feel a switch (default/web); if that is right: --i-understand-this" in done.stderr
    )
    assert state(world.access) == before
