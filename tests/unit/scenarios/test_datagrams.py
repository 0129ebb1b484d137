from __future__ import annotations

from typing import Any

import pytest

from proxybench.nodes.requests import Change
from proxybench.nodes.watch import Answers, EndWatch, Seen, Stretch, WatchResult
from tests.unit.run.world import World, changed

MS = 1_000_000
NEW = "10.244.0.57"


def values(made: World, result: Any, scenario: str) -> list[tuple[int, bool]]:
    del made
    return [
        (one.value, one.censored)
        for one in result.samples
        if one.point.scenario == scenario and one.metric == "sync.end_to_end"
    ]


def test_the_new_endpoint_answers_some_time_after_the_acknowledgement() -> None:
    made = World({"events": {"scenarios": ["change-udp"]}})

    def seen(_: EndWatch) -> WatchResult:
        now = made.clock.now
        answers = {NEW: Answers(9, now - 2_960 * MS, now)}  # written 3.3 s ago, to the clock's whole steps
        stretches = (Stretch("answered", now - 4_000 * MS, now, 90),)
        return WatchResult(now - 4_000 * MS, now, 0, {"udp": Seen(stretches, answers, 6 * MS)}, {})

    made.answers[EndWatch] = seen
    result = made.take()
    assert result.problems == []
    ((took, censored),) = values(made, result, "change-udp")
    assert (censored, 0 < took < 3_000 * MS) == (False, True)
    (target,) = made.watches[0]
    assert (target.kind, target.host, target.port) == ("udp", "10.96.0.36", 80)
    assert made.metrics(result, "change-udp")["event.lost"] == [0]


def test_a_sender_that_stays_with_the_old_endpoint_is_censored() -> None:
    made = World({"events": {"scenarios": ["change-udp"]}})
    result = made.take()
    assert [censored for _, censored in values(made, result, "change-udp")] == [True]


def test_going_and_coming_back_are_two_scenarios_of_one_sender() -> None:
    made = World({"events": {"scenarios": ["scale-to-zero", "scale-from-zero"]}})
    marks: list[int] = []

    def seen(_: EndWatch) -> WatchResult:
        end = made.clock.now
        gone, back = (moment for moment in marks)
        stretches = (
            Stretch("answered", gone - 100 * MS, gone + 20 * MS, 25),
            Stretch("refused", gone + 25 * MS, back + 30 * MS, 100),
            Stretch("answered", back + 35 * MS, end, 100),
        )
        answers = {NEW: Answers(100, back + 35 * MS, end)}
        return WatchResult(gone - 100 * MS, end, 0, {"udp": Seen(stretches, answers, 5 * MS)}, {})

    def note(request: Change) -> Any:
        marks.append(made.clock.now)
        return changed(made, request)

    made.answers[Change] = note
    made.answers[EndWatch] = seen
    result = made.take()
    assert result.problems == []
    assert len(made.watches) == 1
    assert values(made, result, "scale-to-zero") == [(25 * MS, False)]
    assert values(made, result, "scale-from-zero") == [(35 * MS, False)]
    found = made.metrics(result, "scale-from-zero")
    assert found["event.outage"] == [35 * MS]
    assert "event.outage" not in made.metrics(result, "scale-to-zero")


@pytest.mark.parametrize(
    ("since", "lost"),
    [
        (None, 100),  # the old endpoint serves it all the time: the new one never does
        (400 * MS, 11),  # it does until conntrack's entry goes, 400 ms after the acknowledgement
    ],
)
def test_what_the_old_endpoint_answers_is_no_way_back(since: int | None, lost: int) -> None:
    made = World({"events": {"scenarios": ["scale-to-zero", "scale-from-zero"]}})
    marks: list[int] = []

    def seen(_: EndWatch) -> WatchResult:
        back, end = marks[-1], made.clock.now
        marks.append(end)
        answers = {} if since is None else {NEW: Answers(89, back + since, end)}
        return WatchResult(marks[0], end, 0, {"udp": Seen((Stretch("answered", back, end, 100),), answers, 5 * MS)}, {})

    def note(request: Change) -> Any:
        marks.append(made.clock.now)
        return changed(made, request)

    made.answers[Change] = note
    made.answers[EndWatch] = seen
    result = made.take()
    assert result.problems == []
    found = {str(one.metric): one for one in result.samples if one.point.scenario == "scale-from-zero"}
    back, end = marks[-2:]
    expected = (end - back if since is None else since, since is None)
    for metric in ("sync.end_to_end", "event.outage"):
        assert (found[metric].value, found[metric].censored) == expected
    assert found["event.lost"].value == lost
    assert found["event.outage"].uncertainty == (0 if since is None else 5 * MS + 1)
