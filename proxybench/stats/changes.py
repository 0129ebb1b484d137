"""Change points of a series of runs: where its level moved for good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from proxybench.stats.intervals import SEED

if TYPE_CHECKING:
    from proxybench.stats.quantiles import FloatArray

ALPHA = 0.01  # per series: of a hundred that never moved, one gets a mark
MIN_SEGMENT = 2  # runs on either side: one run alone may be a bad day
PERMUTATIONS = 1_999
ROUNDING = 1e-12  # of logarithms: the values are equal


@dataclass(frozen=True)
class ChangePoint:
    """The level moved at position ``index`` (the first run of the new level)."""

    index: int
    before: float
    after: float
    p: float

    @property
    def relative(self) -> float:
        """The move relative to the level before; infinite from 0."""
        return self.after / self.before - 1 if self.before else math.inf


def change_points(
    values: FloatArray, alpha: float = ALPHA, floor: float = 0.0, unsure: FloatArray | None = None
) -> tuple[ChangePoint, ...]:
    """Split a series of values (one per run, in order of time) where its level moves.

    Binary segmentation: the split with the greatest standardised difference of mean logarithms is kept when
    it exceeds all but a share ``alpha`` of the same statistic over seeded permutations, then both parts are
    searched again. Levels are geometric means of the segments. Values below ``floor`` are taken for it in the search,
    so that 0 has a logarithm and what is next to nothing does not look like a move; levels are then medians of what
    was measured. A move that is no larger than what the readings on both sides are ``unsure`` by is none.

    Raises ValueError for values not above 0 without a floor.
    """
    raised = np.maximum(values, floor)
    if np.any(raised <= 0):
        raise ValueError("values must be above 0: levels are compared on a log scale")
    logs = np.log(raised)
    errors = np.zeros_like(values) if unsure is None else unsure
    found = sorted(_search(logs, 0, len(logs), alpha))
    while True:
        edges = [0, *(index for index, _ in found), len(logs)]
        parts = [slice(a, b) for a, b in pairwise(edges) if b > a]
        levels = [float(np.median(values[part]) if floor else np.exp(logs[part].mean())) for part in parts]
        sure = [float(np.median(errors[part])) for part in parts]
        rests = [abs(levels[i + 1] - levels[i]) - sure[i] - sure[i + 1] for i in range(len(found))]
        if not errors.any() or min(rests, default=1.0) > 0:
            return tuple(ChangePoint(int(index), levels[i], levels[i + 1], p) for i, (index, p) in enumerate(found))
        del found[rests.index(min(rests))]


@lru_cache
def seen_after(runs: int, alpha: float = ALPHA) -> int | None:
    """Return how many of so many runs must be on the new level for the clearest move to be marked; None: no number is.

    Few orders of a few runs differ: the share of those that have the moved ones together at an end is the least p
    there is. It is found by asking, with a move that has no noise at all.
    """
    for moved in range(MIN_SEGMENT, runs // 2 + 1):
        if change_points(np.r_[np.ones(runs - moved), np.full(moved, 2.0)], alpha):
            return moved
    return None


def _search(logs: FloatArray, start: int, stop: int, alpha: float) -> list[tuple[int, float]]:
    part = logs[start:stop]
    if part.size < 2 * MIN_SEGMENT or np.ptp(part) < ROUNDING:
        return []
    scores = _scores(part[np.newaxis])[0]
    best = int(np.argmax(scores))
    shuffled = np.random.default_rng(SEED).permuted(np.tile(part, (PERMUTATIONS, 1)), axis=1)
    # Rounding differs with the order of summing: an equal score must count as reached.
    reached = np.count_nonzero(_scores(shuffled).max(axis=1) >= scores[best] * (1 - 1e-9))
    p = float(reached + 1) / (PERMUTATIONS + 1)
    if p > alpha:
        return []
    split = start + best + MIN_SEGMENT
    return [*_search(logs, start, split, alpha), (split, p), *_search(logs, split, stop, alpha)]


def _scores(rows: FloatArray) -> FloatArray:
    """Return, per row, the jump at each allowed split, scaled to one variance if nothing changed."""
    n = rows.shape[1]
    left = np.arange(MIN_SEGMENT, n - MIN_SEGMENT + 1)
    sums = np.cumsum(rows, axis=1)
    before = sums[:, left - 1] / left
    after = (sums[:, -1:] - sums[:, left - 1]) / (n - left)
    result: FloatArray = np.abs(after - before) * np.sqrt(left * (n - left) / n)
    return result
