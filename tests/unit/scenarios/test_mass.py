from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.nodes.requests import Change
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
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
