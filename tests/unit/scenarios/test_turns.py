from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.kube.base import Kind
from proxybench.kube.objects import node as node_object
from proxybench.nodes.requests import Change
from proxybench.testing.kube import FakeServiceApi
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.base import Bulk, Object
    from proxybench.nodes.answers import ChangeResult

ZONE = "topology.kubernetes.io/zone"


def taken(scenario: str) -> tuple[World, Any, list[Change]]:
    made = World({"events": {"scenarios": [scenario]}})
    requests: list[Change] = []

    def note(request: Change) -> ChangeResult:
        requests.append(request)
        return changed(made, request)

    made.answers[Change] = note
    return made, made.take(), requests


def test_after_a_rest_one_change_is_made() -> None:
    made, result, requests = taken("change-idle")
    assert result.problems == []
    assert [request.probes[0].want for request in requests] == [("10.244.0.57",)]
    assert made.metrics(result, "change-idle")["sync.end_to_end"] == [2_000_000]
    assert made.metrics(result, "change-idle")["sync.control_loop"] == [500_000_000]


def test_on_a_busy_node_it_comes_after_as_many_as_may_follow_at_once() -> None:
    made, result, requests = taken("change-busy")
    assert result.problems == []
    assert [request.probes[0].want for request in requests] == [("10.244.0.57",), ("10.244.0.58",), ("10.244.0.59",)]
    assert made.metrics(result, "change-busy")["sync.end_to_end"] == [2_000_000]
    assert made.metrics(result, "change-busy")["sync.control_loop"] == [3 * 500_000_000]


class Noticing(FakeServiceApi):
    """Each replaced object is taken up by a sync, and noted with its zone."""

    def __init__(self, made: World) -> None:
        super().__init__()
        self.made = made
        self.zones: list[str | None] = []

    def replace_many(self, objects: Sequence[Object], progress: Any = None) -> Bulk:
        self.made.syncs += 1
        self.zones += [one["metadata"]["labels"].get(ZONE) for one in objects]
        return super().replace_many(objects, progress)


def test_a_full_sync_is_forced_by_another_zone_which_is_taken_back() -> None:
    made = World({"events": {"scenarios": ["full-sync"]}})
    api = Noticing(made)
    made.use_api(api)
    api.create_many([node_object("node1", "198.18.1.11", "10.244.0.0/17")])
    result = made.take()
    assert result.problems == []
    assert made.metrics(result, "full-sync")["sync.control_loop"] == [500_000_000]
    assert [target.label for target in made.watches[0]] == [
        *("first", "first, held", "middle", "middle, held", "last", "last, held")
    ]
    assert made.metrics(result, "full-sync")["event.lost"] == [9]
    assert made.metrics(result, "full-sync")["event.broken"] == [0]
    assert api.zones == ["another", None]


def test_a_proxy_that_does_not_care_is_told() -> None:
    made = World({"events": {"scenarios": ["full-sync"]}})
    made.api.create_many([node_object("node1", "198.18.1.11", "10.244.0.0/17")])
    (problem,) = made.take().problems
    assert problem.startswith("full-sync: ")
    assert problem.endswith(" does not sync when its node moves to another zone")
    (node,) = made.api.list(Kind.NODE)
    assert ZONE not in node["metadata"]["labels"]
