from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Await, Change
from proxybench.nodes.watch import EndWatch, Seen, Stretch, WatchResult
from proxybench.subjects.driver import ProxyMetrics
from proxybench.subjects.removals import Part
from proxybench.testing.hosts import FakeExecutor, Run
from tests.unit.run.world import World, changed, seen, watched

if TYPE_CHECKING:
    from proxybench.nodes.answers import AwaitResult

MS = 1_000_000
REMOVE = ("remove", "it")


def world(runs: int = 1) -> World:
    """Return one where the jump can be removed, once."""
    made = World({"events": {"scenarios": ["repair-jump"], "timeout": "7s"}})
    node = made.bench.measured
    executor = FakeExecutor("node1", [Run([*REMOVE, "10.96.1.9:80"])] * runs)
    handle = NodeHandle(node.node, executor, node.agent)
    made.bench = replace(made.bench, handles={**made.bench.handles, "node1": handle})
    made.running["node1"].removals = {Part.JUMP: REMOVE}
    return made


def unrepaired(made: World, _: EndWatch) -> WatchResult:
    now = made.clock.now
    stretches = (Stretch("answered", now, now + 10 * MS, 3), Stretch("silent", now + 15 * MS, now + 90 * MS, 16))
    return WatchResult(now, now + 100 * MS, 0, {"service": Seen(stretches, {}, 5 * MS)}, {})


def test_traffic_flows_again_by_itself() -> None:
    made = world()
    result = made.take()
    assert result.problems == []
    (targets,) = made.watches
    assert [(one.kind, one.host, one.expect) for one in targets] == [
        ("tcp", "10.96.1.9", ("10.244.1.18", "10.244.1.19")),
        ("held", "10.96.1.9", ("10.244.1.18", "10.244.1.19")),
    ]
    found = made.metrics(result, "repair-jump")
    assert found["event.outage"] == [40 * MS]
    assert (found["event.lost"], found["event.refused"], found["event.broken"]) == ([3], [1], [0])
    (sample,) = [one for one in result.samples if one.metric == "sync.end_to_end"]
    assert not sample.censored
    assert sample.uncertainty == 5 * MS + 25 * MS  # the attempts before and after the outage
    assert "repair.next_change" not in found


def test_a_repairs_sync_is_waited_for_and_counted() -> None:
    made = world()
    repaired: list[int] = []

    def back(request: Await) -> AwaitResult:
        repaired.append(made.clock.now)
        return replace(seen(made, request), interval_at_success_ns=5 * MS)

    def metrics() -> ProxyMetrics:
        over = bool(repaired) and made.clock.now > repaired[0] + 3_000 * MS
        return ProxyMetrics(2.5 if over else 0.5, 2 if over else 1)

    made.answers[Await] = back
    made.running["node1"].read = metrics
    result = made.take()
    assert result.problems == []
    assert made.metrics(result, "repair-jump")["sync.control_loop"] == [2_000 * MS]


def test_what_is_not_repaired_is_censored_and_the_next_change_repairs_it() -> None:
    made = world()
    made.answers[EndWatch] = lambda request: unrepaired(made, request)
    made.answers[Await] = lambda request: seen(made, request, censored=True)
    result = made.take()
    assert result.problems == []
    (sample,) = [one for one in result.samples if one.metric == "sync.end_to_end"]
    assert sample.censored
    (mended,) = [one for one in result.samples if one.metric == "repair.next_change"]
    assert (mended.value, mended.censored) == (2 * MS, False)
    assert made.log.count("node1 start") == 1


def test_what_no_change_repairs_a_restart_does() -> None:
    made = world()
    made.answers[EndWatch] = lambda request: unrepaired(made, request)
    made.answers[Await] = lambda request: seen(made, request, censored=made.log.count("node1 start") == 1)

    def never(request: Change) -> Any:
        found = changed(made, request)
        return replace(found, probes=tuple(seen(made, one, censored=True) for one in request.probes))

    made.answers[Change] = never
    result = made.take()
    assert result.problems == []
    (mended,) = [one for one in result.samples if one.metric == "repair.next_change"]
    assert mended.censored
    assert made.log.count("node1 start") == 2
    assert [line for line in made.api.log if "svc-event" in line] == [
        "DELETE /api/v1/namespaces/proxybench/services/svc-event-tcp-000",
        "DELETE /apis/discovery.k8s.io/v1/namespaces/proxybench/endpointslices/svc-event-tcp-000-000",
    ]


def test_not_even_a_restart() -> None:
    made = world()
    made.answers[EndWatch] = lambda request: unrepaired(made, request)
    made.answers[Await] = lambda request: seen(made, request, censored=True)
    made.answers[Change] = lambda request: replace(
        changed(made, request), probes=tuple(seen(made, one, censored=True) for one in request.probes)
    )
    result = made.take()
    assert result.problems == ["repair-jump: not even a restart of the proxy brought back what was removed"]


def test_a_removal_that_interrupts_nothing_measures_nothing() -> None:
    made = world()

    def calm(_: EndWatch) -> WatchResult:
        found = watched(made, EndWatch(77))
        return replace(found, targets={"service": Seen((Stretch("answered", 1, 2, 2),), {}, 1)})

    made.answers[EndWatch] = calm
    assert made.take().problems == ["repair-jump: what was removed interrupted nothing that was seen"]


def test_a_part_that_a_mode_lacks_is_a_note() -> None:
    made = world(0)
    made.running["node1"].removals = {}
    result = made.take()
    assert result.problems == []
    assert any(note.startswith("repair-jump: ") and note.endswith("has no such part") for note in result.notes)
    assert made.watches == []


def test_what_is_repaired_a_moment_later_needs_no_change() -> None:
    made = world()
    made.answers[EndWatch] = lambda request: unrepaired(made, request)
    result = made.take()
    assert result.problems == []
    assert result.notes == ["repair-jump: it was repaired a moment after it was given up"]
    assert "client change" not in made.log
