from __future__ import annotations

import numpy as np
import pytest

from proxybench.gate.trend import limits, scale
from proxybench.stats.changes import MIN_SEGMENT, change_points, seen_after


def test_two_per_cent_can_be_seen_and_a_thousandth_is_not_blown_up() -> None:
    for values in (np.array([100.0, 102.0]), np.array([100.0, 100.1])):
        low, high = limits(values)
        assert low > 0
        assert (high - low) / 100 == pytest.approx(0.04, rel=0.02)
    low, high = limits(np.array([100.0, 150.0]))
    assert (low, high) == pytest.approx((95, 155))
    assert limits(np.array([0.0, 10.0])) == (0.0, 11.0)
    assert limits(np.zeros(3)) == (0.0, 1.0)


def test_an_axis_has_the_unit_a_person_would_choose() -> None:
    assert scale(167_000, "ns") == (1_000, "µs")
    assert scale(2**21, "bytes") == (2**20, "MiB")
    assert scale(3, "ns") == (1, "ns")
    assert scale(0.0, "ns") == (1, "ns")
    assert scale(5.0, "connections") == (1, "connections")


@pytest.mark.parametrize(("runs", "late"), [(9, None), (10, 5), (11, 4), (12, 3), (16, 3), (22, 2), (30, 2)])
def test_a_late_move_is_seen_when_it_is_said_to_be(runs: int, late: int | None) -> None:
    assert seen_after(runs) == late

    def marks(moved: int) -> int:
        wobble = 1 + 1e-4 * np.random.default_rng(runs).normal(size=runs)
        return len(change_points(np.r_[np.full(runs - moved, 100.0), np.full(moved, 105.0)] * wobble))

    if late is None:
        assert not any(marks(moved) for moved in range(MIN_SEGMENT, runs))
        return
    assert marks(late) == 1
    assert marks(late - 1) == 0
