"""A real kube-proxy in a netns lab: each mode that this kernel has programs the lab's Services, and is cleaned up."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.experiment.compat import KubeVersion
from proxybench.experiment.requests import Commands, SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, PORT, Population
from proxybench.model import ClockKind, Mode, Subject
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.leftovers import left_by
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.tidy import tidy
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Connect, Target
from proxybench.releases.ensure import ensure
from proxybench.run.testbed import address_plan
from proxybench.subjects.driver import rule_key
from proxybench.subjects.kube_proxy_binary import inspect_file
from proxybench.subjects.registry import drivers
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.units import SystemClock
from tests.golden.cases import CASES, Case, folder, golden
from tests.lab.binaries import FIRST_BUILD_S, RELEASES
from tests.lab.labs import agents_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxybench.nodes.cluster import Cluster
    from proxybench.releases.store import Binary
    from proxybench.subjects.driver import ProxyDriver, RunningProxy

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

GIVEN = os.environ.get("PROXYBENCH_KUBE_PROXY", "")
MANY = 100
EACH = 2
CLOCK = SystemClock()
NATIVE = [case for case in CASES if case.mode is not Mode.IPVS]  # few kernels that tests run on have IPVS
FAMILIES_APART = KubeVersion(1, 33)  # from here on, logs and metrics name the family, and tell full syncs
PATIENCE_S = 60
# refproxy, run as any command would be: {workdir} holds what the harness put there.
REFPROXY = """\
import json, os, sys
node, address, mode, folder, cidr, url = sys.argv[1:]
config = {"mode": mode, "node_name": node, "node_ips": [address], "api_url": url, "token_file": folder + "/token",
    "cluster_cidr": cidr, "min_sync_period": 1.0, "sync_period": 600.0, "iptables": "/usr/sbin/xtables-legacy-multi",
    "ca_file": folder + "/ca.pem"}
open(folder + "/config.json", "w").write(json.dumps(config))
os.execv(sys.executable, [sys.executable, "-m", "refproxy", "--config", folder + "/config.json"])
"""
HEALTHZ = "import urllib.request as u; u.urlopen('http://127.0.0.1:10256/healthz', timeout=5)"


class Binaries:
    """The file that was given, or the release from the cache, which is fetched or built if need be."""

    def release(self, version: str) -> Binary:
        return inspect_file(Path(GIVEN)) if GIVEN else ensure("kube-proxy", version, report=print)

    def checkout(self, folder: Path) -> Binary:
        raise AssertionError(folder)


@dataclass(frozen=True)
class Bench:
    cluster: Cluster
    client: NodeHandle
    node: NodeHandle
    drivers: Mapping[str, ProxyDriver]

    def driver(self, spec: SubjectSpec) -> ProxyDriver:
        return self.drivers[spec.subject.kind]

    def said(self, *argv: str) -> str:
        return self.node.executor.run(argv, check=False, timeout=60).stdout


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    registry = drivers(Binaries(), CLOCK)
    lab = NetnsLab(Settings(ClockKind.WALL, "none"))
    cluster = lab.up()
    try:
        with Fleet.connect(cluster.targets) as fleet, agents_on(fleet, cluster, "client", "node1") as agents:
            populate(cluster)
            client, node = cluster.client, cluster.measured
            yield Bench(
                cluster,
                NodeHandle(client, fleet["client"], agents["client"]),
                NodeHandle(node, fleet["node1"], agents["node1"]),
                registry,
            )
    finally:
        lab.down()


def resolved(bench: Bench, release: str, case: Case) -> SubjectSpec:
    spec = SubjectSpec(Subject("kube-proxy", release, case.mode), 1.0, 600.0, iptables=case.backend)
    try:
        return bench.drivers["kube-proxy"].resolve(spec)
    except ProxybenchError as error:
        pytest.skip(f"no kube-proxy {release}: {error}")


def population(cluster: Cluster) -> Population:
    return Population(address_plan(cluster), EACH)


def populate(cluster: Cluster) -> None:
    made = population(cluster)
    with KubernetesServiceApi(cluster.api.url, cluster.api.token, ca_pem=cluster.api.ca_pem) as api:
        api.ensure_namespace(NAMESPACE)
        api.create_many([made.service(index) for index in range(MANY)])
        api.create_many([one for index in range(MANY) for one in made.endpoint_slices(index, CLOCK.utc_ns())])


def started(bench: Bench, spec: SubjectSpec) -> RunningProxy:
    driver = bench.driver(spec)
    found = driver.check(spec, bench.node)
    if not found.supported:
        pytest.skip(f"{found.reason}; {found.fix}")
    return driver.start(spec, bench.node, bench.cluster)


def check_answers(bench: Bench) -> None:
    """Every tenth Service answers, and from its own endpoints."""
    made = population(bench.cluster)
    targets = tuple(
        Target(str(index), made.plan.vip(index), 80, tuple(pod.address for pod in made.pods(index)))
        for index in (*range(0, MANY, 10), MANY - 1)
    )
    result = bench.client.agent.call(Connect(targets, rounds=1, block=4, limit=30))
    for target in targets:
        figures = result.targets[target.label]
        assert (sum(figures.answers.values()), figures.wrong, figures.errors, figures.timeouts) == (4, 0, {}, 0)


def rules(bench: Bench, spec: SubjectSpec) -> list[str]:
    """Return what the mode's proxy has made on the node, as its own tools print it."""
    if spec.mode is Mode.NFTABLES:
        return [line for line in bench.said("nft", "list", "tables").splitlines() if "kube-proxy" in line]
    program = bench.node.node.iptables[spec.iptables or "legacy"]
    saved = bench.said(program, "iptables-save").splitlines()
    return [line.partition(" [")[0] for line in saved if "KUBE-" in line]


@pytest.mark.timeout(FIRST_BUILD_S)
@pytest.mark.parametrize("case", NATIVE, ids=lambda case: case.name)
@pytest.mark.parametrize("release", RELEASES)
def test_a_mode_programs_the_services_and_answers(bench: Bench, release: str, case: Case) -> None:
    spec = resolved(bench, release, case)
    tools = Tools.of(bench.node.node)
    before = capture(bench.node.executor, tools)
    running = started(bench, spec)
    try:
        running.wait_ready(Deadline(CLOCK, PATIENCE_S, "the test"), PATIENCE_S)
        check_answers(bench)
        token = bench.said("stat", "-c", "%a", f"{bench.node.node.workdir}/proxy/token")
        assert token == "600\n"
        check_syncs(running, apart=KubeVersion.of_release(spec.subject.version) >= FAMILIES_APART)
        check_ranks(bench, running, spec)
    finally:
        running.stop(20)
    assert "Version info" in running.log()
    assert bench.said("ls", f"{bench.node.node.workdir}/proxy/token") == ""
    check_answers(bench)  # by design, its rules outlive it
    assert rules(bench, spec)
    bench.driver(spec).cleanup(spec, bench.node)
    left = restore(bench.node.executor, before, tools)
    if folder(spec.subject.version).exists():
        assert of_ipv4(left) == of_ipv4(golden(spec.subject.version, case.name, "left").splitlines())
    assert rules(bench, spec) == []


SOMEBODY_ELSES = "*nat\n:MINE - [0:0]\n-A MINE -d 192.0.2.1/32 -j ACCEPT\n-A POSTROUTING -j MINE\nCOMMIT\n"
FORGET = 'for words in "-D POSTROUTING -j MINE" "-F MINE" "-X MINE"; do "$0" iptables -t nat $words; done'


def saved(bench: Bench, case: Case) -> tuple[tuple[str, ...], str]:
    """Return the command that brings back what a mode has in the kernel now, for IPv4, and its standard input."""
    if case.mode is Mode.NFTABLES:
        return ("nft", "-f", "-"), bench.said("nft", "list", "table", "ip", "kube-proxy")
    program = bench.node.node.iptables[str(case.backend)]
    lines = [line for line in bench.said(program, "iptables-save").splitlines() if "MINE" not in line]
    return (program, "iptables-restore", "--noflush"), "\n".join([*lines, ""])


@pytest.mark.timeout(FIRST_BUILD_S)
@pytest.mark.parametrize("backend", [case for case in NATIVE if case.mode is Mode.IPTABLES], ids=lambda one: one.name)
@pytest.mark.parametrize("old", [Mode.IPTABLES, Mode.NFTABLES])
@pytest.mark.parametrize("release", RELEASES)
def test_what_a_mode_has_left_is_removed_while_another_one_runs_and_answers(
    bench: Bench, release: str, old: Mode, backend: Case
) -> None:
    """What the newer mode's start has removed itself, as since 1.31, is brought back: it is to be left."""
    nftables = next(case for case in NATIVE if case.mode is Mode.NFTABLES)
    first, second = (backend, nftables) if old is Mode.IPTABLES else (nftables, backend)
    executor, tools = bench.node.executor, Tools.of(bench.node.node)
    before = capture(executor, tools)
    program = bench.node.node.iptables[str(backend.backend)]
    executor.run([program, "iptables-restore", "--noflush"], stdin=SOMEBODY_ELSES)
    noted: list[object] = []
    try:
        for case in (first, second):
            running = started(bench, resolved(bench, release, case))
            try:
                running.wait_ready(Deadline(CLOCK, PATIENCE_S, "the test"), PATIENCE_S)
                if case is first:
                    argv, text = saved(bench, first)
                    continue
                if not left_by(old, second.mode, capture(executor, tools)):
                    executor.run(argv, stdin=text)
                lines = tidy(executor, tools, {old}, second.mode, lambda *words: noted.append(words), sleep=time.sleep)
                assert lines
                assert left_by(old, second.mode, capture(executor, tools)) == ()
                assert (
                    tidy(executor, tools, {old}, second.mode, lambda *words: noted.append(words), sleep=time.sleep)
                    == ()
                )
                assert rules(bench, resolved(bench, release, second))
                check_answers(bench)
            finally:
                running.stop(20)
        assert len(noted) == 1
        assert "-A MINE -d 192.0.2.1/32 -j ACCEPT" in bench.said(program, "iptables-save")
    finally:
        restore(executor, before, tools)
        executor.run(["sh", "-c", FORGET, program])


def check_syncs(running: RunningProxy, *, apart: bool) -> None:
    metrics = running.metrics()
    assert (metrics.sync_count >= 1, metrics.pending) == (True, 0)
    first = next(record for record in running.syncs() if record.services)
    assert (first.services, first.endpoints) == (MANY, MANY * EACH)
    assert 0 < first.elapsed_ns < 60e9
    assert abs(first.ended_utc_ns - time.time_ns()) < 120e9
    assert (first.family, first.full) == ("IPv4", True if apart else None)
    if apart:
        assert (metrics.full_sync_count or 0) >= 1


def of_ipv4(left: Iterable[str]) -> list[str]:
    """Return what was left, but for IPv6: not every machine has it."""
    return [line for line in left if not line.startswith("ip6tables")]


def check_ranks(bench: Bench, running: RunningProxy, spec: SubjectSpec) -> None:
    ranks = running.rule_ranks()
    if spec.mode is Mode.NFTABLES:
        assert ranks is None
        return
    assert ranks is not None
    program = bench.node.node.iptables[spec.iptables or "legacy"]
    saved = bench.said(program, "iptables-save", "-t", "nat").splitlines()
    jumps = [line for line in saved if line.startswith("-A KUBE-SERVICES -d ") and "-j KUBE-SVC-" in line]
    vips = [line.split()[3].removesuffix("/32") for line in jumps]
    assert [rule_key(vip, PORT, "tcp") for vip in vips] == sorted(ranks, key=ranks.__getitem__)
    assert sorted(ranks.values()) == list(range(1, MANY + 1))
    plan = population(bench.cluster).plan
    assert set(ranks) == {rule_key(plan.vip(index), PORT, "tcp") for index in range(MANY)}


@pytest.mark.parametrize("kind", ["reference", "command"])
def test_refproxy_as_its_own_kind_and_as_any_command(bench: Bench, kind: str) -> None:
    cluster = bench.cluster
    python = sys.executable
    start = (
        python,
        "-c",
        REFPROXY,
        "{node}",
        "{address}",
        "{mode}",
        "{workdir}",
        "{cluster_cidr}",
        cluster.api.node_url,
    )
    commands = Commands(
        start=start,
        ready=(python, "-c", HEALTHZ),
        version=(python, "-c", "import refproxy; print(refproxy.__version__)"),
        clean=("sh", "-c", "! iptables-save | grep KUBE-SERVICES"),
    )
    subject = Subject(kind, "", Mode.IPTABLES, (("name", "refproxy"),))
    spec = bench.drivers[kind].resolve(SubjectSpec(subject, 1.0, 600.0, iptables=Backend.LEGACY, commands=commands))
    assert spec.subject.version == "0.1.0"
    running = started(bench, spec)
    try:
        running.wait_ready(Deadline(CLOCK, 60, "the test"), 60)
        check_answers(bench)
        if kind == "reference":
            check_ranks(bench, running, spec)
    finally:
        running.stop(20)
    bench.driver(spec).cleanup(spec, bench.node)
    assert not [line for line in rules(bench, spec) if "KUBE-SVC-" in line or "KUBE-SERVICES" in line]
    assert "sync" in running.log()
    assert json.dumps(dict(running.files())).find(cluster.api.token) == -1
