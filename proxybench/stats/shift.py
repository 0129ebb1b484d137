"""How far two sets of replicates lie apart, and what difference they could have shown."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from proxybench.stats.intervals import CONFIDENCE, Interval, t_quantile

if TYPE_CHECKING:
    from proxybench.stats.quantiles import FloatArray

# The variance of the Hodges-Lehmann shift over that of the difference of means, for normal data: at most this
# for any sizes from 2 to 10 (200,000 simulated pairs each: 3 against 5 is the worst); pi / 3 for many.
HODGES_LEHMANN_VARIANCE = 1.12
# The spread is itself estimated: aiming at 95 % leaves 90 % where it was taken too small (docs/statistics.md).
_NOMINAL_POWER = 0.95


def hodges_lehmann(base: FloatArray, new: FloatArray) -> float:
    """Return the median of all differences ``new - base`` (Hodges and Lehmann, 1963).

    One wild repetition among three moves it little, while it would move the difference of means by a third of
    its own size.
    """
    return float(np.median(new[:, np.newaxis] - base[np.newaxis, :]))


def pseudo_median(rows: FloatArray) -> FloatArray:
    """Return, row by row, the median of the means of all pairs, each value with itself too: the level to that shift."""
    i, j = np.triu_indices(rows.shape[-1])
    return np.asarray(np.median((rows[..., i] + rows[..., j]) / 2, axis=-1), dtype=np.float64)


def hodges_lehmann_interval(base: FloatArray, new: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the distribution-free interval of the shift, from the exact Mann-Whitney distribution.

    None where no two of so few replicates can reach the confidence: 3 against 3 stop at 90 %.
    """
    differences = np.sort((new[:, np.newaxis] - base[np.newaxis, :]).ravel())
    tail = np.cumsum(_rank_sum_chances(base.size, new.size))
    # Differences cut off at each end; 1 - 0.9 is a little less than 0.1, and must not miss a chance of 1 / 10.
    allowed = int(np.searchsorted(tail, (1 - confidence) / 2 + 1e-12, side="right"))
    if allowed == 0:
        return None
    return Interval(float(differences[allowed - 1]), float(differences[-allowed]))


@lru_cache
def _rank_sum_chances(n: int, m: int) -> FloatArray:
    """Return the chance of each value 0..n*m of Mann-Whitney's U when nothing differs.

    The counts are the coefficients of the Gaussian binomial: product of (1 - q^(m+i)) / (1 - q^i), i = 1..n.
    """
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    total = math.comb(n + m, n)
    return np.array([count / total for count in counts])


def mann_whitney_p(base: FloatArray, new: FloatArray) -> float:
    """Return the two-sided p of Mann and Whitney (1947): exact without ties, else normal."""
    joined = np.concatenate([base, new])
    if np.ptp(joined) == 0:
        return 1.0  # nothing to rank; scipy would divide by zero
    if np.unique(joined).size == joined.size:
        wins = int(np.count_nonzero(new[:, np.newaxis] > base[np.newaxis, :]))
        fewer = min(wins, base.size * new.size - wins)
        return min(1.0, 2 * float(_rank_sum_chances(base.size, new.size)[: fewer + 1].sum()))
    return _tied_p(base, new, joined)


def _tied_p(base: FloatArray, new: FloatArray, joined: FloatArray) -> float:
    """Return the normal approximation with the variance corrected for ties, and for continuity."""
    ahead = np.sign(new[:, np.newaxis] - base[np.newaxis, :])
    pairs = base.size * new.size
    wins = float(np.sum(ahead + 1)) / 2
    ties = np.unique(joined, return_counts=True)[1].astype(np.float64)
    n = joined.size
    variance = pairs / 12 * (n + 1 - float(np.sum(ties**3 - ties)) / (n * (n - 1)))
    distance = max(0.0, abs(wins - pairs / 2) - 0.5)
    return min(1.0, 2 * float(special.ndtr(-distance / np.sqrt(variance))))


def minimum_detectable_effect(
    error: float, degrees: float, *, alpha: float, threshold: float = 0.0, unsure: float = 0.0
) -> float:
    """Return the true difference that is found with a power of at least 0.90.

    Found means: the two-sided ``1 - alpha`` interval, widened by what readings are ``unsure`` by, excludes 0 and the
    estimate reaches ``threshold``. ``error`` is the standard error of the estimate with ``degrees`` of freedom; all in
    one unit. The t
    quantile stands for the non-central t here, which simulation finds to be close enough
    (docs/statistics.md).
    """
    bar = max(t_quantile(1 - alpha / 2, degrees) * error + unsure, threshold)
    return bar + t_quantile(_NOMINAL_POWER, degrees) * error
