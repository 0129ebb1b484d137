"""The standard error of a shift between two sides: what repetitions scatter, and what runs do. Pure, on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from proxybench.gate.noise import ASSUMED, LEAST, RUNS_THAT_DECIDE
from proxybench.stats.shift import HODGES_LEHMANN_VARIANCE

if TYPE_CHECKING:
    from proxybench.stats.moderate import Moderated
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

    def width(self, alpha: float) -> FloatArray:
        """Return half of the two-sided interval of level ``1 - alpha``."""
        known = np.isfinite(self.degrees)
        quantile = special.stdtrit(np.where(known, self.degrees, 1.0), 1 - alpha / 2)
        return np.where(known, quantile, special.ndtri(1 - alpha / 2)) * self.size


@dataclass(frozen=True)
class Levels:
    """Variances of a run's level with their degrees of freedom, from so many runs of so many repetitions each."""

    found: Moderated
    runs: int
    repetitions: float


def shift_errors(within: Moderated, levels: Levels | None, counts: Counts, clock: str, alpha: float) -> Errors:
    """Return the errors to judge shifts by at the two-sided level ``alpha``.

    ``within``: variances of a repetition; ``levels``: of a run, None where fewer than three runs of either side tell.
    What runs tell never counts for less than what repetitions explain and a least noise between runs: levels of runs
    with one wild repetition each know nothing of a new run with two. With fewer than ``RUNS_THAT_DECIDE`` runs it never
    counts for less than what is assumed of them.
    """
    decided = levels is not None and levels.runs >= RUNS_THAT_DECIDE
    assumed = by_assumption(within, (LEAST if decided else ASSUMED)[clock], counts)
    return assumed if levels is None else wider(by_measurement(levels, within, counts), assumed, alpha)


def by_assumption(within: Moderated, noise: float, counts: Counts) -> Errors:
    """Return the errors where the noise from run to run is taken to be ``noise`` (a share).

    The degrees of freedom of the sum are Satterthwaite's (1946); what is assumed has no doubt of its own.
    """
    own = HODGES_LEHMANN_VARIANCE * within.variances * counts.by_repetitions
    whole = own + noise**2 * counts.by_runs
    with np.errstate(divide="ignore"):
        return Errors(np.sqrt(whole), np.where(own > 0, whole**2 / (own**2 / within.degrees), np.inf))


def by_measurement(levels: Levels, within: Moderated, counts: Counts) -> Errors:
    """Return the errors that runs tell: Student's prediction interval, its degrees of freedom those of the runs.

    Fewer repetitions on the other side add their own part of ``within``; more of them take nothing away.
    """
    more = max(counts.by_repetitions - counts.by_runs / levels.repetitions, 0.0)
    whole = levels.found.variances * counts.by_runs + within.variances * more
    return Errors(np.sqrt(HODGES_LEHMANN_VARIANCE * whole), levels.found.degrees)


def wider(one: Errors, other: Errors, alpha: float) -> Errors:
    """Return, number by number, the error whose two-sided interval of level ``1 - alpha`` is the wider one.

    To be found, a shift must then lie outside of both intervals, so that the level of either holds for the outcome.
    """
    over = one.width(alpha) >= other.width(alpha)
    return Errors(np.where(over, one.size, other.size), np.where(over, one.degrees, other.degrees))
