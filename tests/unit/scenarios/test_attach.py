from __future__ import annotations

from dataclasses import replace

from proxybench.errors import ProxierError
from proxybench.nodes.answers import AwaitAllResult
from proxybench.nodes.requests import AwaitAll
from tests.unit.run.world import PLAN, World, all_seen
from tests.unit.scenarios.probes import seen

SYNC = {"sync": {"scenarios": ["add-one"]}}


def watched() -> World:
    """A world whose proxies are the cluster's own."""
    world = World(SYNC)
    cluster = world.bench.cluster
    world.bench = replace(world.bench, cluster=replace(cluster, traits=replace(cluster.traits, starts_proxies=False)))
    return world


def test_it_is_found_then_all_probed_services_are_awaited_and_its_ranks_read() -> None:
    world = watched()
    world.running["node1"].fails["ranks"] = ProxierError("node1: no iptables there sees KUBE-SERVICES")
    asked: list[AwaitAll] = []

    def note(request: AwaitAll) -> object:
        asked.append(request)
        return all_seen(world, request)

    world.answers[AwaitAll] = note
    result = world.take()
    assert result.problems == []
    assert result.notes == ["positions are the order of creation: node1: no iptables there sees KUBE-SERVICES"]
    assert [one.host for one in asked[0].probes] == [PLAN.vip(index) for index in (9, 0, 2, 3, 5, 6, 8)]
    assert world.log[:3] == ["node1 start", "client await_all", "node1 ready"]
    assert world.said[0] == "watching the running proxy"
    assert world.log.index("node1 ready") < world.log.index("client change")
    assert {str(sample.point.scenario) for sample in result.samples} == {"add-one"}


def test_services_that_do_not_answer_in_time_end_the_step_before_anything_is_changed() -> None:
    world = watched()
    world.answers[AwaitAll] = lambda request: AwaitAllResult(
        tuple(seen(None if number in {1, 4} else 300) for number, _ in enumerate(request.probes))
    )
    result = world.take()
    assert result.problems == [
        "watching the running proxy: 2 of 7 probed Services did not answer within 120 s",
    ]
    assert result.samples == []
    assert "node1 ready" not in world.log
    assert "client change" not in world.log


def test_a_proxy_that_is_not_found_ends_the_step_with_its_reason() -> None:
    world = watched()
    world.running["node1"].fails["start"] = ProxierError("node1: no kube-proxy runs in its network namespace")
    result = world.take()
    assert result.problems == ["watching the running proxy: node1: no kube-proxy runs in its network namespace"]
    assert "client await_all" not in world.log
    assert result.samples == []
