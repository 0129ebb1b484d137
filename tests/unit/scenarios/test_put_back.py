from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.agent.http import NOW
from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE
from proxybench.nodes.requests import Change
from proxybench.scenarios.canary import Canary
from tests.unit.run.world import PLAN, World, changed

if TYPE_CHECKING:
    from proxybench.kube.base import Object

CANARY = Canary(PLAN)


def slice_of_the_canary(world: World) -> Object:
    (found,) = [obj for obj in world.api.list(Kind.ENDPOINT_SLICE) if obj["metadata"]["name"] == "svc-canary-000"]
    return found


def test_each_round_finds_the_service_as_the_first_one_did() -> None:
    world = World({"sync": {"scenarios": ["add-one", "change-endpoint", "delete-one"], "times": 3}})
    seen: list[tuple[str, str]] = []

    def note(request: Change) -> object:
        (write,) = request.writes
        services = {obj["metadata"]["name"] for obj in world.api.list(Kind.SERVICE, NAMESPACE)}
        assert "svc-canary" not in services
        before = slice_of_the_canary(world)["endpoints"][0]["addresses"]
        seen.append((write.method, before[0]))
        if write.method == "PUT":  # as if the API had taken it
            assert write.body is not None
            slice_of_the_canary(world)["endpoints"][:] = write.body["endpoints"]
        return changed(world, request)

    world.answers[Change] = note
    result = world.take()
    assert result.problems == []
    assert [method for method, _ in seen] == ["POST", "PUT", "DELETE"] * 3
    assert {address for method, address in seen if method == "POST"} == {CANARY.old.address}
    assert slice_of_the_canary(world)["metadata"].get("annotations") is None
    assert NOW.decode() not in str(slice_of_the_canary(world))
    for scenario in ("add-one", "change-endpoint", "delete-one"):
        assert len(world.metrics(result, scenario)["cpu.control_loop"]) == 3
