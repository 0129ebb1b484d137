"""From where a path is connected, and what a step's context says of its canaries and its proxy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import MeasurementError
from proxybench.experiment.matrix import Step
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.model import Origin, Scenario
from proxybench.nodes.node import NodeHandle
from proxybench.run.step import StepRunner
from proxybench.scenarios.base import ProxyUnderTest
from proxybench.scenarios.by_path import ByPath
from proxybench.scenarios.canary import Canary
from proxybench.scenarios.datagrams import ChangeUdp, Scale
from proxybench.scenarios.mass import Mass
from proxybench.scenarios.one_of_several import OneOfSeveral
from proxybench.scenarios.places import PLAIN
from proxybench.scenarios.population import Populator
from proxybench.scenarios.replace_endpoint import ReplaceEndpoint
from proxybench.scenarios.restart import RestartChanged
from proxybench.scenarios.rollout import Rollout
from proxybench.scenarios.turns import OneChange
from proxybench.testing.hosts import FakeExecutor
from tests.factories import make_cluster, make_node
from tests.unit.run.world import CELL, PLAN, FakeNode, World

if TYPE_CHECKING:
    from proxybench.nodes.node import Node
    from proxybench.scenarios.base import StepContext

POD = make_node("pod1", "10.244.0.2")


def context(world: World, pod: Node | None = None, *, reached: bool = True) -> StepContext:
    handles = dict(world.bench.handles)
    if pod is not None and reached:
        handles[pod.name] = NodeHandle(pod, FakeExecutor(pod.name), FakeNode(world, pod.name))
    bench = replace(world.bench, cluster=make_cluster(pod=pod), handles=handles)
    population = Populator(world.api, PLAN).reach(10, 2, 1, lambda _: None)
    deadline = Deadline(world.clock, 60, "the step")
    return StepRunner(bench, Step(1, 1, CELL), population, world.proxies(), deadline, world.said.append)._context


def test_a_path_begins_at_the_client_or_the_measured_node_or_its_pod() -> None:
    found = context(World({"cpu": True}), POD)
    names = {origin: found.origin(origin).name for origin in Origin}
    assert names == {
        Origin.CLIENT: "client",
        Origin.NODE: "node1",
        Origin.POD: "pod1",
        Origin.OTHER: "client",
        Origin.FAR: "client",
    }


@pytest.mark.parametrize(("pod", "reached"), [(None, True), (POD, False)])
def test_without_a_pod_that_is_reached_none_is_connected_from(pod: Node | None, reached: bool) -> None:
    found = context(World({"cpu": True}), pod, reached=reached)
    with pytest.raises(MeasurementError) as caught:
        found.origin(Origin.POD)
    assert str(caught.value) == "the cluster has no pod to connect from"


def test_the_two_canaries_share_no_address_and_know_what_is_read() -> None:
    found = replace(context(World({"cpu": True})), in_endpoints=True)
    first, second = found.canary, found.second_canary
    assert first == Canary(PLAN, in_endpoints=True)
    assert second.in_endpoints
    assert first.name != second.name
    assert {first.vip, first.old, first.new}.isdisjoint({second.vip, second.old, second.new})


def test_a_proxy_is_none_before_it_was_started_and_has_no_ranks_after_each_start() -> None:
    world = World({"cpu": True})
    subject = ProxyUnderTest(world.running["node1"].start, lambda: None)
    with pytest.raises(MeasurementError, match=r"^the proxy was not started$"):
        _ = subject.running
    subject.ranks = {"10.96.0.1 80/tcp": 1}
    assert subject.start() is subject.running is world.running["node1"]
    assert subject.ranks is None
    subject.ranks = {"10.96.0.1 80/tcp": 1}
    other = replace(world.running["node1"], asked=[])
    assert subject.start(lambda: other) is subject.running is other
    assert subject.ranks is None
    assert world.log == ["node1 start"]


def test_the_least_period_is_what_was_planned_until_the_proxy_says_its_own() -> None:
    world = World({"cpu": True})
    found = context(world)
    assert found.min_sync_period == found.planned_period
    proxy = world.running["node1"]
    found.subject.start(lambda: proxy)
    assert found.min_sync_period == found.planned_period
    proxy.periods = (2.5, 40.0)
    assert found.min_sync_period == 2.5


@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        (Mass(5, 1.0, 5), "its Services have EndpointSlices, and this proxy reads Endpoints"),
        (ByPath((PLAIN,), 1.0), "its Services have EndpointSlices, and this proxy reads Endpoints"),
        (ReplaceEndpoint(), "a proxy that reads Endpoints objects has no EndpointSlice to change"),
        *(
            (scenario, "the Services of events have EndpointSlices, and this proxy reads Endpoints")
            for scenario in (
                RestartChanged(1.0, 5),
                OneChange(Scenario.CHANGE_IDLE, 1.0),
                Rollout(Scenario.ROLL_SERVICE, 1, 4, 5),
                OneOfSeveral(4, 5),
                ChangeUdp(Scenario.CHANGE_UDP, 0, 5),
                Scale(5),
            )
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_has_slices_only_is_not_measured_of_a_proxy_that_reads_endpoints(scenario: Any, why: str) -> None:
    made = World({"cpu": True})
    step = replace(context(made), in_endpoints=True)
    services = made.api.list(Kind.SERVICE, NAMESPACE, SELECTOR)
    with pytest.raises(MeasurementError) as caught:
        scenario.run(step)
    assert str(caught.value) == why
    assert made.api.list(Kind.SERVICE, NAMESPACE, SELECTOR) == services
