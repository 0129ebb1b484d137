from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import RunError
from proxybench.model import ClockKind, Family
from proxybench.nodes import machine as fingerprint
from proxybench.nodes.answers import Hello
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskHello, ReadFiles
from proxybench.run.testbed import address_plan, address_plans, read_machines
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor
from tests.factories import LAB, make_cluster, make_node
from tests.unit.run.world import CLUSTER, World
from tests.unit.subjects.rig import together

HELLO = Hello("proxybench-agent 7", "3.11.2", "6.1.0", "cpu", 2)


def test_who_is_who() -> None:
    bench = World({"cpu": True}).bench
    assert (bench.client.name, bench.measured.name) == ("client", "node1")
    assert [handle.name for handle in bench.proxy_handles] == ["node1"]
    everywhere = World({"cpu": True}, nodes="all").bench
    assert [handle.name for handle in everywhere.proxy_handles] == ["node1", "node2"]


@pytest.mark.parametrize(
    ("granted", "paths", "told"),
    [
        ({}, ["cluster_ip"], ""),
        ({"client": True, "node1": False}, ["cluster_ip", "cluster_ip@far"], ""),
        ({"client": False, "node1": False, "node2": False}, ["cluster_ip"], "client"),
        ({"client": True, "node1": False}, ["cluster_ip", "node_port@node"], "node1"),
        ({"client": False, "node1": False}, ["cluster_ip@node"], "client, node1"),
    ],
)
def test_whose_probes_have_no_real_time_priority_is_told(granted: dict[str, bool], paths: list[str], told: str) -> None:
    bench = World({"cpu": True, "forwarding": {"paths": paths}}).bench
    bench = replace(bench, cluster=replace(bench.cluster, traits=replace(LAB, real_time=granted)))
    what = "no real-time priority for probes: what else runs there may take its turn within a connection"
    assert bench.disturbed() == (f"{told}: {what}" if told else "")


def test_addresses_come_from_the_nodes_with_pods_the_measured_one_first() -> None:
    plan = address_plan(CLUSTER)
    assert plan.pod_ranges == (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17"))
    assert (plan.service_cidr, plan.backend_port) == ("10.96.0.0/12", 8080)


def test_a_cluster_without_pods_cannot_be_measured() -> None:
    with pytest.raises(RunError) as raised:
        address_plan(make_cluster(measured=make_node(), others=()))
    assert str(raised.value) == "no node of the cluster has a range of pods"


@pytest.mark.usefixtures("known_mark")
@pytest.mark.parametrize(("clock", "more"), [(ClockKind.WALL, 4), (ClockKind.INSTRUCTIONS, 0)])
def test_every_node_is_described(clock: ClockKind, more: int) -> None:
    wanted = fingerprint.files(real_time=clock is ClockKind.WALL)
    assert len(wanted) == len(fingerprint.SYSCTLS) + 1 + more
    texts = dict.fromkeys(wanted)
    names = [node.name for node in CLUSTER.nodes]
    agents = {name: FakeAgent([(AskHello(), HELLO), (ReadFiles(wanted), texts)]) for name in names}
    commands = [[program, "iptables", "--version"] for program in ("/xtables", "/xtables-nft")]
    answers = ("iptables v1.8.9 (legacy)\n", 0), ("", 127), ("nftables v1.0.6 (Lester Gooch #5)\n", 0)
    versions = together([*commands, ["nft", "--version"]], *answers)
    executors = {name: FakeExecutor(name, [versions]) for name in names}
    handles = {node.name: NodeHandle(node, executors[node.name], agents[node.name]) for node in CLUSTER.nodes}
    found, lost = read_machines(handles, clock)
    assert lost == {}
    assert list(found) == names
    for described in found.values():
        assert (described.kernel, described.iptables_backend) == ("6.1.0", "legacy")
        assert (described.iptables_version, described.nft_version) == ("1.8.9", "1.0.6")
        assert described.iptables == {"legacy": "1.8.9", "nft": "unknown"}
    for agent in agents.values():
        agent.verify()


def test_a_dual_stack_cluster_has_a_plan_of_each_family() -> None:
    assert address_plans(CLUSTER, [Family.IPV4]) == (address_plan(CLUSTER),)
    with pytest.raises(RunError, match=r"^the cluster has no addresses of IPv6; write families: \[ipv4\]$"):
        address_plans(CLUSTER, Family)
    node = make_node(pod_cidr="10.244.0.0/17", pod_cidr6="fd00:10:244:11::/64")
    cluster = make_cluster(measured=node, others=(), service_cidr6="fd00:10:96::/108")
    four, six = address_plans(cluster, Family)
    assert (four.family, six.family) == (Family.IPV4, Family.IPV6)
    assert (six.vip(0), six.pod(0)) == ("fd00:10:96::100", ("fd00:10:244:11::100", "node1"))
