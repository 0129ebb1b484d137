from __future__ import annotations

from proxybench.nodes.requests import Change
from tests.unit.run.world import World, changed


def test_the_service_comes_first_and_its_slice_a_moment_later() -> None:
    world = World({"sync": {"scenarios": ["new-service"]}})
    requests: list[Change] = []

    def note(request: Change) -> object:
        requests.append(request)
        return changed(world, request)

    world.answers[Change] = note
    result = world.take()
    assert result.problems == []
    (request,) = requests
    assert [(write.method, write.path.rpartition("/")[2]) for write in request.writes] == [
        ("POST", "services"),
        ("POST", "endpointslices"),
    ]
    assert [probe.host for probe in request.probes] == ["10.96.0.17"]
    assert world.metrics(result, "new-service")["sync.end_to_end"] == [2_000_000]
