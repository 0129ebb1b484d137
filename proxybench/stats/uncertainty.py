"""What readings are uncertain by, beside what repetitions scatter: one definition for every interval. Pure.

A reading's error (a probe's step, the offset of two clocks, a generator's lag, a clock tick) may be the same in every
repetition, so averaging takes nothing of it away. What repetitions give is therefore moved outwards by all of it, at
both ends; where several readings take part, their errors count as if each pointed the worst way. Then, if every true
value lies within its reading ``± uncertainty``, an interval holds the truth at least as often as it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxybench.stats.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from proxybench.stats.quantiles import FloatArray


def widened(interval: Interval, below: float, above: float | None = None) -> Interval:
    """Return an interval with its ends moved outwards: of a level by its uncertainty, of a difference by both.

    ``above`` is as much as ``below`` unless it is given.
    """
    return Interval(interval.low - below, interval.high + (below if above is None else above))


def ratio_reach(over: ArrayLike, under: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return how far below and above that of its readings the logarithm of a true ratio may lie, both ``>= 0``.

    ``over`` and ``under``: what numerator and denominator are uncertain by, as shares of themselves. The true ratio is
    from ``(1 - over) / (1 + under)`` to ``(1 + over) / (1 - under)`` times the readings': without an end where one is
    no larger than its uncertainty.
    """
    first, second = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    return np.log1p(second) - _log_rest(first), np.log1p(first) - _log_rest(second)


def _log_rest(share: FloatArray) -> FloatArray:
    """Return the logarithm of what a share leaves of 1; minus infinity where it leaves nothing."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(1 - share, 0.0))
