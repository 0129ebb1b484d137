"""What a size does to a number: slope per Service, crossover of two modes, a step on the way.

All functions take ``sizes`` (S, ascending: Services, endpoints or rule positions) and ``values`` of shape (R,
S): one row per repetition. The repetition is the replicate here too: each repetition has its own curve, and
intervals come from how the curves differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from proxybench.stats.intervals import CONFIDENCE, Interval, t_interval, t_quantile

FloatArray = NDArray[np.float64]

GRID = 512  # places per crossing at which the difference is tested
ROUNDING = 1e-18  # of squared relative misfits: the line is perfect
MIN_STEP_SIZES = 5  # a line, a jump and something left over to contradict them


@dataclass(frozen=True)
class Slope:
    """Change of the value per unit of size; no interval for fewer than two repetitions."""

    per_unit: float
    interval: Interval | None


def slope(sizes: FloatArray, values: FloatArray, confidence: float = CONFIDENCE) -> Slope:
    """Fit a robust line to each repetition and return the slopes' mean and Student's interval.

    Raises ValueError for fewer than two sizes.
    """
    _check(sizes, values, 2)
    each = np.array([theil_sen(sizes, row) for row in values])
    interval = t_interval(each, confidence) if each.size > 1 else None
    return Slope(float(each.mean()), interval)


def theil_sen(x: FloatArray, y: FloatArray) -> float:
    """Return the median of all pairs' slopes (Theil, 1950; Sen, 1968): 29 % of wild points do no harm."""
    i, j = np.triu_indices(x.size, 1)
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))


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
    """All crossings up to ``up_to``; ``first_lower`` tells who leads at the largest size told apart."""

    outcome: Outcome
    crossings: tuple[Crossing, ...]
    up_to: float
    first_lower: bool | None

    def sentence(self, first: str, second: str) -> str:
        """Say it in words; the lower curve is the faster one."""
        if self.outcome is Outcome.UNDECIDED:
            return f"{first} and {second} were not told apart up to {self.up_to:g}"
        if self.outcome is Outcome.NONE:
            winner, loser = (first, second) if self.first_lower else (second, first)
            return f"{winner} stays below {loser}: none up to {self.up_to:g}"
        return "; ".join(
            f"{first if crossing.first_lower_after else second} overtakes at {crossing.at:.0f} "
            f"({crossing.low:.0f} to {crossing.high:.0f})"
            for crossing in self.crossings
        )


def crossover(sizes: FloatArray, first: FloatArray, second: FloatArray, confidence: float = CONFIDENCE) -> Crossover:
    """Find where ``first`` and ``second`` (R, S; rows paired by repetition, values above 0) change places.

    Between sizes both curves are taken as straight on log-log axes. A lead counts where the interval of the
    mean log ratio excludes 0 at a measured size. Between two sizes with opposite leads lies one crossing, and
    its interval is every size at which the ratio's interval holds 0 (Fieller's way: the test is inverted, so
    the interval covers as often as the test does). Two repetitions at least are needed to tell any lead; with
    one the outcome is undecided. Raises ValueError for unequal shapes, values not above 0 or fewer than two
    sizes.
    """
    _check(sizes, first, 2)
    if first.shape != second.shape:
        raise ValueError("both curves need the same repetitions and sizes")
    if np.any(first <= 0) or np.any(second <= 0) or np.any(sizes <= 0):
        raise ValueError("sizes and values must be above 0: they are compared on log scales")
    x, ratio = np.log(sizes), np.log(first) - np.log(second)
    up_to = float(sizes[-1])
    if len(ratio) < 2:  # noqa: PLR2004 -- one repetition does not tell a lead from chance
        return Crossover(Outcome.UNDECIDED, (), up_to, None)
    low, high = _mean_interval(ratio, confidence)
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    sure = np.flatnonzero(sign)
    if sure.size == 0:
        return Crossover(Outcome.UNDECIDED, (), up_to, None)
    crossings = tuple(_crossing(x, ratio, int(a), int(b), confidence) for a, b in pairwise(sure) if sign[a] != sign[b])
    first_lower = bool(sign[sure[-1]] < 0)
    return Crossover(Outcome.CROSSED if crossings else Outcome.NONE, crossings, up_to, first_lower)


def _crossing(x: FloatArray, ratio: FloatArray, a: int, b: int, confidence: float) -> Crossing:
    grid = np.linspace(x[a], x[b], GRID)
    rows = np.stack([np.interp(grid, x, row) for row in ratio])
    low, high = _mean_interval(rows, confidence)
    mean = rows.mean(axis=0)
    inside = np.flatnonzero((low <= 0) & (high >= 0))
    change = int(np.flatnonzero(np.sign(mean[:-1]) != np.sign(mean[1:]))[0])
    at = grid[change] - mean[change] * (grid[change + 1] - grid[change]) / (mean[change + 1] - mean[change])
    ends = (grid[inside[0]], grid[inside[-1]]) if inside.size else (at, at)
    return Crossing(
        float(np.exp(at)),
        float(np.exp(min(at, ends[0]))),
        float(np.exp(max(at, ends[1]))),
        bool(mean[-1] < 0),
    )


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
