"""What a gate's tables say of a number: the same as the report."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from proxybench.gate import words
from proxybench.gate.outcome import Comparison, Verdict
from proxybench.model import ClockKind
from proxybench.testing.model import make_key

WALL = make_key(metric="sync.end_to_end", scenario="delete-one", clock="wall")
ITEM = Comparison(WALL, Verdict.SAME, judged=True, threshold=0.05, base=0.0, new=30e6, shift=30e6)


def shown(item: Comparison) -> tuple[str, ...]:
    """Return base, new and shift of the table's row."""
    return words.cells(item)[2:5]


def test_what_is_not_resolved_is_told_as_what_it_is_less_than() -> None:
    assert shown(ITEM) == ("< 1 µs", "30 ms", "30 ms")
    assert shown(replace(ITEM, base_uncertainty=2e6, new_uncertainty=2e6)) == ("≤ 2 ms", "30 ms", "30 ms")
    assert words.line(ITEM) == f"{WALL.label()}: same, < 1 µs -> 30 ms"


def test_a_shift_that_readings_may_explain_has_no_sign() -> None:
    close = replace(ITEM, base=31e6, new=30e6, shift=-1e6, base_uncertainty=2e6, new_uncertainty=2e6)
    assert shown(close) == ("31 ms", "30 ms", "within ±5 ms")
    assert shown(replace(close, base_uncertainty=0.0, new_uncertainty=0.0)) == ("31 ms", "30 ms", "-1 ms")
    assert shown(replace(ITEM, base=30e6, shift=0.0)) == ("30 ms", "30 ms", "0")


def test_a_time_out_is_a_bound() -> None:
    late = replace(ITEM, base=20e9, base_bounded=True, new=None, shift=None)
    assert shown(late) == ("> 20 s", "-", "-")


def test_instructions_lack_their_noun_in_a_table_only() -> None:
    item = replace(ITEM, key=replace(WALL, clock=ClockKind.INSTRUCTIONS), base=12_300_000.0)
    assert shown(item) == ("12.3 M", "30 M", "30 M")
    assert words.base_value(item) == "12.3 M instructions"
    assert (words.base_value(replace(item, base=0.0)), shown(replace(item, base=0.0))[0]) == (
        "< 1 k instructions",
        "< 1 k",
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "-"),
        (0.02, "+2.00 %"),
        (-0.5, "-50.00 %"),
        (9.99, "+999.00 %"),
        (11.34, "12 times"),
        (49_999, "50,000 times"),
    ],
)
def test_a_large_share_is_told_as_how_many_times(share: float | None, text: str) -> None:
    assert words.share(share) == text


def test_an_interval_without_an_upper_end_has_a_lower_one() -> None:
    assert words.interval(ITEM) == ""
    assert words.interval(replace(ITEM, low=0.5, high=math.inf)) == "above +50.00 %"
    assert words.interval(replace(ITEM, low=-1.0, high=math.inf)) == ""
    assert words.interval(replace(ITEM, low=-0.1, high=0.2)) == "-10.00 % to +20.00 %"
