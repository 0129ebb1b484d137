from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.stats.changes import change_points
from proxybench.stats.curves import Outcome, crossover, slope
from proxybench.stats.intervals import Interval
from proxybench.stats.shift import minimum_detectable_effect
from proxybench.stats.uncertainty import ratio_reach, widened

TRUE = st.floats(1.0, 1e6)
SHARE = st.floats(0.0, 0.9)
ERRORS = st.floats(-1.0, 1.0)
SIZES = np.array([10.0, 100.0, 1000.0, 10000.0])


def test_an_interval_is_widened_at_both_ends() -> None:
    assert widened(Interval(95.0, 105.0), 30.0) == Interval(65.0, 135.0)
    assert widened(Interval(-1.0, 1.0), 2.0, 3.0) == Interval(-3.0, 4.0)
    assert widened(Interval(95.0, 105.0), 0.0) == Interval(95.0, 105.0)


def test_the_reach_of_a_ratio() -> None:
    """200 ± 20 over 100 ± 20: from 180 / 120 to 220 / 80."""
    below, above = ratio_reach(0.1, 0.2)
    assert (2 * math.exp(-below), 2 * math.exp(above)) == pytest.approx((180 / 120, 220 / 80))
    assert [float(end) for end in ratio_reach(0.0, 0.0)] == [0.0, 0.0]
    below, above = ratio_reach(0.1, 1.0)  # a base that may be nothing: no upper end
    assert [2 * math.exp(-below), above] == pytest.approx([180 / 200, math.inf])
    below, above = ratio_reach(1.5, 0.2)
    assert [below, 2 * math.exp(above)] == pytest.approx([math.inf, 5 / 0.8])


@given(TRUE, TRUE, SHARE, SHARE, ERRORS, ERRORS)
def test_a_ratio_of_true_values_is_within_reach(
    first: float, second: float, over: float, under: float, one: float, two: float
) -> None:
    below, above = ratio_reach(over, under)
    off = math.log((1 + one * over) / (1 + two * under))
    assert -below - 1e-9 <= math.log(first / second) + off - math.log(first / second) <= above + 1e-9


@given(
    st.integers(0, 10_000),
    st.integers(-10_000, 10_000).map(lambda milli: milli / 1000),
    st.lists(st.tuples(st.integers(0, 500), ERRORS.map(lambda share: round(share, 6))), min_size=4, max_size=4),
)
def test_the_slope_of_a_line_is_within_what_its_points_are_uncertain_by(
    start: int, per_unit: float, errors: list[tuple[int, float]]
) -> None:
    unsure, signs = (np.array(column) for column in zip(*errors, strict=True))
    row = start + per_unit * SIZES + signs * unsure
    found = slope(SIZES, np.stack([row, row]), unsure=np.stack([unsure, unsure])).interval
    assert found is not None
    assert found.low - 1e-6 <= per_unit <= found.high + 1e-6


def test_the_slope_between_two_sizes_is_uncertain_by_both_of_them() -> None:
    values, unsure = np.array([[100.0, 300.0]] * 3), np.array([[5.0, 15.0]] * 3)
    found = slope(np.array([0.0, 10.0]), values, unsure=unsure)
    assert found.per_unit == 20.0
    assert found.interval == Interval(18.0, 22.0)
    flat = slope(np.array([0.0, 10.0]), np.zeros((2, 2)), unsure=unsure[:2])
    assert (flat.per_unit, flat.interval) == (0.0, Interval(-2.0, 2.0))
    alone = slope(np.array([0.0, 10.0]), values[:1], unsure=unsure[:1])
    assert (alone.per_unit, alone.interval) == (20.0, None)


def test_a_crossing_is_uncertain_by_what_its_points_are() -> None:
    """A line of 1 per Service and a level of 300 ± 60: it crosses between 240 and 360."""
    line, level = np.tile(SIZES, (2, 1)), np.full((2, 4), 300.0)
    sharp = crossover(SIZES, line, level).crossings
    wide = crossover(SIZES, line, level, unsure=(np.zeros((2, 4)), np.full((2, 4), 60.0))).crossings
    assert (sharp[0].low, sharp[0].high) == pytest.approx((300, 300), rel=0.01)
    assert (wide[0].at, wide[0].low, wide[0].high) == pytest.approx((300, 240, 360), rel=0.01)
    both = crossover(SIZES, line, level, unsure=(np.full((2, 4), 60.0), np.full((2, 4), 60.0))).crossings
    assert (both[0].low, both[0].high) == pytest.approx((180, 420), rel=0.01)


def test_a_lead_that_readings_may_explain_is_none() -> None:
    first, second = np.full((3, 4), 100.0), np.full((3, 4), 110.0)
    unsure = np.array([[4.0, 4.0, 6.0, 200.0]] * 3)
    assert crossover(SIZES, first, second).told_apart == tuple(SIZES)
    found = crossover(SIZES, first, second, unsure=(unsure, unsure))
    assert (found.outcome, found.told_apart, found.first_lower) == (Outcome.NONE, (10.0, 100.0), True)
    found = crossover(SIZES, first, second, unsure=(unsure + 5, unsure))
    assert found.outcome is Outcome.UNDECIDED


@given(
    st.floats(50.0, 5000.0),
    st.floats(0.0, 0.3),
    st.lists(ERRORS, min_size=8, max_size=8),
)
def test_no_lead_and_no_crossing_contradicts_the_true_curves(place: float, share: float, errors: list[float]) -> None:
    """The true curves are a line and a level that meet at ``place``; each reading is off by up to ``share`` of it."""
    true = (SIZES + 100, np.full(4, place + 100))
    signs = (np.array(errors[:4]), np.array(errors[4:]))
    read = [values * (1 + share * sign) for values, sign in zip(true, signs, strict=True)]
    unsure = [np.tile(share * values, (2, 1)) for values in true]
    found = crossover(
        SIZES, np.tile(read[0], (2, 1)), np.tile(read[1], (2, 1)), unsure=(unsure[0] + 1e-6, unsure[1] + 1e-6)
    )
    ahead = {float(size): bool(one < two) for size, one, two in zip(SIZES, *true, strict=True)}
    if found.told_apart:
        assert found.first_lower == ahead[found.told_apart[-1]]
    assert len(found.crossings) <= 1
    for crossing in found.crossings:
        assert crossing.low <= place * 1.01
        assert crossing.high >= place * 0.99


def test_a_move_no_larger_than_the_readings_are_uncertain_by_is_none() -> None:
    values = np.r_[np.full(6, 100.0), np.full(6, 110.0), np.full(6, 150.0)] * (1 + 1e-4 * np.arange(18))
    assert [change.index for change in change_points(values)] == [6, 12]
    (found,) = change_points(values, unsure=np.full(18, 6.0))
    assert found.index == 12
    assert found.after == pytest.approx(150.0, rel=0.01)
    assert found.before == pytest.approx(105.0, rel=0.01)  # of all runs before it
    assert change_points(values, unsure=np.full(18, 40.0)) == ()
    # The latest runs were read more coarsely: what they say is less sure, not what was said before.
    late = np.r_[np.full(12, 1.0), np.full(6, 45.0)]
    assert [change.index for change in change_points(values, unsure=late)] == [6]


def test_what_is_detected_lies_beyond_what_is_not_resolved() -> None:
    plain, coarse = (minimum_detectable_effect(0.01, 8, alpha=0.05, unsure=unsure) for unsure in (0.0, 0.1))
    assert coarse - plain == pytest.approx(0.1)
    assert minimum_detectable_effect(0.01, 8, alpha=0.05, threshold=0.5, unsure=0.1) == pytest.approx(
        0.5 + plain - 2.306 * 0.01, abs=1e-4
    )
