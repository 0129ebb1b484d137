"""One guest for all of these tests, its time counted in instructions: what it is, and the whole program in one."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from proxybench.agent import schedule
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, PORT, Population
from proxybench.kube.objects import node as node_object
from proxybench.model import ClockKind, Mode, Position
from proxybench.nodes.requests import Await, Connect, Target
from proxybench.run.testbed import address_plan
from proxybench.targets.lab import kernel_probe, qemu
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import VmLab
from tests.lab import kube_proxy
from tests.lab.labs import agents_on, check_api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.hosts.base import Executor
    from proxybench.nodes.cluster import Cluster

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which(qemu.BINARY), reason=f"{qemu.BINARY} is not installed (make setup brings it)"),
    pytest.mark.timeout(600),
]

HOME = Path(__file__).parents[2]
SERVICES = 100
# How many of our Services stand in the kernel, told apart by their addresses.
COUNT = {
    "iptables": "xtables-legacy-multi iptables-save -t nat | grep -c -- '-A KUBE-SERVICES -d 10.96.*-j KUBE-SVC-'",
    "ipvs": "grep -c '^TCP  0A60' /proc/net/ip_vs",
    "userspace": "xtables-legacy-multi iptables-save -t nat | grep -c -- '-A KUBE-PORTALS-CONTAINER -d 10.96'",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[VmLab, Cluster]]:
    made = VmLab(Settings(ClockKind.INSTRUCTIONS, "tcg"))
    cluster = made.up()
    try:
        yield made, cluster
    finally:
        made.down()


@pytest.fixture(scope="module")
def fleet(lab: tuple[VmLab, Cluster]) -> Iterator[Fleet]:
    with Fleet.connect(lab[1].targets) as connected:
        yield connected


def test_its_cluster_says_what_it_is(lab: tuple[VmLab, Cluster]) -> None:
    cluster = lab[1]
    assert (cluster.kind, cluster.clock, cluster.accelerator) == ("vm", ClockKind.INSTRUCTIONS, "tcg")
    assert {node.ssh.jump.host for node in cluster.nodes if node.ssh.jump} == {"127.0.0.1"}
    assert cluster.api.node_url.startswith(f"https://{kube_proxy.HOST}:")


def test_every_node_answers_as_itself_through_the_jump_host(lab: tuple[VmLab, Cluster], fleet: Fleet) -> None:
    found = fleet.fan_out(lambda executor: executor.run(["ip", "-o", "-4", "address"]).stdout, timeout=60)
    for node in lab[1].nodes:
        assert f" {node.address}/{32 if node is lab[1].pod else 24} " in found[node.name]


def test_the_guest_has_a_kernel_of_its_own(lab: tuple[VmLab, Cluster], fleet: Fleet) -> None:
    with agents_on(fleet, lab[1], "node1") as agents:
        hello = agents["node1"].hello()
    assert hello.kernel.endswith("-amd64")
    assert hello.online_cpus == 1


def test_the_guest_reads_the_hosts_files_and_cannot_change_them(fleet: Fleet, tmp_path: Path) -> None:
    kept, made = tmp_path / "kept", tmp_path / "made"
    kept.write_text("the host's\n")
    node = fleet["node1"]
    assert node.run(["cat", str(kept)]).stdout == "the host's\n"
    script = f"echo guest > {kept}; rm {kept}; mkdir {made}; echo guest > {tmp_path}/new; ls {tmp_path}"
    assert node.run(["sh", "-c", script]).stdout == "made\nnew\n"
    assert kept.read_text() == "the host's\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_tree_below_the_overlay_is_mounted_read_only(fleet: Fleet) -> None:
    mounts = fleet["node1"].run(["cat", "/proc/mounts"]).stdout.splitlines()
    assert any(line.split()[1] == "/" and line.split()[2] == "overlay" for line in mounts)
    assert not any(line.split()[2] == "9p" and "ro" not in line.split()[3].split(",") for line in mounts)


def test_both_backends_of_iptables_are_there_by_name(lab: tuple[VmLab, Cluster], fleet: Fleet) -> None:
    for backend, words in (("legacy", "(legacy)"), ("nft", "(nf_tables)")):
        program = lab[1].measured.iptables[backend]
        assert words in fleet["node2"].run([program, "iptables", "--version"]).stdout


@pytest.mark.parametrize("mode", Mode)
def test_its_kernel_has_what_a_mode_needs(fleet: Fleet, mode: Mode) -> None:
    done = fleet["node2"].run(kernel_probe.command(mode), timeout=60, check=False)
    assert (done.code, done.stderr) == (0, "")


def test_another_kernel_boots_by_its_name_and_has_what_every_mode_needs() -> None:
    made = VmLab(Settings(ClockKind.INSTRUCTIONS, "tcg", "6.12"))
    try:
        cluster = made.up()
        with Fleet.connect({"node1": cluster.measured.ssh}) as other:
            node = other["node1"]
            assert node.run(["uname", "-r"]).stdout.startswith("6.12.")
            for mode in Mode:
                done = node.run(kernel_probe.command(mode), timeout=60, check=False)
                assert (mode, done.code, done.stderr) == (mode, 0, "")
    finally:
        made.down()


def test_what_iptables_looks_for_in_vain_is_not_asked_of_the_host(fleet: Fleet) -> None:
    script = "for folder in /usr/lib/*/xtables; do stat -f -c %T $folder; ls $folder/libxt_statistic.so; done"
    kind, *found = fleet["node1"].run(["sh", "-c", script]).stdout.splitlines()
    assert kind == "tmpfs"
    assert [Path(path).name for path in found] == ["libxt_statistic.so"]


def test_a_proxys_programs_start_without_waiting_for_the_host(fleet: Fleet) -> None:
    now = "read up idle < /proc/uptime; echo $up $idle"
    script = f"ipset version; {now}; for n in 1 2 3 4 5 6 7 8 9 10; do ipset version; ipset version; done; {now}"
    said = fleet["node1"].run(["sh", "-c", script], timeout=60).stdout.splitlines()
    (began, idle), (ended, later) = [map(float, line.split()) for line in said if line[0].isdigit()]
    assert later - idle < 0.5 * (ended - began)  # over 9p it was 0.84 of it


def test_softirqs_come_before_the_prober(fleet: Fleet) -> None:
    script = "for found in $(grep -l '^ksoftirqd/' /proc/[0-9]*/comm); do chrt --pid $(basename ${found%/comm}); done"
    policy, priority = (line.split(": ")[1] for line in fleet["client"].run(["sh", "-c", script]).stdout.splitlines())
    assert policy == "SCHED_FIFO"
    assert int(priority) > schedule.PRIORITY


def test_the_api_is_reached_from_nodes(lab: tuple[VmLab, Cluster], fleet: Fleet) -> None:
    check_api(lab[1], fleet, "node1", "client")


def test_two_measurements_agree_within_a_percent(lab: tuple[VmLab, Cluster], fleet: Fleet) -> None:
    address = "10.244.1.0"
    target = Target("direct", address, lab[1].backend_port, (address,))
    request = Connect((target,), rounds=20, block=10, warmup=20, limit=60)
    medians = []
    with agents_on(fleet, lab[1], "client") as agents:
        for _ in range(2):
            figures = agents["client"].call(request).targets["direct"]
            assert (len(figures.connect_ns), figures.wrong, figures.timeouts) == (200, 0, 0)
            medians.append(statistics.median(figures.connect_ns))
    assert abs(medians[0] - medians[1]) <= 0.01 * min(medians), medians


def test_the_ipvs_plane_passes_its_own_tests_in_a_guest(fleet: Fleet) -> None:
    # They skip on a kernel without IPVS, as most machines' own is not to be touched; here none may.
    script = (
        f"cd {HOME} && PYTHONDONTWRITEBYTECODE=1 {sys.executable} -m pytest -q -rs -p no:cacheprovider"
        " --junitxml=/run/ipvs.xml tests/lab/test_ipvs_plane.py"
    )
    done = fleet["node1"].run(["sh", "-c", script], timeout=240, check=False)
    assert done.code == 0, done.stdout + done.stderr
    suites = JUnitXml.fromstring(fleet["node1"].run(["cat", "/run/ipvs.xml"]).stdout.encode())
    assert (suites.tests >= 4, suites.skipped, suites.failures, suites.errors) == (True, 0, 0, 0), done.stdout


@pytest.mark.skipif(not kube_proxy.BINARY, reason="PROXYBENCH_KUBE_PROXY names no kube-proxy binary")
@pytest.mark.parametrize("mode", ["iptables", "ipvs", "userspace"])
def test_a_real_kube_proxy_programs_services_from_our_api(lab: tuple[VmLab, Cluster], fleet: Fleet, mode: str) -> None:
    cluster = lab[1]
    population = Population(address_plan(cluster), endpoints_per_service=2)
    folder = f"/run/kube-proxy-{mode}-{uuid.uuid4().hex[:8]}"
    with (
        ApiServerProcess(addresses=[kube_proxy.HOST]) as server,
        KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api,
    ):
        api.create_many([node_object("node1", "198.18.1.11", "10.244.0.0/17")])
        api.ensure_namespace(NAMESPACE)
        written = [population.service(index) for index in range(SERVICES)]
        for index in range(SERVICES):
            written += population.endpoint_slices(index, 0)
            written.append(population.endpoints(index, 0))
        api.create_many(written)
        kube_proxy.configure(fleet["node1"], folder, mode, server)
        command = kube_proxy.command(folder)
        with agents_on(fleet, cluster, "client", "node1") as agents:
            # The userspace mode wants to raise the limit itself, and may only up to the hard one.
            pid = agents["node1"].spawn(["sh", "-c", f"ulimit -n 65536; {command}"], log=f"{folder}/log").pid
            try:
                answers = {}
                for position in (Position.FIRST, Position.LAST):
                    index = population.measured(SERVICES, position)
                    pods = tuple(pod.address for pod in population.pods(index))
                    probe = Await(population.plan.vip(index), PORT, "answer", timeout_s=90, want=pods)
                    answers[position] = agents["client"].call(probe)
                log = fleet["node1"].run(["tail", "-n", "15", f"{folder}/log"]).stdout
                assert [seen.censored for seen in answers.values()] == [False, False], log
                assert _programmed(fleet["node1"], mode) == SERVICES, log
            finally:
                agents["node1"].stop(pid)
                fleet["node1"].run(["sh", "-c", f"{command} --cleanup"], timeout=120, check=False)


def _programmed(node: Executor, mode: str) -> int:
    """Return how many of the Services the kernel knows, once it is all of them or time is up."""
    deadline = time.monotonic() + 60
    while (count := int(node.run(["sh", "-c", COUNT[mode]]).stdout)) != SERVICES and time.monotonic() < deadline:
        time.sleep(0.5)
    return count
