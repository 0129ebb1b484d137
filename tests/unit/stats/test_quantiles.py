from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.stats.quantiles import Quantile, exact_quantile, grouped_quantile, quantile

NONE = np.zeros(5, dtype=np.bool_)


def test_known_values_are_those_of_linear_interpolation() -> None:
    values = np.array([40, 10, 30, 20, 50])
    assert quantile(values, NONE, 0.5) == Quantile(30.0, censored=False)
    assert quantile(values, NONE, 0.9) == Quantile(46.0, censored=False)
    assert quantile(values, NONE, 1.0) == Quantile(50.0, censored=False)


def test_a_quantile_in_the_censored_mass_is_a_lower_bound() -> None:
    values = np.array([10, 20, 30, 100, 100])
    censored = np.array([False, False, False, True, True])
    assert quantile(values, censored, 0.5) == Quantile(30.0, censored=False)
    assert quantile(values, censored, 0.9) == Quantile(100.0, censored=True)


def test_an_early_time_out_makes_even_the_median_uncertain() -> None:
    values = np.array([1, 20, 30, 40, 50])
    assert quantile(values, np.array([True, False, False, False, False]), 0.5) == Quantile(30.0, censored=True)


@pytest.mark.parametrize(
    ("values", "censored", "q", "message"),
    [
        ([], [], 0.5, "no samples: a quantile needs at least one"),
        ([1], [False], 1.1, "a quantile lies between 0 and 1, not 1.1"),
        ([1], [False, True], 0.5, "values and censored must be one-dimensional and of one length"),
    ],
)
def test_nonsense_is_refused(values: list[int], censored: list[bool], q: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantile(np.array(values, dtype=np.int64), np.array(censored, dtype=np.bool_), q)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.floats(0, 1))
def test_it_is_numpys_quantile(values: list[int], q: float) -> None:
    array = np.array(values, dtype=np.float64)
    assert exact_quantile(array, q) == pytest.approx(np.quantile(array, q), rel=1e-9, abs=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_what_is_reported_never_exceeds_the_truth(pairs: list[tuple[int, bool]], q: float, late: int) -> None:
    values = np.array([value for value, _ in pairs], dtype=np.int64)
    censored = np.array([flag for _, flag in pairs])
    true = values + np.where(censored, late, 0)
    found = quantile(values, censored, q)
    assert found.value <= exact_quantile(true, q) + 1e-6
    if not found.censored:
        assert found.value == pytest.approx(exact_quantile(true, q))


def test_a_grouped_median_moves_with_the_share_of_its_steps() -> None:
    for ones, median in ((0, 60.0), (30, 60.214285714), (50, 60.5), (70, 60.785714286), (100, 61.0)):
        values = np.array([60] * (100 - ones) + [61] * ones)
        assert grouped_quantile(values, 0.5, 1.0) == pytest.approx(median)
    late = np.array([False, True])
    assert quantile(np.array([60, 61]), late, 0.5, 1.0) == Quantile(60.5, censored=True)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=50), st.floats(0, 1))
def test_a_grouped_quantile_lies_in_the_step_of_the_plain_one(values: list[int], q: float) -> None:
    array = np.array(values, dtype=np.int64)
    low, high = np.quantile(array, q, method="inverted_cdf"), np.quantile(array, q, method="higher")
    found = quantile(array, np.zeros(array.size, dtype=np.bool_), q, 1.0).value
    assert low - 0.5 <= found <= high + 0.5
