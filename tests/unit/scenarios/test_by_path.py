from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.kube.base import Kind
from proxybench.model import ServicePath
from proxybench.nodes.exchange import Exchange, ExchangeResult, Heard
from proxybench.nodes.requests import AwaitAll, Change, Connect
from proxybench.scenarios.by_path import lone, rounds
from tests.unit.run.world import PLAN, World, all_seen, changed, connected

if TYPE_CHECKING:
    from proxybench.nodes.answers import AwaitAllResult, ChangeResult, ConnectResult


def parsed(*words: str) -> list[ServicePath]:
    return [ServicePath.parse(word) for word in words]


def world(*paths: str, scenarios: tuple[str, ...] = ("add-paths",)) -> World:
    return World({"sync": {"scenarios": scenarios}, "forwarding": {"connections": 10, "paths": paths}}, nodes="all")


def noted(made: World) -> tuple[Any, list[Change], list[AwaitAll]]:
    """Take the step; return its result, the writes and what other agents probed."""
    changes: list[Change] = []
    waits: list[AwaitAll] = []

    def note(request: Change) -> ChangeResult:
        changes.append(request)
        return changed(made, request)

    def wait(request: AwaitAll) -> AwaitAllResult:
        waits.append(request)
        return all_seen(made, request)

    expected: dict[int, tuple[str, ...]] = {}

    def connect(request: Connect) -> ConnectResult:
        expected.update({target.port: target.expect or () for target in request.targets})
        return connected(made, request)

    def seen(request: Exchange) -> ExchangeResult:
        return ExchangeResult((Heard(expected[request.port][0], request.host, 4),), {}, 0, 4)

    made.answers |= {Change: note, AwaitAll: wait, Connect: connect, Exchange: seen}
    return made.take(exposed=made.experiment.measure.paths), changes, waits


def values(result: Any, scenario: str) -> dict[str, int]:
    return {
        sample.point.path: sample.value
        for sample in result.samples
        if (sample.point.scenario, sample.metric) == (scenario, "sync.end_to_end")
    }


def cpu(result: Any, scenario: str) -> dict[str, int]:
    return {
        sample.point.path: sample.value
        for sample in result.samples
        if (sample.point.scenario, sample.metric) == (scenario, "cpu.control_loop")
    }


@pytest.mark.parametrize("scenario", ["add-paths", "delete-paths"])
def test_paths_from_outside_are_probed_side_by_side_at_their_addresses(scenario: str) -> None:
    made = world("cluster_ip", "node_port", "node_port@other", scenarios=(scenario,))
    result, changes, waits = noted(made)
    assert result.problems == []
    come, go = changes[:2]
    assert [write.method for change in changes for write in change.writes] == ["POST", "DELETE"] * 3
    (write,) = come.writes
    spec = (write.body or {})["spec"]
    assert spec["type"] == "NodePort"
    node_port = spec["ports"][0]["nodePort"]
    assert [(probe.host, probe.port, probe.until) for probe in come.probes] == [
        (spec["clusterIP"], 80, "answer"),
        ("198.18.1.11", node_port, "answer"),
        ("198.18.1.12", node_port, "answer"),
    ]
    assert {probe.want for probe in come.probes} == {(PLAN.spare(40).address,)}
    assert PLAN.spare(40).node == "node1"
    assert {probe.until for probe in go.probes} == {"refusal"}
    for name in ("add-paths", "delete-paths"):
        assert values(result, name) == dict.fromkeys(("cluster_ip", "node_port", "node_port@other"), 2_000_000)
        assert made.metrics(result, name)["sync.control_loop"] == [500_000_000]
        assert set(cpu(result, name)) == {"none", "cluster_ip", "node_port"}
    assert len(waits) == 1  # the cold start's
    names = {obj["metadata"]["name"] for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE) for obj in made.api.list(kind)}
    assert not any(name.startswith("svc-path") for name in names)


def test_what_the_node_and_a_pod_probe_takes_a_round_each_and_cpu_is_the_first_ones() -> None:
    made = world("cluster_ip", "cluster_ip@node", "node_port@node")
    result, changes, waits = noted(made)
    assert result.problems == []
    assert [len(change.probes) for change in changes] == [1, 1, *8 * [0]]
    vip = changes[0].probes[0].host
    hosts = [[probe.host for probe in wait.probes] for wait in waits[1:]]
    assert hosts == [[vip], [vip], ["198.18.1.11"], ["198.18.1.11"]]
    assert [wait.probes[0].until for wait in waits[1:]] == ["answer", "refusal"] * 2
    assert set(values(result, "add-paths")) == {"cluster_ip", "cluster_ip@node", "node_port@node"}
    assert set(cpu(result, "add-paths")) == {"none", "cluster_ip", "node_port"}


def test_of_a_proxy_without_a_cgroup_no_service_is_there_for_its_cpu_alone() -> None:
    made = world("cluster_ip", "node_port")
    made.running["node1"].no_cpu = "it shares its cgroup"
    result, changes, _ = noted(made)
    assert result.problems == []
    assert len(changes) == 2
    assert set(values(result, "add-paths")) == {"cluster_ip", "node_port"}
    assert cpu(result, "add-paths") == {}


def test_each_policy_and_each_place_of_endpoints_has_a_service_and_a_round_of_its_own() -> None:
    paths = parsed("cluster_ip", "cluster_ip@far", "node_port_local", "node_port@far", "node_port@pod")
    made = rounds(PLAN, paths)
    assert [asked for _, asked in made] == [
        tuple(parsed("cluster_ip")),
        tuple(parsed("cluster_ip@far", "node_port@far")),
        tuple(parsed("node_port_local")),
        tuple(parsed("node_port@pod")),
    ]
    services = [one for one, _ in made]
    assert [(one.far, one.exposure.local_only) for one in services] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert services[0] is services[3]
    assert [one.pod.node for one in services] == ["node1", "node2", "node1", "node1"]
    assert len({one.pod.address for one in services} | {one.access.node_port for one in services}) == 6
    outside = replace(PLAN, external_cidr="198.19.0.0/16")
    ((one, _),) = rounds(outside, parsed("load_balancer_ip", "external_ip"))
    nodes = ("198.18.1.11", "198.18.1.12")
    assert one.place(ServicePath.parse("load_balancer_ip"), nodes) == (one.access.load_balancer_ips[0], 80)
    assert one.place(ServicePath.parse("external_ip"), nodes) == (one.access.external_ips[0], 80)


@pytest.mark.parametrize("scenario", ["add-paths", "delete-paths"])
def test_over_udp_a_round_of_datagrams_follows_that_of_connections(scenario: str) -> None:
    made = world("cluster_ip/udp", "cluster_ip", "node_port/udp", "cluster_ip/udp@node", scenarios=(scenario,))
    result, changes, waits = noted(made)
    assert result.problems == []
    tcp, udp = changes[0], changes[2]
    assert [(one.protocol, one.pending) for one in tcp.probes] == [(None, 8)]
    assert [(one.host, one.protocol, one.pending, one.until) for one in udp.probes] == [
        (tcp.probes[0].host, "udp", 64, "answer"),
        ("198.18.1.11", "udp", 64, "answer"),
    ]
    assert {one.want for one in udp.probes} == {(PLAN.spare(40).address,)}
    assert [(one.protocol, one.until) for one in changes[3].probes] == [("udp", "refusal")] * 2
    assert [[probe.protocol for probe in wait.probes] for wait in waits[1:]] == [["udp"], ["udp"]]
    found = values(result, scenario)
    assert set(found) == {"cluster_ip", "cluster_ip/udp", "node_port/udp", "cluster_ip/udp@node"}
    assert found["node_port/udp"] == 2_000_000
    assert len(made.metrics(result, scenario)["sync.control_loop"]) == 1
    ports = (tcp.writes[0].body or {})["spec"]["ports"]
    assert [port["protocol"] for port in ports] == ["TCP", "UDP"]


def test_where_there_is_udp_alone_it_is_what_cpu_and_syncs_are_of() -> None:
    made = world("cluster_ip/udp")
    result, changes, _ = noted(made)
    assert result.problems == []
    assert [probe.protocol for change in changes for probe in change.probes] == ["udp", "udp"]
    assert made.metrics(result, "add-paths")["sync.control_loop"] == [500_000_000]


def test_cpu_by_path_is_of_services_that_differ_in_one_address() -> None:
    paths = parsed("external_ip", "node_port@far", "node_port_local/udp", "load_balancer_ip@pod")
    plan = replace(PLAN, external_cidr="198.19.0.0/16")
    made = lone(plan, paths)
    specs = {str(path): service.service()["spec"] for path, service in made}
    assert {word: spec["type"] for word, spec in specs.items()} == {
        "cluster_ip": "ClusterIP",
        "node_port": "NodePort",
        "node_port_local": "NodePort",
        "external_ip": "ClusterIP",
        "load_balancer_ip": "LoadBalancer",
    }
    assert [word for word, spec in specs.items() if spec.get("externalIPs")] == ["external_ip"]
    policies = {word: spec.get("externalTrafficPolicy") for word, spec in specs.items()}
    assert policies == {
        "cluster_ip": None,
        "node_port": "Cluster",
        "node_port_local": "Local",
        "external_ip": "Cluster",
        "load_balancer_ip": "Cluster",
    }
    assert {len(spec["ports"]) for spec in specs.values()} == {1}
    assert {service.pod.node for _, service in made} == {"node1"}
    names = {service.name for _, service in made} | {service.name for service, _ in rounds(plan, paths)}
    assert len(names) == 5 + 3
    assert lone(PLAN, parsed("cluster_ip", "cluster_ip/udp@pod")) == ()


def test_cpu_by_path_is_what_the_control_loop_spent_from_before_the_write_until_it_rested() -> None:
    made = world("node_port", scenarios=("delete-paths",))
    result, _, _ = noted(made)
    for scenario in ("add-paths", "delete-paths"):
        found = cpu(result, scenario)
        assert set(found) == {"none", "cluster_ip", "node_port"}
        assert found["node_port"] == found["cluster_ip"] > 0  # 1 % of two quiet looks


def test_what_was_made_goes_when_a_change_is_refused() -> None:
    made = world("cluster_ip")
    made.answers[Change] = lambda request: changed(made, request, status=422)
    result = made.take()
    assert result.problems == ["add and delete by path: the API refused the change with status 422"]
    assert not any(obj["metadata"]["name"].startswith("svc-path") for obj in made.api.list(Kind.ENDPOINT_SLICE))
