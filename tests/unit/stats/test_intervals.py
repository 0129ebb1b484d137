from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.stats.intervals import Interval, bca_interval, centre_interval, t_interval

POSITIVE = st.floats(1, 1e12)


def test_one_repetition_has_no_interval() -> None:
    assert centre_interval(np.array([5.0])) is None


def test_three_repetitions_take_students_t_on_logarithms() -> None:
    # exp(mean -+ 4.302653 * sd / sqrt(3)) of log(100, 110, 121), mean log(110), sd log(1.1)
    interval = centre_interval(np.array([100.0, 110.0, 121.0]))
    assert interval is not None
    half = 4.302653 * np.log(1.1) / np.sqrt(3)
    assert interval.low == pytest.approx(110 * np.exp(-half), rel=1e-6)
    assert interval.high == pytest.approx(110 * np.exp(half), rel=1e-6)


def test_zero_is_taken_on_the_plain_scale() -> None:
    interval = centre_interval(np.array([0.0, 2.0]))
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([0, 13.7062], abs=1e-4)


@pytest.mark.parametrize("count", [2, 5, 19, 20, 40])
def test_values_without_noise_give_a_point(count: int) -> None:
    interval = centre_interval(np.full(count, 1234.0))
    assert interval is not None
    assert interval.low == pytest.approx(1234.0)
    assert interval.high == pytest.approx(1234.0)


def test_the_bootstrap_is_the_same_every_time() -> None:
    values = np.random.default_rng(3).normal(100, 5, 25)
    assert bca_interval(values) == bca_interval(values)


@given(st.lists(POSITIVE, min_size=2, max_size=19), st.floats(0.001, 1000))
def test_the_interval_scales_with_the_unit(values: list[float], factor: float) -> None:
    plain, scaled = centre_interval(np.array(values)), centre_interval(np.array(values) * factor)
    assert plain is not None
    assert scaled is not None
    assert scaled.low == pytest.approx(plain.low * factor, rel=1e-6)
    assert 1.0 in Interval(0.5, 1.0)
    assert plain.low <= plain.high


@given(st.lists(POSITIVE, min_size=2, max_size=25))
def test_the_median_lies_in_its_interval(values: list[float]) -> None:
    interval = centre_interval(np.array(values))
    assert interval is not None
    assert interval.low <= np.median(values) <= interval.high


def test_a_median_outside_of_the_interval_of_the_mean_widens_it() -> None:
    # Ten zeros on the scale of logarithms and nine ones: mean 9 / 19, sd 0.513, t quantile 2.1009.
    interval = centre_interval(np.exp(np.r_[np.zeros(10), np.ones(9)]))
    assert interval is not None
    assert interval.low == 1.0
    assert interval.high == pytest.approx(np.exp(9 / 19 + 2.100922 * 0.512989 / np.sqrt(19)), rel=1e-5)


def test_an_interval_of_times_of_which_some_are_nought_does_not_reach_below() -> None:
    times = np.array([0.0, 0.0, 10.0])
    plain = t_interval(times)
    assert plain.low < 0
    assert centre_interval(times) == Interval(0.0, plain.high)
    differences = np.array([-1.0, 0.0, 10.0])
    assert centre_interval(differences) == t_interval(differences)
