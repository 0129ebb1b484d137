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

# The prior's degrees of freedom are themselves estimated from a few points: counted in full, they made false alarms
# of five unlike runs (docs/statistics.md).
PRIOR_COUNTED = 0.5
TINY_VARIANCE = 1e-10  # of logarithms: a spread of 0.001 %, below which no clock or scheduler is that even


@dataclass(frozen=True)
class Moderated:
    """Variances and degrees of freedom to test with, one per point."""

    variances: FloatArray
    degrees: FloatArray


def moderate(variances: FloatArray, degrees: FloatArray) -> Moderated:
    """Shrink each variance towards the common one.

    ``variances[..., i]`` has ``degrees[i]`` (0 where a point has too few repetitions to vary); leading axes, where
    there are any, are experiments of their own. Raises ValueError when no point has any degrees of freedom.
    """
    known = degrees > 0
    if not known.any():
        raise ValueError("no point has two repetitions: nothing tells how they vary")
    level, prior = _prior(np.maximum(variances[..., known], TINY_VARIANCE), degrees[known])
    total = float(degrees.sum())
    own = np.where(known, variances, 0.0)
    pooled = np.sum(own * degrees, axis=-1, keepdims=True) / total
    counted = PRIOR_COUNTED * np.where(np.isinf(prior), 0.0, prior) + degrees
    shrunk = ((counted - degrees) * level + degrees * own) / np.where(counted > 0, counted, 1.0)
    # All alike (infinite prior): one pooled variance, known as well as all repetitions together tell. So is that of
    # a point without repetitions beside a single other one.
    alike = np.isinf(prior) | (counted == 0)
    return Moderated(np.where(alike, pooled, shrunk), np.where(alike, total, np.minimum(counted, total)))


def _prior(variances: FloatArray, degrees: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit the scaled inverse chi-squared prior by the moments of the logarithms (Smyth, 2004, 6.2).

    Returns its level and its degrees of freedom, infinite where the variances differ by no more than chance.
    """
    if variances.shape[-1] == 1:
        return variances, np.zeros_like(variances)  # nothing to learn from
    half = degrees / 2
    centred = np.log(variances) - special.digamma(half) + np.log(half)
    middle = centred.mean(axis=-1, keepdims=True)
    excess = centred.var(axis=-1, ddof=1, keepdims=True) - np.mean(special.polygamma(1, half))
    alike = excess <= 0
    prior_half = _inverse_trigamma(np.where(alike, 1.0, excess))
    level = np.exp(middle + special.digamma(prior_half) - np.log(prior_half))
    return np.where(alike, np.exp(middle), level), np.where(alike, np.inf, 2 * prior_half)


def _inverse_trigamma(value: FloatArray) -> FloatArray:
    """Solve trigamma(x) = value by Newton's method, monotone from this start (Smyth, 2004, appendix)."""
    x: FloatArray = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x = x + step
        if np.all(np.abs(step) < 1e-9 * x):
            break
    return x
