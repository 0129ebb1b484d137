"""How far a number's level moves from run to run, in a way that no repetition within a run shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import ClockKind
from proxybench.stats.moderate import moderate
from proxybench.stats.shift import pseudo_median

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.model import Key
    from proxybench.stats.quantiles import FloatArray

# Standard deviation of a run's level, as a share of it, that repetitions within one run cannot show: another boot,
# another layout of memory, another neighbour. Assumed where fewer than RUNS_THAT_DECIDE runs of either side tell. Under
# the instruction clock more than ten runs showed of 47 in 48 numbers; see docs/statistics.md.
ASSUMED = {ClockKind.INSTRUCTIONS.value: 0.003, ClockKind.WALL.value: 0.03}
# Never less than this is taken, however even the runs were: instruction counts can be equal by chance.
LEAST = {ClockKind.INSTRUCTIONS.value: 0.001, ClockKind.WALL.value: 0.005}
RUNS_THAT_TELL = 3  # fewer say nothing; these may say that there is more noise than is assumed
RUNS_THAT_DECIDE = 5  # and these may say that there is less


@dataclass(frozen=True)
class RunNoise:
    """The standard deviation of the logarithm of a run's level, and the degrees of freedom it is known with.

    Measured over so many ``runs`` of so many ``repetitions`` each (on average), whose own spread is part of it.
    """

    share: float
    degrees: float
    runs: int
    repetitions: float


def run_noise(gathered: Mapping[Key, Sequence[FloatArray]]) -> dict[Key, RunNoise]:
    """Estimate the noise from run to run of every point that was measured in three runs or more.

    ``gathered``: the repetitions of each run. It is the variance of the runs' pseudo-medians (a wild repetition moves
    them as little as it moves the shift), steadied by those of the metric's other points (see ``moderate``). What
    repetitions explain of it is not taken away: a difference of two estimates would be known with fewer degrees of
    freedom than either. A point's own variance counts, since one noisy point must not blind the gate to the quiet ones.
    """
    logs: dict[str, dict[Key, list[FloatArray]]] = {}
    for key, runs in gathered.items():
        found = [np.log(run) for run in runs if run.size and np.all(run > 0)]
        if len(found) >= RUNS_THAT_TELL:
            logs.setdefault(key.metric, {})[key] = found
    noise = {}
    for members in logs.values():
        between = np.array([np.var([float(pseudo_median(run)) for run in runs], ddof=1) for runs in members.values()])
        steady = moderate(between, np.array([len(runs) - 1.0 for runs in members.values()]))
        for (key, runs), variance, degrees in zip(members.items(), steady.variances, steady.degrees, strict=True):
            repetitions = 1 / float(np.mean([1 / run.size for run in runs]))
            noise[key] = RunNoise(float(np.sqrt(variance)), float(degrees), len(runs), repetitions)
    return noise
