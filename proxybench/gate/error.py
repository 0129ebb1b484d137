"""The standard error of a shift between two sides: what repetitions scatter, and what runs do. Pure, on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.stats.shift import HODGES_LEHMANN_VARIANCE

if TYPE_CHECKING:
    from proxybench.stats.quantiles import FloatArray


@dataclass(frozen=True)
class Counts:
    """How many runs, and repetitions in all of them, a number has on either side."""

    base_runs: int
    new_runs: int
    base_repetitions: int
    new_repetitions: int

    @property
    def by_runs(self) -> float:
        """The variance of the shift as a multiple of that of one run's level."""
        return 1 / self.base_runs + 1 / self.new_runs

    @property
    def by_repetitions(self) -> float:
        """The variance of the shift as a multiple of that of one repetition."""
        return 1 / self.base_repetitions + 1 / self.new_repetitions


@dataclass(frozen=True)
class Errors:
    """Standard errors of shifts of logarithms with their degrees of freedom, of one shape."""

    size: FloatArray
    degrees: FloatArray


def by_assumption(within: FloatArray, degrees: FloatArray, noise: float, counts: Counts) -> Errors:
    """Return the errors where the noise from run to run is taken to be ``noise`` (a share).

    ``within`` is the variance of a repetition with its ``degrees`` of freedom, which those of the sum follow
    (Satterthwaite, 1946): what is assumed has no doubt of its own.
    """
    own = HODGES_LEHMANN_VARIANCE * within * counts.by_repetitions
    whole = own + noise**2 * counts.by_runs
    with np.errstate(divide="ignore"):
        return Errors(np.sqrt(whole), np.where(own > 0, whole**2 / (own**2 / degrees), np.inf))


def by_measurement(
    level: FloatArray, degrees: FloatArray, repetitions: float, within: FloatArray, counts: Counts
) -> Errors:
    """Return the errors where ``level`` is the variance of a run's level, of so many ``repetitions`` each.

    Student's prediction interval: its ``degrees`` of freedom are those of the runs. Fewer repetitions on the other side
    add their own part of ``within``; more of them take nothing away.
    """
    more = np.maximum(counts.by_repetitions - counts.by_runs / repetitions, 0.0)
    return Errors(np.sqrt(HODGES_LEHMANN_VARIANCE * (level * counts.by_runs + within * more)), degrees)


def greater(one: Errors, other: Errors) -> Errors:
    """Return the greater error of the two, number by number."""
    over = one.size >= other.size
    return Errors(np.where(over, one.size, other.size), np.where(over, one.degrees, other.degrees))
