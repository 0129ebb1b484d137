"""A netns lab for real: what is in it, and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ConnectionLostError, LabError
from proxybench.hosts.fleet import Fleet
from proxybench.model import ClockKind
from proxybench.nodes.requests import Connect, Target
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.leftovers import cgroup_name
from proxybench.targets.lab.netns import NetnsLab
from tests.lab.labs import (
    agents_on,
    cgroups,
    check_api,
    descendants,
    eventually,
    mounts_naming,
    processes_naming,
    root_network,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.nodes.cluster import Cluster

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

WALL = Settings(ClockKind.WALL, "none")
PROGRAM = "from proxybench.cli.main import entry; entry()"
HOME = Path(__file__).parents[2]
# Holds a lab, says where, and waits to be killed.
HOLDER = """
import signal, sys
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.leftovers import cgroup_name
from proxybench.targets.lab.netns import NetnsLab
from proxybench.model import ClockKind
lab = NetnsLab(Settings(ClockKind.WALL, "none"))
lab.up()
print(lab.state, cgroup_name(lab.state), flush=True)
signal.pause()
"""
EXPERIMENT = """\
version: 1
name: interrupted
target: {lab: {kind: netns}}
modes: [iptables]
scale: {services: [5]}
repetitions: 1
measure: {cpu: {idle: 60s}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[NetnsLab, Cluster]]:
    made = NetnsLab(WALL)
    cluster = made.up()
    try:
        yield made, cluster
    finally:
        made.down()


@pytest.fixture(scope="module")
def fleet(lab: tuple[NetnsLab, Cluster]) -> Iterator[Fleet]:
    with Fleet.connect(lab[1].targets) as connected:
        yield connected


def test_every_node_answers_as_itself(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    cluster = lab[1]
    assert list(fleet) == ["client", "node1", "node2", "pod1"]
    found = fleet.fan_out(lambda executor: executor.run(["ip", "-o", "-4", "address"]).stdout, timeout=30)
    for node in cluster.nodes:
        assert f" {node.address}/{32 if node is cluster.pod else 24} " in found[node.name]
        others = [other.address for other in cluster.nodes if other is not node]
        assert not any(f" {address}/" in found[node.name] for address in others)


def test_a_node_with_another_nodes_key_is_refused(lab: tuple[NetnsLab, Cluster]) -> None:
    cluster = lab[1]
    client, node1, node2, _ = cluster.nodes
    swapped = replace(node1.ssh, host_key=node2.ssh.host_key)
    with pytest.raises(ConnectionLostError, match="key"):
        Fleet.connect({"client": client.ssh, "node1": swapped, "node2": node2.ssh})


def test_another_users_key_is_refused(lab: tuple[NetnsLab, Cluster]) -> None:
    cluster = lab[1]
    node1 = cluster.nodes[1]
    assert lab[0].state
    stranger = replace(node1.ssh, identity=lab[0].state / "node1.key")
    with pytest.raises(ConnectionLostError):
        Fleet.connect({"node1": stranger})


def test_both_pod_ranges_answer_directly_from_every_address(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    cluster = lab[1]
    addresses = ("10.244.1.0", "10.244.127.254", "10.244.129.0", "10.244.255.254")
    targets = tuple(Target(address, address, cluster.backend_port, (address,)) for address in addresses)
    with agents_on(fleet, cluster, "client") as agents:
        result = agents["client"].call(Connect(targets, rounds=1, block=5, limit=30))
    assert result.complete
    for address in addresses:
        figures = result.targets[address]
        assert (figures.answers, figures.wrong, figures.errors, figures.timeouts) == ({address: 5}, 0, {}, 0)


def test_the_pod_that_connects_is_seen_with_its_own_address(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    cluster = lab[1]
    addresses = ("10.244.1.0", "10.244.129.0")
    script = (
        "import socket, sys\n"
        "for address in sys.argv[1:]:\n"
        f"    with socket.create_connection((address, {cluster.backend_port}), 5) as sock:\n"
        "        print(sock.recv(256).decode().rsplit(' ', 1)[0])\n"
    )
    said_by = fleet["pod1"].run([cluster.nodes[-1].python, "-c", script, *addresses]).stdout
    assert said_by.splitlines() == ["10.244.1.0 10.244.0.2", "10.244.129.0 10.244.0.2"]
    hop = fleet["pod1"].run(["ip", "route", "get", "198.18.1.12"]).stdout
    assert " via 198.18.2.53 " in hop


def test_a_virtual_address_that_no_rule_takes_ends_in_the_lab(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    target = Target("vip", "10.96.1.0", 80)
    with agents_on(fleet, lab[1], "client") as agents:
        figures = agents["client"].call(Connect((target,), rounds=1, block=2, timeout_ms=200, limit=30))
    vip = figures.targets["vip"]
    assert vip.answers == {}
    assert sum(vip.errors.values()) + vip.timeouts == 2


def test_the_api_is_one_for_the_orchestrator_and_for_nodes(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    check_api(lab[1], fleet, "client", "node1")


def test_nothing_listens_beyond_loopback(lab: tuple[NetnsLab, Cluster]) -> None:
    mine = {node.ssh.port for node in lab[1].nodes} | {int(lab[1].api.url.rsplit(":", 1)[1])}
    listening = [line.split()[3].rsplit(":", 1) for line in said("ss", "-Hltn").splitlines()]
    assert {address for address, port in listening if int(port) in mine} == {"127.0.0.1"}
    assert mine <= {int(port) for _, port in listening}


def test_a_second_lab_lives_beside_the_first(lab: tuple[NetnsLab, Cluster], fleet: Fleet) -> None:
    second = NetnsLab(WALL)
    try:
        with Fleet.connect(second.up().targets) as other:
            other["node1"].run(["ip", "link", "add", "only-here", "type", "bridge"])
            assert fleet["node1"].run(["ip", "link", "show", "only-here"], check=False).code == 1
    finally:
        second.down()
    assert fleet["node1"].run(["true"]).code == 0


def test_nothing_of_this_machine_changes_and_nothing_is_left(lab: tuple[NetnsLab, Cluster]) -> None:
    before = root_network()
    second = NetnsLab(WALL)
    cluster = second.up()
    state = second.state
    assert state
    group = f"proxybench-{state.name.removeprefix('proxybench-lab.')}"
    try:
        assert root_network() == before
        assert mounts_naming(str(state)) == []
        with Fleet.connect(cluster.targets) as fleet, agents_on(fleet, cluster, "node1") as agents:
            root = cluster.nodes[1].cgroup_root
            assert root == f"/sys/fs/cgroup/{group}/node1"
            agents["node1"].spawn(["sleep", "600"], log="/run/proxybench/log", cgroup=f"{root}/sleep")
            assert cgroups(group) == [group]
            assert processes_naming(str(state))
            # The agent is still there and so is what it spawned: the lab goes under it.
            second.down()
    finally:
        second.down()
    assert not state.exists()
    assert eventually(lambda: processes_naming(str(state))) == {}
    assert cgroups(group) == []
    assert mounts_naming(str(state)) == []
    assert root_network() == before


def test_nothing_but_its_folder_is_left_when_its_holder_is_killed(tmp_path: Path) -> None:
    before = root_network()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, cwd=HOME, env=environment
    )
    try:
        assert holder.stdout
        state, group = holder.stdout.readline().split()
        assert processes_naming(state)
    finally:
        holder.kill()
        holder.communicate(timeout=20)
    assert eventually(lambda: processes_naming(state)) == {}
    assert root_network() == before
    assert mounts_naming(state) == []
    assert cgroups(group) == []


def test_a_lab_that_cannot_be_built_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("bin") / "ip"
    broken.write_text("#!/bin/sh\necho broken >&2; exit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LabError, match=r"the namespaces could not be made: .*returned non-zero exit status 7"):
        NetnsLab(WALL).up()
    assert list(tmp_path.iterdir()) == []
    assert eventually(lambda: processes_naming(str(tmp_path))) == {}


def test_ctrl_c_during_a_step_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    file, scratch = tmp_path / "experiment.yaml", tmp_path / "scratch"
    file.write_text(EXPERIMENT)
    scratch.mkdir()
    before = root_network()
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", str(file), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    try:
        _await_control_loop(run)
        time.sleep(2.0)  # well into the step, most of which is a minute of watching
        below = descendants(run.pid)
        state = next(scratch.glob("proxybench-lab.*"))
        group = f"proxybench-{state.name.removeprefix('proxybench-lab.')}"
        assert cgroups(group) == [group]
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    finally:
        run.kill()
        run.communicate(timeout=20)
    assert run.returncode == 130
    written = next((tmp_path / "out/interrupted").glob("*/manifest.json"))
    manifest = json.loads(written.read_text())
    assert manifest["state"] == "interrupted"
    assert [step["state"] for step in manifest["matrix"]] == ["pending"]
    assert eventually(lambda: [pid for pid in below if Path(f"/proc/{pid}").exists()]) == []
    assert processes_naming(str(scratch)) == {}
    assert list(scratch.iterdir()) == []
    assert cgroups(group) == []
    assert root_network() == before


def test_a_killed_run_leaves_what_the_next_lab_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, scratch = tmp_path / "experiment.yaml", tmp_path / "scratch"
    file.write_text(EXPERIMENT)
    scratch.mkdir()
    before = root_network()
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", str(file), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    try:
        _await_control_loop(run)
        below = descendants(run.pid)
    finally:
        run.kill()
        run.communicate(timeout=20)
    assert eventually(lambda: [pid for pid in below if Path(f"/proc/{pid}").exists()]) == []
    state = next(scratch.glob("proxybench-lab.*"))
    assert sorted(path.name[:15] for path in scratch.iterdir()) == ["proxybench-api-", "proxybench-lab."]
    assert cgroups(cgroup_name(state)) == [cgroup_name(state)]
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    lab = NetnsLab(WALL)
    try:
        lab.up()
        assert not state.exists()
        assert cgroups(cgroup_name(state)) == []
    finally:
        lab.down()
    assert list(scratch.iterdir()) == []
    assert mounts_naming(str(scratch)) == []
    assert root_network() == before


def _await_control_loop(run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not any("refproxy --config" in command for command in descendants(run.pid).values()):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
