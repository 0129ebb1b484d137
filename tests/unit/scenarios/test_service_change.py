from __future__ import annotations

import pytest

from proxybench.nodes.requests import Change
from tests.unit.run.world import World, changed, seen


@pytest.mark.parametrize(("scenario", "verb"), [("change-endpoint", "PUT"), ("delete-one", "DELETE")])
def test_a_service_that_nothing_added_is_added_and_nothing_of_that_is_recorded(scenario: str, verb: str) -> None:
    world = World({"sync": {"scenarios": [scenario]}})
    asked: list[list[str]] = []

    def change(request: Change) -> object:
        asked.append([write.method for write in request.writes])
        return changed(world, request)

    world.answers[Change] = change
    result = world.take()
    assert result.problems == []
    assert asked == [["POST"], [verb]]
    assert {str(sample.point.scenario) for sample in result.samples if sample.metric.startswith("sync.")} == {scenario}


def test_a_service_that_does_not_answer_is_no_service_to_change() -> None:
    world = World({"sync": {"scenarios": ["delete-one"], "timeout": "30s"}})
    first = [True]

    def change(request: Change) -> object:
        late = first.pop() if first else False
        found = changed(world, request)
        if late:
            probes = tuple(seen(world, probe, censored=True) for probe in request.probes)
            return type(found)(found.write_start_ns, found.ack_ns, found.acks_ns, found.statuses, probes)
        return found

    world.answers[Change] = change
    assert world.take().problems == ["the Service to change: it did not answer within 30 s"]
