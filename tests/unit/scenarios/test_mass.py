from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.model import ServicePath
from proxybench.nodes.requests import Change
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.nodes.answers import ChangeResult


def test_many_come_and_go_with_their_endpoints() -> None:
    made = World({"events": {"scenarios": ["mass-create"], "mass": 5}})
    requests: list[Change] = []

    def note(request: Change) -> ChangeResult:
        requests.append(request)
        for write in request.writes:  # what the agent writes is in the API, too
            if write.method == "POST" and write.body is not None:
                made.api.create_many([dict(write.body)])
        return changed(made, request)

    made.answers[Change] = note
    result = made.take()
    assert result.problems == []
    told = [[(one.method, one.path.rpartition("/")[2]) for one in request.writes] for request in requests]
    both = [("POST", "services"), ("POST", "endpointslices")]
    assert told == [both, both, [("DELETE", "svc-20000")], [("DELETE", "svc-20004")]]
    assert [probe.until for probe in requests[1].probes] == ["answer"] * 5
    assert [(probe.until, probe.host) for probe in requests[3].probes] == [("refusal", "10.96.79.36")]
    assert made.metrics(result, "mass-create")["sync.end_to_end"] == [2_000_000]
    assert made.metrics(result, "mass-delete")["sync.end_to_end"] == [2_000_000]
    assert made.metrics(result, "mass-delete")["event.attempts"] == [39]  # of those that were there before
    left = [one["metadata"]["name"] for one in made.api.list(Kind.SERVICE, NAMESPACE, SELECTOR)]
    assert not [name for name in left if name.startswith("svc-2")]


@pytest.mark.parametrize("mass", ["10%", 1, 2])
def test_at_least_two_are_made_the_first_and_the_last(mass: str | int) -> None:
    made = World({"events": {"scenarios": ["mass-create"], "mass": mass}})  # to ten Services
    requests: list[Change] = []

    def note(request: Change) -> ChangeResult:
        requests.append(request)
        return changed(made, request)

    made.answers[Change] = note
    result = made.take()
    assert result.problems == []
    names = [write.body["metadata"]["name"] for one in requests[:2] for write in one.writes if write.body]
    assert names == ["svc-20000", "svc-20000-000", "svc-20001", "svc-20001-000"]


def test_they_need_no_node_ports_which_there_are_too_few_of() -> None:
    made = World({"events": {"scenarios": ["mass-create"], "mass": 1600}})
    written: list[Mapping[str, Any]] = []

    def note(request: Change) -> ChangeResult:
        written.extend(one.body for one in request.writes if one.body)
        return changed(made, request)

    made.answers[Change] = note
    result = made.take(exposed=[ServicePath.parse("node_port")])
    assert result.problems == []
    services = [one for one in written if one["kind"] == "Service"]
    assert [one["spec"]["type"] for one in services] == ["ClusterIP", "ClusterIP"]
