"""How far a number's level moves from run to run, in a way that no repetition within a run shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.stats.moderate import moderate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.stats.quantiles import FloatArray
    from proxybench.stats.series import Series, SeriesKey

RUNS_THAT_TELL = 3


@dataclass(frozen=True)
class RunNoise:
    """The standard deviation of the logarithm of a level between runs, and the degrees of freedom it is known with."""

    share: float
    degrees: float


def run_noise(gathered: Mapping[SeriesKey, Sequence[Series]]) -> dict[SeriesKey, RunNoise]:
    """Estimate the noise from run to run of every point that was measured in three runs or more.

    The variance of the runs' means, steadied by those of the metric's other points (see ``moderate``), less what the
    repetitions' own spread explains: the usual estimate of a random effect; 0 where nothing is left. A point's own
    variance counts, since one noisy point must not blind the gate to the quiet ones.
    """
    logs: dict[str, dict[SeriesKey, list[FloatArray]]] = {}
    for key, parts in gathered.items():
        found = [np.log(part.values) for part in parts if part.values.size and np.all(part.values > 0)]
        if len(found) >= RUNS_THAT_TELL:
            logs.setdefault(key.metric, {})[key] = found
    noise = {}
    for members in logs.values():
        between = np.array([np.var([run.mean() for run in runs], ddof=1) for runs in members.values()])
        within = np.array([_within(runs) for runs in members.values()])
        steady = moderate(between, np.array([len(runs) - 1.0 for runs in members.values()]))
        left = np.sqrt(np.maximum(steady.variances - within, 0.0))
        for key, share, degrees in zip(members, left, steady.degrees, strict=True):
            noise[key] = RunNoise(float(share), float(degrees))
    return noise


def _within(runs: Sequence[FloatArray]) -> float:
    """Return the variance of a run's mean that its repetitions' own spread explains."""
    return float(np.mean([np.var(run, ddof=1) / run.size if run.size > 1 else 0.0 for run in runs]))
