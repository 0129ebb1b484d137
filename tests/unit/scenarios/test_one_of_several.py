from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.nodes.requests import Change
from proxybench.nodes.watch import Answers, EndWatch, Seen, Stretch, WatchResult
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from proxybench.nodes.answers import ChangeResult

MS = 1_000_000
OLD = [f"10.244.0.{number}" for number in range(56, 59)]
EXTRA = "10.244.0.59"


def take(answers: dict[str, tuple[int, int]]) -> tuple[World, Any, list[Change]]:
    """Take both; ``answers`` are when the endpoint was used, from each acknowledgement on (ms; -1: to the end)."""
    made = World({"events": {"scenarios": ["add-endpoint"], "endpoints": 3}})
    changes: list[Change] = []
    marks: list[int] = []

    def note(request: Change) -> ChangeResult:
        changes.append(request)
        marks.append(made.clock.now)
        return changed(made, request)

    def seen(_: EndWatch) -> WatchResult:
        at, end = marks[-1], made.clock.now
        used = answers.get("add-endpoint" if len(marks) == 1 else "remove-endpoint")
        heard = {EXTRA: Answers(9, at + used[0] * MS, end if used[1] < 0 else at + used[1] * MS)} if used else {}
        stretches = (Stretch("answered", at - 100 * MS, end, 90),)
        return WatchResult(at - 100 * MS, end, 0, {"service": Seen(stretches, heard, 6 * MS)}, {})

    made.answers |= {Change: note, EndWatch: seen}
    return made, made.take(), changes


def sample(result: Any, scenario: str) -> tuple[int, bool, int]:
    (one,) = [one for one in result.samples if (one.point.scenario, one.metric) == (scenario, "sync.end_to_end")]
    return one.value, one.censored, one.uncertainty


def test_one_comes_beside_several_and_goes_again_while_all_answers_are_right() -> None:
    made, result, changes = take({"add-endpoint": (40, -1), "remove-endpoint": (-90, 70)})
    assert result.problems == []
    bodies = [change.writes[0].body or {} for change in changes]
    assert [[one["addresses"][0] for one in body["endpoints"]] for body in bodies] == [[*OLD, EXTRA], OLD]
    assert [target.expect for watch in made.watches for target in watch] == [(*OLD, EXTRA)] * 2
    assert sample(result, "add-endpoint") == (40 * MS, False, 24 * MS)
    assert sample(result, "remove-endpoint") == (70 * MS, False, 24 * MS)
    for scenario in ("add-endpoint", "remove-endpoint"):
        assert made.metrics(result, scenario)["event.lost"] == [0]
        assert made.metrics(result, scenario)["sync.control_loop"] == [500_000_000]


@pytest.mark.parametrize(
    ("answers", "scenario"),
    [
        ({"remove-endpoint": (-90, 70)}, "add-endpoint"),  # it was never used
        ({"add-endpoint": (40, -1), "remove-endpoint": (-90, -1)}, "remove-endpoint"),  # it is used to the end
    ],
)
def test_what_does_not_follow_is_censored(answers: dict[str, tuple[int, int]], scenario: str) -> None:
    _, result, _ = take(answers)
    value, censored, _ = sample(result, scenario)
    assert censored
    assert value > 1000 * MS


def test_one_that_was_not_used_any_more_when_it_was_taken_out_took_no_time() -> None:
    _, result, _ = take({"add-endpoint": (40, -1)})
    assert sample(result, "remove-endpoint")[:2] == (0, False)
