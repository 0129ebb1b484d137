"""Variances of few repetitions, steadied by those of the same metric at other points.

Three repetitions tell little about their own spread: a t test with four degrees of freedom must ask for
25 standard errors before one of 200 comparisons may count. But all points of one metric are measured by
the same procedure, so their spreads, taken on logarithms, are alike. Empirical Bayes (Smyth, 2004, "Linear
models and empirical Bayes methods") learns from the data *how* alike: variances that agree are pooled almost
fully, variances that do not are left nearly alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from proxybench.stats.quantiles import FloatArray

TINY_VARIANCE = 1e-10  # of logarithms: a spread of 0.001 %, below which no clock or scheduler is that even


@dataclass(frozen=True)
class Moderated:
    """Variances and degrees of freedom to test with, one per point."""

    variances: FloatArray
    degrees: FloatArray


def moderate(variances: FloatArray, degrees: FloatArray) -> Moderated:
    """Shrink each variance towards the common one.

    ``variances[i]`` has ``degrees[i]`` (0 where a point has too few repetitions to vary). Raises ValueError
    when no point has any.
    """
    known = degrees > 0
    if not known.any():
        raise ValueError("no point has two repetitions: nothing tells how they vary")
    prior_variance, prior_degrees = _prior(np.maximum(variances[known], TINY_VARIANCE), degrees[known])
    total = float(degrees.sum())
    if np.isinf(prior_degrees):
        # All alike: one pooled variance, known as well as all repetitions together tell.
        pooled = float(np.sum(variances[known] * degrees[known]) / total)
        return Moderated(np.full(variances.shape, pooled), np.full(variances.shape, total))
    own = np.where(known, variances, 0.0)
    shrunk = (prior_degrees * prior_variance + degrees * own) / (prior_degrees + degrees)
    return Moderated(shrunk, np.minimum(prior_degrees + degrees, total))


def _prior(variances: FloatArray, degrees: FloatArray) -> tuple[float, float]:
    """Fit the scaled inverse chi-squared prior by the moments of the logarithms (Smyth, 2004, 6.2)."""
    half = degrees / 2
    centred = np.log(variances) - special.digamma(half) + np.log(half)
    if variances.size == 1:
        return float(variances[0]), 0.0  # nothing to learn from
    excess = float(np.var(centred, ddof=1) - np.mean(special.polygamma(1, half)))
    if excess <= 0:
        return float(np.exp(centred.mean())), float("inf")
    prior_half = _inverse_trigamma(excess)
    log_variance = float(centred.mean()) + special.digamma(prior_half) - np.log(prior_half)
    return float(np.exp(log_variance)), 2 * prior_half


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method, monotone from this start (Smyth, 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x
