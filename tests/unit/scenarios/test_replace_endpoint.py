from __future__ import annotations

from proxybench.agent.http import NOW
from proxybench.nodes.requests import Change
from tests.unit.run.world import PLAN, World, changed


def test_one_endpoint_of_the_first_service_is_replaced_and_comes_back() -> None:
    world = World({"sync": {"scenarios": ["replace-endpoint"]}})
    requests: list[Change] = []

    def note(request: Change) -> object:
        requests.append(request)
        return changed(world, request)

    world.answers[Change] = note
    result = world.take()
    assert result.problems == []
    writes = [write for request in requests for write in request.writes]
    assert [(write.method, write.path.rpartition("/")[2]) for write in writes] == [("PUT", "svc-00000-000")] * 2
    bodies = [write.body or {} for write in writes]
    assert [[one["addresses"] for one in body["endpoints"]] for body in bodies] == [
        [["10.244.1.0"], [PLAN.spare(478).address]],
        [["10.244.1.0"], ["10.244.1.1"]],
    ]
    assert {body["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"] for body in bodies} == {
        NOW.decode()
    }
    found = world.metrics(result, "replace-endpoint")
    assert found["sync.control_loop"] == [500_000_000]
    assert len(found["cpu.control_loop"]) == 1
    assert "sync.end_to_end" not in found


def test_it_comes_back_when_the_proxy_cannot_be_watched() -> None:
    world = World({"sync": {"scenarios": ["replace-endpoint"]}})
    puts: list[Change] = []

    def refuse(request: Change) -> object:
        puts.append(request)
        return changed(world, request, status=409 if len(puts) == 1 else 200)

    world.answers[Change] = refuse
    assert world.take().problems == ["replace-endpoint: the API refused the change with status 409"]
    assert len(puts) == 2
