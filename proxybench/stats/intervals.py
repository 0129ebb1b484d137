"""Intervals for the centre of a few repetitions.

Which one is used follows from simulation (docs/statistics.md): with fewer than 20 repetitions a bootstrap
interval covers too little (BCa of five: 82 to 94 %), while Student's t on logarithms keeps 95 % from two
repetitions on; from 20 on, BCa of the median keeps 95 % whatever the skew.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.stats.quantiles import FloatArray

    Statistic = Callable[[FloatArray], FloatArray]

BOOTSTRAP_FROM = 20  # repetitions
SEED = 20_240_229  # any number: the same data must give the same interval
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the values it was made from."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def centre_interval(values: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the interval of the replicates' centre, or None for fewer than two of them.

    ``values``: one number per repetition. Where all are above 0, the work is done on logarithms, since times
    vary in proportion to their size and the interval can then not reach below 0. What is shown beside it is the
    median, which can lie outside of an interval of the mean (of many equal low values and a few high ones): the
    interval is then widened to hold it.
    """
    if values.size < 2:  # noqa: PLR2004 -- one value says nothing about how values vary
        return None
    middle = statistics.median(values.tolist())
    found = _centre_interval(values, confidence)
    return Interval(min(found.low, middle), max(found.high, middle))


def _centre_interval(values: FloatArray, confidence: float) -> Interval:
    if values.size >= BOOTSTRAP_FROM:
        return bca_interval(values, row_medians, confidence)
    least = min(values.tolist())
    if least > 0:
        interval = t_interval(np.log(values), confidence)
        return Interval(float(np.exp(interval.low)), float(np.exp(interval.high)))
    interval = t_interval(values, confidence)
    # Ticks of CPU time, 0 in some repetitions: no time is below 0.
    return Interval(max(0.0, interval.low), interval.high) if least == 0 else interval


def t_interval(values: FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """Return Student's interval of the mean of at least two values."""
    few = values.tolist()  # numpy takes longer to begin than a handful of values take
    centre = math.fsum(few) / len(few)
    variance = math.fsum((value - centre) ** 2 for value in few) / (len(few) - 1)
    half = t_quantile((1 + confidence) / 2, len(few) - 1) * math.sqrt(variance / len(few))
    return Interval(centre - half, centre + half)


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t; the normal's for infinitely many degrees of freedom."""
    return float(special.stdtrit(degrees, probability)) if np.isfinite(degrees) else float(special.ndtri(probability))


def row_medians(rows: FloatArray) -> FloatArray:
    """Return the median of each row."""
    return np.asarray(np.median(rows, axis=-1), dtype=np.float64)


def bca_interval(
    values: FloatArray,
    statistic: Statistic = row_medians,
    confidence: float = CONFIDENCE,
    resamples: int = 2_000,
) -> Interval:
    """Return the bias-corrected and accelerated bootstrap interval (Efron, 1987) of ``statistic``.

    ``statistic`` maps rows of replicates to one number per row. The nominal level is widened by the
    small-sample correction of Hesterberg (2015, "expanded percentile"), since resampling underestimates the
    spread by sqrt((n - 1) / n) and takes normal for t quantiles. Seeded: equal data give equal intervals.
    """
    n = values.size
    point = float(statistic(values[np.newaxis])[0])
    if np.ptp(values) == 0:
        return Interval(point, point)
    draws = np.random.default_rng(SEED).integers(0, n, (resamples, n))
    boot = statistic(values[draws])
    # Ties count half, else the bias of a discrete statistic (a median of few) is exaggerated.
    share = (np.count_nonzero(boot < point) + 0.5 * np.count_nonzero(boot == point)) / resamples
    bias = float(special.ndtri(np.clip(share, 1 / resamples, 1 - 1 / resamples)))
    left_out = statistic(np.stack([np.delete(values, i) for i in range(n)]))
    spread = left_out.mean() - left_out
    scale = float(np.sum(spread**2)) ** 1.5
    acceleration = float(np.sum(spread**3)) / (6 * scale) if scale > 0 else 0.0
    tail = t_quantile((1 + confidence) / 2, n - 1) * np.sqrt(n / (n - 1))
    ends = bias + np.array([-tail, tail])
    levels = special.ndtr(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(boot, levels)
    return Interval(float(low), float(high))
