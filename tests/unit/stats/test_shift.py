from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from proxybench.stats.moderate import moderate
from proxybench.stats.shift import (
    hodges_lehmann,
    hodges_lehmann_interval,
    mann_whitney_p,
    minimum_detectable_effect,
)

FEW = st.lists(st.integers(0, 20), min_size=2, max_size=8)


def test_one_wild_repetition_hardly_moves_the_shift() -> None:
    base = np.array([10.0, 11.0, 12.0])
    assert hodges_lehmann(base, np.array([10.0, 11.0, 1000.0])) == 0.0
    assert hodges_lehmann(base, base + 3) == 3.0


def test_three_against_three_cannot_reach_95_per_cent() -> None:
    three = np.array([1.0, 2.0, 3.0])
    assert hodges_lehmann_interval(three, three + 10) is None
    found = hodges_lehmann_interval(three, three + 10, confidence=0.9)
    assert found is not None
    assert (found.low, found.high) == (8.0, 12.0)


def test_known_interval_of_five_against_five() -> None:
    # The critical value of U for 5 against 5 at 5 % is 2: the third smallest and greatest differences bound it.
    base = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    found = hodges_lehmann_interval(base, np.array([32.0, 64.0, 128.0, 256.0, 512.0]))
    assert found is not None
    differences = np.sort((np.array([32, 64, 128, 256, 512])[:, None] - base).ravel())
    assert (found.low, found.high) == (differences[2], differences[-3])


@given(FEW, FEW)
def test_mann_whitney_is_scipys(base: list[int], new: list[int]) -> None:
    joined = base + new
    if len(set(joined)) == 1:
        assert mann_whitney_p(np.array(base, dtype=float), np.array(new, dtype=float)) == 1.0
        return
    untied = len(set(joined)) == len(joined)
    expected = stats.mannwhitneyu(
        [float(x) for x in base],
        [float(x) for x in new],
        alternative="two-sided",
        method="exact" if untied else "asymptotic",
    ).pvalue
    assert mann_whitney_p(np.array(base, dtype=float), np.array(new, dtype=float)) == pytest.approx(expected)


def test_what_can_be_detected_grows_with_error_and_threshold() -> None:
    # 4.055627 and 1.644854 are the normal quantiles of 1 - 0.00005 / 2 and 0.95.
    found = minimum_detectable_effect(0.001, np.inf, alpha=0.00005)
    assert found == pytest.approx(0.001 * (4.055627 + 1.644854), rel=1e-5)
    assert minimum_detectable_effect(0.001, np.inf, alpha=0.00005, threshold=0.01) == pytest.approx(0.011644854)


def test_variances_that_agree_are_pooled() -> None:
    found = moderate(np.full(50, 4.0), np.full(50, 4.0))
    assert found.variances == pytest.approx(np.full(50, 4.0))
    assert found.degrees == pytest.approx(np.full(50, 200.0))


def test_variances_that_disagree_are_left_nearly_alone() -> None:
    variances = np.geomspace(1e-6, 1e2, 20)
    found = moderate(variances, np.full(20, 4.0))
    assert np.all(found.degrees < 5)
    assert found.variances[-1] == pytest.approx(variances[-1], rel=0.2)


def test_a_lonely_point_stands_for_itself() -> None:
    found = moderate(np.array([2.0]), np.array([4.0]))
    assert (found.variances[0], found.degrees[0]) == (2.0, 4.0)


def test_no_noise_at_all_is_no_error() -> None:
    found = moderate(np.zeros(3), np.full(3, 4.0))
    assert found.variances == pytest.approx(np.zeros(3), abs=1e-9)


def test_without_repetitions_nothing_is_known() -> None:
    with pytest.raises(ValueError, match="no point has two repetitions: nothing tells how they vary"):
        moderate(np.zeros(2), np.zeros(2))
