"""What a size does to a number: slope per Service, crossover of two modes, a step on the way.

All functions take ``sizes`` (S, ascending: Services, endpoints or rule positions) and ``values`` of shape (R,
S): one row per repetition. The repetition is the replicate here too: each repetition has its own curve, and
intervals come from how the curves differ. ``unsure`` of values, of their shape, is what each is uncertain by: intervals
are widened by it (``proxybench.stats.uncertainty``), and a lead that it may explain is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from proxybench.stats.intervals import CONFIDENCE, Interval, t_interval, t_quantile
from proxybench.stats.uncertainty import ratio_reach, widened

FloatArray = NDArray[np.float64]

GRID = 2_048  # places per crossing at which the difference is tested: 0.34 % apart over three decades
ROUNDING = 1e-18  # of squared relative misfits: the line is perfect
MIN_STEP_SIZES = 5  # a line, a jump and something left over to contradict them


@dataclass(frozen=True)
class Slope:
    """Change of the value per unit of size; no interval for fewer than two repetitions."""

    per_unit: float
    interval: Interval | None


def slope(
    sizes: FloatArray, values: FloatArray, confidence: float = CONFIDENCE, *, unsure: FloatArray | None = None
) -> Slope:
    """Fit a robust line to each repetition and return the slopes' mean and Student's interval.

    The interval is widened by how far the lines' slopes can be wrong: a line through the true values of each repetition
    has a slope between those of all pairs' lowest and of all pairs' highest.

    Raises ValueError for fewer than two sizes.
    """
    _check(sizes, values, 2)
    errors = np.zeros_like(values) if unsure is None else unsure
    each, low, high = (
        np.array([weighted_theil_sen(sizes, row, sign * error) for row, error in zip(values, errors, strict=True)])
        for sign in (0.0, -1.0, 1.0)
    )
    if each.size < 2:  # noqa: PLR2004 -- one value says nothing about how values vary
        return Slope(float(each.mean()), None)
    below, above = (float(np.maximum(reach, 0.0).mean()) for reach in (each - low, high - each))
    return Slope(float(each.mean()), widened(t_interval(each, confidence), below, above))


def weighted_theil_sen(x: FloatArray, y: FloatArray, tilt: FloatArray | float = 0.0) -> float:
    """Return the weighted median of all pairs' slopes (Theil, 1950; Sen, 1968), so that few wild points do no harm.

    Weighted by how exactly a pair tells the slope when values vary in proportion: its distance over the root of
    the sum of its squared values. Without weights, the pairs of small sizes decide, which lie next to each other
    and tell nothing: over three decades the interval becomes half as wide again (docs/statistics.md). With a ``tilt``
    for each value, each pair's first one is taken lower, and its second one higher, by so much.
    """
    i, j = np.triu_indices(x.size, 1)
    lift = np.broadcast_to(tilt, y.shape)
    slopes = (y[j] - y[i] + lift[j] + lift[i]) / (x[j] - x[i])
    if not y.any():
        return float(np.median(slopes))
    # A pair of zeros is as exact as the least value that was measured, and no more: it must not outweigh all others.
    weights = (x[j] - x[i]) / np.maximum(np.hypot(y[i], y[j]), np.abs(y[y != 0]).min())
    order = np.argsort(slopes)
    weights = weights[order] / weights.sum()
    return float(np.interp(0.5, np.cumsum(weights) - weights / 2, slopes[order]))


class Outcome(StrEnum):
    """What is known about the order of two curves."""

    CROSSED = "crossed"  # at least one size at which the lead changes hands
    NONE = "none"  # one of them leads wherever they differ, up to the largest size
    UNDECIDED = "undecided"  # they were not told apart at any size


@dataclass(frozen=True)
class Crossing:
    """Where the lead changes hands: ``low`` to ``high`` holds the true size with the chosen confidence."""

    at: float
    low: float
    high: float
    first_lower_after: bool


@dataclass(frozen=True)
class Crossover:
    """All crossings up to ``up_to``; ``first_lower`` tells who leads at the largest of ``told_apart``.

    ``told_apart`` are the measured sizes at which one is shown to be lower, all together at the confidence level.
    """

    outcome: Outcome
    crossings: tuple[Crossing, ...]
    up_to: float
    first_lower: bool | None
    told_apart: tuple[float, ...] = ()
    sizes: int = 0  # how many were measured


def crossover(
    sizes: FloatArray,
    first: FloatArray,
    second: FloatArray,
    confidence: float = CONFIDENCE,
    *,
    unsure: tuple[FloatArray, FloatArray] | None = None,
) -> Crossover:
    """Find where ``first`` and ``second`` (R, S; rows paired by repetition, values above 0) change places.

    Where a repetition lacks a size, NaN stands in either curve, and the others decide there. Between measured sizes
    each value is taken to lie on a straight line over the size, which is exact for a cost of so much plus so much
    per Service; rows are compared by the logarithm of their ratio. A lead is told apart at a measured size by a t
    test of that ratio, with Holm's correction over the sizes: two equal modes get any lead at all in at most ``1 -
    confidence`` of experiments. The lead changes hands between neighbouring sizes of opposite sign; the crossing's
    interval is every size there at which the ratio's interval holds 0 (Fieller's way: the test is inverted, so the
    interval covers as often as the test does). It is asked of the repetitions that have all sizes from one lead to
    the other; where fewer than two do, all that is known is between which sizes it lies. Two repetitions at least
    are needed to tell any lead. ``unsure``, of the first and of the second: leads and crossings are those that hold
    whatever the true values are. Raises ValueError for unequal shapes, sizes or values not above 0, or fewer than
    two sizes.
    """
    _check(sizes, first, 2)
    if first.shape != second.shape:
        raise ValueError("both curves need the same repetitions and sizes")
    if np.any(first <= 0) or np.any(second <= 0) or np.any(sizes <= 0):
        raise ValueError("sizes and values must be above 0: ratios are compared")
    up_to = float(sizes[-1])
    curves = (_Curve(first, np.zeros_like(first)), _Curve(second, np.zeros_like(second)))
    if unsure is not None:
        curves = (_Curve(first, unsure[0]), _Curve(second, unsure[1]))
    sign = _leads(curves, 1 - confidence)
    sure = np.flatnonzero(sign)
    if sure.size == 0:
        return Crossover(Outcome.UNDECIDED, (), up_to, None, (), sizes.size)
    crossings = tuple(
        _crossing(sizes, curves, (int(a), int(b)), confidence) for a, b in pairwise(sure) if sign[a] != sign[b]
    )
    outcome = Outcome.CROSSED if crossings else Outcome.NONE
    told_apart = tuple(float(size) for size in sizes[sure])
    return Crossover(outcome, crossings, up_to, bool(sign[sure[-1]] < 0), told_apart, sizes.size)


@dataclass(frozen=True)
class _Curve:
    """Values, and what each is uncertain by: (R, S) both."""

    values: FloatArray
    unsure: FloatArray

    def at(self, rows: NDArray[np.bool_], columns: slice) -> _Curve:
        return _Curve(self.values[rows, columns], self.unsure[rows, columns])

    def on(self, grid: FloatArray, sizes: FloatArray) -> _Curve:
        """Return it on a finer grid: a straight line is wrong by no more than its ends are, in proportion."""
        values, unsure = (
            np.stack([np.interp(grid, sizes, row) for row in rows]) for rows in (self.values, self.unsure)
        )
        return _Curve(values, unsure)


_Curves = tuple[_Curve, _Curve]


def _log_ratios(curves: _Curves) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the logarithms of the curves' ratio, and how far below and above each the true one may lie."""
    first, second = curves
    below, above = ratio_reach(first.unsure / first.values, second.unsure / second.values)
    return np.log(first.values / second.values), below, above


def _leads(curves: _Curves, alpha: float) -> FloatArray:
    """Return the sign of the mean log ratio at each size, 0 where Holm's procedure (1979) does not tell it from 0."""
    tests = []
    for ratios, below, above in zip(*(part.T for part in _log_ratios(curves)), strict=True):
        known = np.isfinite(ratios)
        tests.append(_sign_and_p(ratios[known], below[known], above[known]))
    p = np.array([each for _, each in tests])
    order = np.argsort(p, kind="stable")
    passed = p[order] <= alpha / np.arange(p.size, 0, -1)
    sign = np.zeros(p.size)
    for place in order[np.logical_and.accumulate(passed)]:
        sign[place] = tests[place][0]
    return sign


def _sign_and_p(ratios: FloatArray, below: FloatArray, above: FloatArray) -> tuple[float, float]:
    """Return the sign of the mean, and the p of a t test that it is 0, or as near to it as its errors may bring it."""
    count = ratios.size
    if count < 2:  # noqa: PLR2004 -- one value says nothing about how values vary
        return 0.0, 1.0
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(count))
    left = abs(mean) - float((below if mean > 0 else above).mean())
    if left <= 0:  # equal in every repetition, 0 / 0; or all of it may be the readings' own
        return 0.0, 1.0
    p = 2 * float(special.stdtr(count - 1, -left / error)) if error > 0 else 0.0
    return float(np.sign(mean)), p


def _crossing(sizes: FloatArray, curves: _Curves, ends: tuple[int, int], confidence: float) -> Crossing:
    """Locate the change of the lead between the sizes of the two indices, at which the leads are opposite."""
    here = slice(ends[0], ends[1] + 1)
    sizes, logs = sizes[here], np.log(curves[0].values[:, here] / curves[1].values[:, here])
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(logs).all(axis=1))
    before, after = np.nanmean(logs[:, [0, -1]], axis=0).tolist()
    mean = logs[whole].mean(axis=0) if whole.sum() > 1 else np.zeros(2)
    if np.sign(mean[0]) != np.sign(before) or np.sign(mean[-1]) != np.sign(after):  # those that have all do not show it
        at = sizes[0] * (sizes[-1] / sizes[0]) ** (before / (before - after))
        return Crossing(float(at), float(sizes[0]), float(sizes[-1]), after < 0)
    grid = np.geomspace(sizes[0], sizes[-1], GRID)
    one, two = (curve.at(whole, here).on(grid, sizes) for curve in curves)
    rows, below, above = _log_ratios((one, two))
    low, high = _mean_interval(rows, confidence)
    low, high = low - below.mean(axis=0), high + above.mean(axis=0)
    mean = rows.mean(axis=0)
    change = int(np.flatnonzero(np.sign(mean[:-1]) != np.sign(mean[1:]))[0])
    at = grid[change] - mean[change] * (grid[change + 1] - grid[change]) / (mean[change + 1] - mean[change])
    open_ = np.flatnonzero((low <= 0) & (high >= 0))
    # The true ends lie between two places: the outer ones are taken.
    start, stop = (max(int(open_[0]) - 1, 0), min(int(open_[-1]) + 1, GRID - 1)) if open_.size else (change, change + 1)
    return Crossing(float(at), float(min(at, grid[start])), float(max(at, grid[stop])), bool(mean[-1] < 0))


def _mean_interval(rows: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    count = len(rows)
    half = t_quantile((1 + confidence) / 2, count - 1) * rows.std(axis=0, ddof=1) / np.sqrt(count)
    mean = rows.mean(axis=0)
    return mean - half, mean + half


@dataclass(frozen=True)
class Step:
    """A jump between two neighbouring sizes: ``relative`` to the level before it."""

    after: float
    before: float
    relative: float
    p: float


def find_step(sizes: FloatArray, values: FloatArray, alpha: float = 0.01) -> Step | None:
    """Find the one jump that a straight line cannot explain, such as kube-proxy's large-cluster mode.

    The line and the line with a jump are fitted to the sizes' means, weighted by 1 / value^2 since times vary in
    proportion. The gain must be beyond the repetitions' own spread (F test, Bonferroni over the places searched)
    and be at least half of all that the line leaves unexplained, else a bent curve would count as a step. None
    for fewer than five sizes or two repetitions.
    """
    _check(sizes, values, 1)
    repetitions = len(values)
    if sizes.size < MIN_STEP_SIZES or repetitions < 2:  # noqa: PLR2004 -- no spread, no test
        return None
    mean = values.mean(axis=0)
    weight = 1 / mean
    line = np.stack([np.ones_like(sizes), sizes / sizes[-1]], axis=1)
    plain = _misfit(line, mean, weight)[0]
    degrees = sizes.size * (repetitions - 1)
    noise = float(np.sum((values / mean - 1) ** 2)) / degrees / repetitions
    fits = []
    for place in range(1, sizes.size):
        jump = (np.arange(sizes.size) >= place).astype(np.float64)
        misfit, coefficients = _misfit(np.column_stack([line, jump]), mean, weight)
        fits.append((misfit, place, float(coefficients[2])))
    misfit, place, jump_height = min(fits)
    gain = plain - misfit
    if gain <= plain / 2 or gain <= ROUNDING:
        return None
    p = float(special.fdtrc(1, degrees, gain / noise)) if noise > 0 else 0.0
    p = min(1.0, p * len(fits))
    if p > alpha:
        return None
    return Step(float(sizes[place - 1]), float(sizes[place]), jump_height / float(mean[place - 1]), p)


def _misfit(columns: FloatArray, mean: FloatArray, weight: FloatArray) -> tuple[float, FloatArray]:
    coefficients = np.linalg.lstsq(columns * weight[:, np.newaxis], mean * weight, rcond=None)[0]
    residual = (mean - columns @ coefficients) * weight
    return float(np.sum(residual**2)), np.asarray(coefficients, dtype=np.float64)


def _check(sizes: FloatArray, values: FloatArray, least: int) -> None:
    if values.ndim != 2 or values.shape[1] != sizes.size:  # noqa: PLR2004 -- rows of repetitions
        raise ValueError("values must have one row per repetition and one column per size")
    if sizes.size < least or np.any(np.diff(sizes) <= 0):
        raise ValueError(f"at least {least} sizes are needed, in ascending order")
