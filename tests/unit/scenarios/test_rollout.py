from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Change
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from proxybench.nodes.answers import ChangeResult

OLD = ["10.244.0.56", "10.244.0.57"]
NEW = ["10.244.0.58", "10.244.0.59"]


def world(scenario: str) -> tuple[World, FakeExecutor, list[Change]]:
    made = World({"events": {"scenarios": [scenario], "endpoints": 2, "services": 3}})
    node = made.bench.measured
    ends = [Run(["ip", "route", "replace", "unreachable", f"{pod}/32"]) for pod in OLD]
    revives = [Run(["ip", "route", "delete", "unreachable", f"{pod}/32"], done(code=2)) for pod in OLD]
    executor = FakeExecutor("node1", [*ends, *revives])
    handles = {**made.bench.handles, "node1": NodeHandle(node.node, executor, node.agent)}
    made.bench = replace(made.bench, handles=handles)
    requests: list[Change] = []

    def note(request: Change) -> ChangeResult:
        requests.append(request)
        return changed(made, request)

    made.answers[Change] = note
    return made, executor, requests


def endpoints(request: Change, number: int = 0) -> list[str]:
    body = request.writes[number].body
    assert body is not None
    return [one["addresses"][0] for one in body["endpoints"]]


def test_one_after_the_other_is_replaced_and_ends_at_once() -> None:
    made, executor, requests = world("roll-service")
    result = made.take()
    assert result.problems == []
    assert [endpoints(request) for request in requests] == [[NEW[0], OLD[1]], NEW]
    executor.assert_done()
    found = made.metrics(result, "roll-service")
    assert (found["event.lost"], found["event.refused"], found["event.attempts"]) == ([3], [1], [13])
    assert [(one.label, one.host) for one in made.watches[0]] == [("svc-event-tcp-000", "10.96.0.36")]
    left = [one["metadata"]["name"] for one in made.api.list(Kind.SERVICE, NAMESPACE, SELECTOR)]
    assert not [name for name in left if "event" in name]


def test_a_deployment_is_replaced_behind_all_its_services() -> None:
    made, _, requests = world("roll-deployment")
    result = made.take()
    assert result.problems == []
    assert [len(request.writes) for request in requests] == [3, 3]
    assert [endpoints(requests[1], number) for number in range(3)] == [NEW] * 3
    assert len(made.watches[0]) == 3
    assert made.metrics(result, "roll-deployment")["event.lost"] == [9]
