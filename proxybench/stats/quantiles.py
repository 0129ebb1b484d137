"""Quantiles of samples of which some are only known to be *at least* their value (right-censored).

A time-out is such a sample. Two bounds need no assumption: a quantile of the true values is at least the
quantile of the recorded ones, and at most the quantile with every censored value replaced by infinity. Where
both agree, the quantile is known; where they differ, the lower bound is reported with the flag ``censored``
(read ">= value"). Between order statistics we interpolate linearly (type 7 of Hyndman and Fan, 1996; numpy's
default).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]


FEW = 64
"""Of no more values a list is sorted before numpy has begun."""


@dataclass(frozen=True)
class Quantile:
    """A quantile in the samples' unit; with ``censored`` the true one is at least ``value``."""

    value: float
    censored: bool


def quantile(values: FloatArray | IntArray, censored: BoolArray, q: float, resolution: float = 0.0) -> Quantile:
    """Return the ``q`` quantile (0..1) of one-dimensional samples. Raises ValueError when there are none.

    With a ``resolution`` above 0 each value stands for all within half of it to either side; see ``grouped_quantile``.
    """
    if values.shape != censored.shape or values.ndim != 1:
        msg = "values and censored must be one-dimensional and of one length"
        raise ValueError(msg)
    if values.size == 0:
        raise ValueError("no samples: a quantile needs at least one")
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile lies between 0 and 1, not {q}")
    if values.size == 1:
        return Quantile(float(values[0]), bool(censored[0]))
    if resolution and not censored.any():
        return Quantile(grouped_quantile(values, q, resolution), censored=False)
    low = exact_quantile(values, q)
    if not censored.any():
        return Quantile(low, censored=False)
    high = exact_quantile(np.where(censored, np.inf, values.astype(np.float64)), q)
    return Quantile(low, high > low)


def exact_quantile(values: FloatArray | IntArray, q: float) -> float:
    """Return the ``q`` quantile of at least one value, none of them censored; infinity may be among them."""
    position = (values.size - 1) * q
    below = int(position)
    above = min(below + 1, values.size - 1)
    parted = np.partition(values, (below, above)) if values.size > FEW else sorted(values.tolist())
    low, high = float(parted[below]), float(parted[above])
    if position == below or low == high:
        return low  # numpy's own quantile makes infinity times 0 here, which is no number
    return low + (high - low) * (position - below)


def grouped_quantile(values: FloatArray | IntArray, q: float, width: float) -> float:
    """Return the ``q`` quantile of at least one value that was read in whole steps of ``width``.

    The values of a step are taken to lie evenly in it (the usual quantile of grouped data). A median of whole
    microseconds jumps by one as soon as half of the values do; this one moves with their share.
    """
    place = q * values.size
    rank = max(int(np.ceil(place)) - 1, 0)
    step = np.partition(values, rank)[rank]
    below = int(np.count_nonzero(values < step))
    here = int(np.count_nonzero(values == step))
    return float(step) - width / 2 + width * (place - below) / here
