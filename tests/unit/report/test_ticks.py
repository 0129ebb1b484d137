from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.report.ticks import linear_ticks, log_ticks, without_overlap

MIB = 2.0**20


@pytest.mark.parametrize(
    ("low", "high", "unit", "ticks"),
    [
        (40e3, 900e3, "ns", [50e3, 100e3, 200e3, 500e3]),
        (40e3, 160e3, "ns", [50e3, 70e3, 100e3, 150e3]),
        (3e3, 2e7, "ns", [1e4, 1e5, 1e6, 1e7]),
        (1e3, 1e13, "ns", [1e4, 1e6, 1e8, 1e10, 1e12]),
        (11 * MIB, 300 * MIB, "bytes", [16 * MIB, 32 * MIB, 64 * MIB, 128 * MIB, 256 * MIB]),
        (15 * MIB, 50 * MIB, "bytes", [16 * MIB, 24 * MIB, 32 * MIB, 48 * MIB]),
    ],
)
def test_logarithmic_marks_are_round(low: float, high: float, unit: str, ticks: list[float]) -> None:
    assert log_ticks(low, high, unit) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(-30.0, 570.0, [0, 100, 200, 300, 400, 500]), (0.0, 9.0, [0, 2, 4, 6, 8]), (-3.0, 3.0, [-2, 0, 2])],
)
def test_straight_marks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert linear_ticks(low, high, "ns") == pytest.approx(ticks)


@given(
    st.floats(-1e12, 1e12, allow_nan=False), st.floats(1e-3, 1e12), st.sampled_from(["ns", "bytes"]), st.integers(2, 9)
)
def test_straight_marks_fit(low: float, length: float, unit: str, most: int) -> None:
    high = low + length
    found = linear_ticks(low, high, unit, most)
    assert len(found) <= most
    rounding = (max(abs(low), abs(high)) + length) * 1e-9  # a mark at 0 stands for a low of 5e-324
    assert all(low - rounding <= tick <= high + rounding for tick in found)


@given(st.floats(1e-3, 1e12), st.floats(3.0, 1e15), st.sampled_from(["ns", "bytes"]), st.integers(3, 9))
def test_logarithmic_marks_fit_and_there_is_one_at_least(low: float, ratio: float, unit: str, most: int) -> None:
    found = log_ticks(low, low * ratio, unit, most)
    assert 1 <= len(found) <= most
    assert found == sorted(set(found))


def test_labels_that_would_touch_make_way_for_the_last() -> None:
    assert without_overlap([0, 50, 100], [20, 20, 20], 4) == [0, 1, 2]
    assert without_overlap([0, 80, 100], [20, 20, 20], 4) == [0, 2]
    assert without_overlap([], [], 4) == []
