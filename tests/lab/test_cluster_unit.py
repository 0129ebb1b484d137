"""kube-proxy as a systemd unit on each node of a cluster: two modes measured, every file put back, killed or not.

The user has what docs/cluster.md tells of and nothing else: those roles in the API, where an exec plugin says who they
are, and those lines of sudoers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from proxybench.errors import AgentError
from proxybench.experiment.compat import KubeVersion
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import node as node_object
from proxybench.model import ClockKind, Mode
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.leftovers import left_by
from proxybench.nodes.kernel.state import diff
from proxybench.nodes.node import NodeHandle
from proxybench.targets.cluster.switch.tidying import ASK_SYNCED
from proxybench.targets.lab import topology
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from tests.lab.binaries import CLUSTER, ETCD, FIRST_BUILD_S, kube_proxy, program
from tests.lab.cluster_modes import FIRST, MEASURED, OTHER, SUBJECT, needs_two_modes
from tests.lab.control_plane import SERVICE_CIDR, control_plane
from tests.lab.killed_runs import WHOLE, killed_restores, killed_runs
from tests.lab.kubeadm import node_access, relayed
from tests.lab.labs import agents_on, eventually
from tests.lab.open_files import startable
from tests.lab.own_cluster import (
    CGROUP,
    FOLDER,
    User,
    add_addresses,
    begun,
    config,
    cut_ssh,
    end_commands,
    end_kube_proxy,
    fill,
    lost,
    make_unit,
    make_user,
    proxybench,
    small_disk,
    start_kube_proxy,
    use_plugin,
    waited,
)
from tests.lab.rbac import USER, grant
from tests.lab.sudoers import LOGIN, add_users

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.nodes.kernel.state import KernelState
    from tests.lab.control_plane import Access

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(2 * FIRST_BUILD_S),
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
    pytest.mark.skipif(shutil.which("sudo") is None or shutil.which("chpasswd") is None, reason="needs sudo"),
    needs_two_modes,
]

HOME = Path(__file__).parents[2]
CIDR_TOLD = KubeVersion(1, 33)
EXPERIMENT = f"""\
version: 1
name: unit
target: TARGET
subjects: [{SUBJECT}]
scale: {{services: [5], endpoints_per_service: [2]}}
repetitions: 1
measure: {{sync: {{scenarios: [add-one], timeout: 20s}}}}
limits: {{cell: 60s}}
"""
AS_IT_IS = [] if FIRST is Mode.IPTABLES else ["--allow-switch"]
"""What a run in iptables mode has to be told."""
# $1 the file: what is in its folder, and how the unit's program runs, as often as it does; not what that runs itself.
_TRACES = f"""
stat -c "%a %u %g %F" "$1"; cat "$1"; ls -A "$(dirname "$1")"; systemctl show kube-proxy
set -- $(cat "{CGROUP}/cgroup.procs")
for pid; do
  parent=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$pid/status")
  case " $* " in *" $parent "*) ;; *) xargs -0 echo < "/proc/$pid/cmdline" ;; esac
done
true  # some may have ended meanwhile
"""
_LOOK = 'stat -c "%a %u %g %F" "$1"; ls -A "$(dirname "$1")"; cat "$1"'


class State(NamedTuple):
    """Of a node: its file, unit and kube-proxy, the mode in which that runs, and what the kernel holds."""

    traces: str
    mode: str
    kernel: KernelState


@dataclass(frozen=True)
class World:
    """A cluster whose nodes run kube-proxy by themselves, and its user."""

    access: Access
    nodes: tuple[NodeHandle, ...]
    user: User
    lab_pid: int

    def files(self) -> list[str]:
        """Return what a switch may not leave changed: each node's file with its owner and mode, and its folder."""
        argv = ["sh", "-c", _LOOK, "look", f"{FOLDER}/config.yaml"]
        return [handle.executor.run(argv).stdout for handle in self.nodes]

    def state(self) -> list[State]:
        """Return what no run may leave changed on each node."""
        return [self._state(handle) for handle in self.nodes]

    def rested(self) -> list[State]:
        """Start each kube-proxy anew, which leaves no chain of a Service that has gone; return what then stays."""
        for handle in self.nodes:
            handle.executor.run(["systemctl", "restart", "kube-proxy"])
        assert not eventually(lambda: not all(self._synced(handle) for handle in self.nodes))
        last: list[State] = []
        while (found := self.state()) != last:
            last = found
            time.sleep(2)  # rules of the other family come later
        return found

    def _synced(self, handle: NodeHandle) -> bool:
        with suppress(AgentError):
            said = handle.agent.http_get("http://127.0.0.1:10249/metrics").body
            stamps = re.findall(r"^kubeproxy_sync_proxy_rules_last_timestamp_seconds\S* (\S+)$", said, re.MULTILINE)
            return bool(stamps) and all(float(stamp) for stamp in stamps)
        return False

    def _state(self, handle: NodeHandle) -> State:
        traces = handle.executor.run(["sh", "-c", _TRACES, "look", f"{FOLDER}/config.yaml"]).stdout
        mode = handle.agent.http_get("http://127.0.0.1:10249/proxyMode").body
        return State(traces, mode, capture(handle.executor, Tools.of(handle.node)))

    def check(self, before: list[State], where: object) -> None:
        """Make sure that all is as it was, and no others' rules are there.

        kube-proxy may still be writing its own, and looks every 30 s (syncPeriod) for chains that nobody needs.
        """
        found = self.state()
        for old, new in zip(before, found, strict=True):
            assert list(unified_diff(old.traces.splitlines(), new.traces.splitlines(), n=0)) == [], where
            assert new.mode == old.mode, where
        assert [left_by(OTHER, FIRST, one.kernel) for one in found] == [()] * 2, where

        def differences() -> list[object]:
            pairs = [(old.kernel, new.kernel) for old, new in zip(before, self.state(), strict=True)]
            return [diff(old, new) for old, new in pairs if old != new]

        assert eventually(differences, 60) == [], where

    def objects(self) -> list[object]:
        """Return what no run may leave changed in the API: our namespace, and what is in it."""
        space = "/api/v1/namespaces/proxybench"
        slices = "/apis/discovery.k8s.io/v1/namespaces/proxybench/endpointslices"
        lists = [f"{space}/{kind}" for kind in ("services", "endpoints", "configmaps", "secrets", "serviceaccounts")]
        return [self.access.get(space), *(self.access.get(path)["items"] for path in (*lists, slices))]

    def modes(self) -> list[str]:
        """Return the mode in which each node's kube-proxy runs."""
        return [handle.agent.http_get("http://127.0.0.1:10249/proxyMode").body for handle in self.nodes]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("unit")
    programs = program("etcd", ETCD), program("kube-apiserver", CLUSTER)
    lab = NetnsLab(Settings(ClockKind.WALL, "none"))
    with ExitStack() as stack:
        stack.callback(lab.down)
        cluster = lab.up()
        access = stack.enter_context(control_plane(folder, *programs, [topology.CTL_ADDRESS], users=[USER]))
        stack.enter_context(relayed(lab.pid, access))
        fleet = stack.enter_context(Fleet.connect(cluster.targets))
        add_users(fleet, cluster, asking="node2")
        add_addresses(fleet["node2"])
        agents = stack.enter_context(agents_on(fleet, cluster, "node1", "node2"))
        nodes = tuple(NodeHandle(node, fleet[node.name], agents[node.name]) for node in cluster.proxy_nodes)
        with KubernetesServiceApi(access.url, access.token, ca_pem=access.ca_pem) as api:
            api.create_many([node_object(node.name, node.address, node.pod_cidr or "") for node in cluster.proxy_nodes])
        grant(access)
        binary = startable(kube_proxy(), FIRST, folder)
        for handle in nodes:
            start_kube_proxy(handle, binary, node_access(access), config(cluster, handle, FIRST))
            stack.callback(end_kube_proxy, handle.executor)
            make_unit(handle, binary)
            handle.executor.run(["sh", "-c", 'chown 1234:4321 "$1"; chmod 640 "$1"', "x", f"{FOLDER}/config.yaml"])
        user = make_user(folder / "home", cluster, EXPERIMENT, replace(node_access(access), token=USER), LOGIN)
        use_plugin(user)
        found = World(access, nodes, user, lab.pid)
        end = time.monotonic() + 60
        argv = ["sh", "-c", "until grep -q ':2809 00000000:0000 0A' /proc/net/tcp; do sleep 0.2; done"]  # 10249
        for handle in nodes:
            handle.executor.run(argv, timeout=end - time.monotonic())
        yield found


def test_two_modes_are_measured_and_every_file_is_put_back(world: World) -> None:
    before = world.files()
    assert "640 1234 4321 regular file" in before[0]
    done = proxybench(world.user, "run", str(world.user.experiment), "--allow-switch", "--dry-run")
    assert f"would touch kube-proxy to {OTHER}: node1:{FOLDER}/config.yaml: -mode: {FIRST} +mode: {OTHER}" in (
        done.stdout
    ), done.stderr
    assert "systemctl restart kube-proxy on node1, node2 for each switch, and one back" in done.stdout
    assert world.files() == before
    everywhere = ["--set", "proxier.nodes=all"]
    done = proxybench(world.user, "run", str(world.user.experiment), "--allow-switch", *everywhere, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    logs = [path.name for path in (world.user.home / outcome["folder"] / "logs").glob("*.json")]
    modes = {step: mode for step, mode, _ in (name.split("-", 2) for name in logs)}
    assert sorted(logs) == sorted(
        f"{step}-{mode}-{node}-kube-proxy.json" for step, mode in modes.items() for node in ("node1", "node2")
    )
    assert set(modes.values()) == set(MEASURED)
    found = {record["mode"] for record in outcome["summary"] if record["metric"] == "sync.end_to_end"}
    assert found == set(MEASURED)
    assert (world.files(), world.modes()) == (before, [FIRST] * 2)
    for handle in world.nodes:  # what is asked of a kube-proxy after a switch
        mode, synced, answered, asked = handle.executor.run([handle.node.python, "-c", ASK_SYNCED]).stdout.split()
        counts = FIRST is not Mode.USERSPACE
        assert (mode, synced, 0 < int(answered) <= int(asked)) == (FIRST, str(counts), True)


def test_the_experiment_that_users_begin_with_runs_by_inventory_and_kubeconfig_alone(world: World) -> None:
    """As it is, but for its length, and where this lab's nodes reach the API."""
    before = world.files()
    (world.user.home / "cluster.yaml").write_text((HOME / "experiments" / "cluster.yaml").read_text())
    cidr = [] if KubeVersion.of_release(CLUSTER) >= CIDR_TOLD else [f"target.cluster.service_cidr={SERVICE_CIDR}"]
    shorter = ["scale.services=[10]", "repetitions=1", "measure.cpu.idle=1s", "measure.forwarding.connections=30"]
    place = f"target.cluster.node_url={node_access(world.access).node_url}"
    words = [word for one in (place, *cidr, *shorter) for word in ("--set", one)]
    done = proxybench(world.user, "run", "cluster.yaml", *words, *AS_IT_IS, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    scenarios = {record["scenario"] for record in outcome["summary"] if record["metric"] == "sync.end_to_end"}
    assert scenarios == {"add-one", "change-endpoint", "delete-one", "add-batch"}
    assert (world.user.home / outcome["folder"] / "report.html").exists()
    assert (world.files(), world.modes()) == (before, [FIRST] * 2)


def killed_in_switch(world: World) -> Path:
    """Begin a run, kill it as soon as a host's file is another, and return its folder."""
    before = world.files()
    process, said = begun(world.user)
    end = time.monotonic() + 60
    while world.files() == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert waited(process, 30) == -signal.SIGKILL, said.read_text()
    return max((world.user.home / "results/unit").glob("2*"))


def test_a_run_that_is_killed_between_file_and_restart_is_restored(world: World) -> None:
    before = world.files()
    run = killed_in_switch(world)
    assert world.files() != before
    asked = len((world.user.home / "asked").read_text().splitlines())
    done = proxybench(world.user, "restore", str(run))
    assert done.returncode == 0, done.stderr
    assert len((world.user.home / "asked").read_text().splitlines()) > asked  # who they are is not kept
    assert f"put back: node1:{FOLDER}/config.yaml" in done.stdout
    assert "restarted kube-proxy on node1" in done.stdout
    assert (world.files(), world.modes()) == (before, [FIRST] * 2)
    assert world.access.get("/api/v1/namespaces/proxybench/services")["items"] == []
    assert "all is back already" in proxybench(world.user, "restore", str(run)).stdout


@pytest.mark.timeout(900)
def test_a_run_that_is_killed_in_any_tenth_of_its_time_is_put_back(world: World) -> None:
    """From before it has reached anything until it gives all back: whole runs, and the program that users call."""
    files, before, objects = world.files(), world.rested(), world.objects()
    touched = []
    for killed in killed_runs(world.user, [4], world.state):
        touched.append((world.files() != files, world.objects() != objects))
        if killed.run:
            done = proxybench(world.user, "restore", str(killed.run))
            assert done.returncode == 0, (killed, done.stderr)
        world.check(before, killed)
        assert world.objects() == objects, killed
    assert not WHOLE or any(switched for switched, _ in touched), touched  # else no moment was one that matters
    assert any(services for _, services in touched), touched


@pytest.mark.skipif(not WHOLE, reason="takes a minute; tests/unit/targets/cluster/test_unit.py ends it in-process")
def test_a_way_back_that_is_killed_again_and_again_comes_to_its_end(world: World) -> None:
    before, objects = world.rested(), world.objects()
    run = killed_in_switch(world)
    assert killed_restores(world.user, run, 0.3) >= 5
    world.check(before, run)
    assert world.objects() == objects


def test_ssh_that_is_cut_in_a_switch_loses_a_step_and_nothing_else(world: World) -> None:
    """Every connection to node1 but the test's own is ended by force as soon as its file is another."""
    before = world.files()
    process, said = begun(world.user)
    end = time.monotonic() + 60
    while world.files()[0] == before[0] and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    cut_ssh(world.nodes[0].executor)
    assert waited(process, 120) == 3, said.read_text()
    assert (world.files(), world.modes()) == (before, [FIRST] * 2), said.read_text()
    assert world.access.get("/api/v1/namespaces/proxybench/services")["items"] == []


@pytest.mark.skipif(not WHOLE, reason="takes half a minute more")
def test_commands_that_are_killed_on_their_host_in_a_switch_lose_a_step_and_are_done_again(world: World) -> None:
    """The agent, and what replaces the file, restarts the unit or puts it back; the connection stays."""
    files, before, objects = world.files(), world.rested(), world.objects()
    process, said = begun(world.user)
    end = time.monotonic() + 60
    while world.files()[0] == files[0] and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    ended = 0
    while ended < 2 and process.poll() is None:  # the agent is one
        ended += end_commands(world.nodes[0].executor)
    assert waited(process, 120) == 3, said.read_text()
    assert ended > 1, said.read_text()
    done = proxybench(world.user, "restore", str(max((world.user.home / "results/unit").glob("2*"))))
    assert done.returncode == 0, done.stderr
    world.check(before, said.read_text())
    assert world.objects() == objects


def test_a_node_that_is_lost_for_good_in_a_switch_is_named_and_put_back_when_it_is_there_again(world: World) -> None:
    before = world.files()
    process, said = begun(world.user)
    end = time.monotonic() + 60
    while world.files()[0] == before[0] and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    with lost(world.lab_pid, world.nodes[1].executor):
        assert waited(process, 300) == 3, said.read_text()
        assert world.files()[0] == before[0], said.read_text()
        assert f"not reached: node2:{FOLDER}/config.yaml" in said.read_text()
    run = str(max((world.user.home / "results/unit").glob("2*")))
    done = proxybench(world.user, "restore", run)
    assert done.returncode == 0, done.stderr
    assert (world.files(), world.modes()) == (before, [FIRST] * 2), said.read_text()
    assert world.access.get("/api/v1/namespaces/proxybench/services")["items"] == []


def test_a_disk_that_fills_in_a_switch_leaves_nothing_switched(world: World) -> None:
    """Full as soon as one host's file is another: what is to be noted next has no room."""
    before = world.files()
    with small_disk(world.user.home / "small", 2048) as disk:
        process, said = begun(world.user, "--out", str(disk))
        end = time.monotonic() + 60
        while world.files() == before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        fill(disk)
        assert waited(process, 300) == 3, said.read_text()
        assert "(No space left on device)" in said.read_text()
    assert (world.files(), world.modes()) == (before, [FIRST] * 2), said.read_text()
    assert world.access.get("/api/v1/namespaces/proxybench/services")["items"] == []


# Gives the namespace of a node's pods an address of its own: a pod, as far as a network shows.
_PODS = r"""
near=$(ip -4 -o addr show dev pods | sed -E 's/.*inet ([0-9.]+).*/\1/')
far="${near%.*}.$((${near##*.} + 1))"
for trie in $(grep -lE -- "-- $far\$" /proc/[0-9]*/net/fib_trie); do
  pid=${trie#/proc/}; pid=${pid%/net/fib_trie}
  exec nsenter -t "$pid" -n ip addr add "$1/32" dev lo
done
exit 1
"""


def test_pods_that_are_there_lend_their_addresses_and_are_left_as_they_were(world: World) -> None:
    addresses = {"node1": "10.244.100.1", "node2": "10.244.200.1"}
    for handle in world.nodes:
        handle.executor.run(["sh", "-c", _PODS, "pods", addresses[handle.name]])
    path = "/api/v1/namespaces/default/pods"
    for node, address in addresses.items():
        name = f"web-{node}"
        spec = {"nodeName": node, "containers": [{"name": "web", "image": "images.example/web:1"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}
        assert world.access.ask("POST", path, pod)[0] == 201
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
        patch = {"Content-Type": "application/merge-patch+json"}
        assert world.access.ask("PATCH", f"{path}/{name}/status", status, 10.0, **patch)[0] == 200
    text = world.user.experiment.read_text().replace("service_cidr:", "pods: {selector: app=web}, service_cidr:")
    (world.user.home / "pods.yaml").write_text(text.replace(SUBJECT, "{kind: cluster, mode: iptables}"))
    done = proxybench(world.user, "run", "pods.yaml", *AS_IT_IS, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "starting a backend in the network of 10.244.100.1 on node1 and 1 more, port 18080" in done.stderr
    found = {record["metric"] for record in json.loads(done.stdout)["summary"]}
    assert "sync.end_to_end" in found
