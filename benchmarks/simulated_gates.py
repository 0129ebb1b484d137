"""Gates between simulated runs, thousands at a time: the gate's own errors, on arrays of all numbers of many gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import ExitCode
from proxybench.gate.compare import FAMILY_ALPHA, THRESHOLDS, compare
from proxybench.gate.error import Counts, Errors, Levels, shift_errors
from proxybench.gate.noise import RUNS_THAT_TELL
from proxybench.gate.side import FIELDS, Replicates, Side
from proxybench.model import ClockKind
from proxybench.stats.moderate import moderate
from proxybench.stats.series import SeriesKey
from proxybench.stats.shift import minimum_detectable_effect, pseudo_median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxybench.gate.compare import Comparison

    FloatArray = NDArray[np.float64]

METRICS = (
    "forwarding.connect",
    "forwarding.direct",
    "forwarding.rtt",
    "forwarding.established",
    "forwarding.first_byte",
    "forwarding.bare",
    "cpu.control_loop",
    "sync.build",
)  # as many as a gate judges by the instruction clock
POINTS = 25
CHUNK = 20  # gates at once: some 50 MB
SPREADS = {ClockKind.INSTRUCTIONS.value: 0.002, ClockKind.WALL.value: 0.02}  # of repetitions within a run
UNLIKE_SPREADS = 0.5  # one standard deviation of their logarithm: a factor of 1.65


@dataclass(frozen=True)
class Case:
    """A baseline of ``runs`` against one run; ``noise`` from run to run, alike for all numbers or ``unlike``.

    ``unlike`` is the standard deviation of the noise's logarithm. ``wild`` is the share of repetitions that lie 20
    times as far off; with ``heavy`` tails the runs' levels follow Student's t with 4 degrees of freedom.
    """

    clock: str
    runs: int
    noise: float
    unlike: float
    repetitions: int = 6
    new_repetitions: int = 6
    wild: float = 0.0
    heavy: bool = False

    def __str__(self) -> str:
        kind = f"unlike by a factor of {np.exp(self.unlike):.1f}" if self.unlike else "alike"
        more = f", {100 * self.wild:g} % wild" if self.wild else ""
        more += ", heavy tails" if self.heavy else ""
        if (self.repetitions, self.new_repetitions) != (6, 6):
            more += f", {self.repetitions} against {self.new_repetitions} repetitions"
        return f"{self.clock}, {self.runs} run{'s' * (self.runs > 1)}, noise {100 * self.noise:g} % {kind}{more}"

    def draw(self, rng: np.random.Generator, gates: int) -> tuple[FloatArray, FloatArray]:
        """Return logarithms of base and new: gates, metrics, points, runs, repetitions."""
        shape = (gates, len(METRICS), POINTS, 1, 1)
        spread = SPREADS[self.clock] * np.exp(UNLIKE_SPREADS * rng.normal(size=shape))
        noise = self.noise * np.exp(self.unlike * rng.normal(size=shape))

        def side(runs: int, repetitions: int) -> FloatArray:
            levels = (*shape[:3], runs, 1)
            # The variance of t with 4 degrees of freedom is 2.
            moved = rng.standard_t(4, levels) / np.sqrt(2) if self.heavy else rng.normal(size=levels)
            own = rng.normal(size=(*shape[:3], runs, repetitions))
            if self.wild:
                own = np.where(rng.random(own.shape) < self.wild, 20 * np.abs(own), own)
            result: FloatArray = noise * moved + spread * own
            return result

        return side(self.runs, self.repetitions), side(1, self.new_repetitions)


def judge(case: Case, base: FloatArray, new: FloatArray) -> tuple[FloatArray, Errors, float]:
    """Return shifts of logarithms with their errors, and each number's share of the family's level."""
    flat = base.reshape(*base.shape[:3], -1)
    young = new.reshape(*new.shape[:3], -1)
    pairs = (young[..., :, np.newaxis] - flat[..., np.newaxis, :]).reshape(*flat.shape[:3], -1)
    ratio: FloatArray = np.median(pairs, axis=-1)
    degrees = flat.shape[-1] - case.runs + young.shape[-1] - 1
    squares = sum(np.sum((side - side.mean(axis=-1, keepdims=True)) ** 2, axis=(-1, -2)) for side in (base, new))
    within = moderate(np.asarray(squares / degrees), np.full(POINTS, float(degrees)))
    levels = None
    if case.runs >= RUNS_THAT_TELL:
        between = np.var(pseudo_median(base), axis=-1, ddof=1)
        levels = Levels(moderate(between, np.full(POINTS, case.runs - 1.0)), case.runs, case.repetitions)
    counts = Counts(case.runs, 1, flat.shape[-1], young.shape[-1])
    alpha = FAMILY_ALPHA / (len(METRICS) * POINTS)
    return ratio, shift_errors(within, levels, counts, case.clock, alpha), alpha


def alarms(case: Case, gates: int) -> int:
    """Count the gates between equal runs that find a regression; the first is judged by ``compare`` as well."""
    rng = np.random.default_rng(2)
    limit = np.log1p(THRESHOLDS[case.clock])
    count = 0
    for start in range(0, gates, CHUNK):
        base, new = case.draw(rng, CHUNK)
        ratio, errors, alpha = judge(case, base, new)
        if start == 0:
            _must_agree(case, base[0], new[0], (ratio + errors.width(alpha))[0])
        found = (ratio - errors.width(alpha) > 0) & (ratio >= limit)
        count += int(found.any(axis=(1, 2)).sum())
    return count


def power(case: Case) -> tuple[float, float]:
    """Return how often a change as large as stated is found, and the middle of what is stated (shares)."""
    rng = np.random.default_rng(3)
    limit = float(np.log1p(THRESHOLDS[case.clock]))
    ratio, errors, alpha = judge(case, *case.draw(rng, CHUNK))
    pairs = zip(errors.size.ravel(), errors.degrees.ravel(), strict=True)
    stated = np.array(
        [minimum_detectable_effect(size, degrees, alpha=alpha, threshold=limit) for size, degrees in pairs]
    )
    moved = ratio.ravel() + stated
    found = (moved - errors.width(alpha).ravel() > 0) & (moved >= limit)
    return float(found.mean()), float(np.expm1(np.median(stated)))


def passes(case: Case, gates: int) -> float:
    """Return the share of gates between equal runs that end with 0."""
    rng = np.random.default_rng(4)
    passed = 0
    for _ in range(gates):
        base, new = case.draw(rng, 1)
        outcome = compare(_side(case, base[0]), _side(case, new[0]))
        passed += outcome.exit_code is ExitCode.PASS
    return passed / gates


def _side(case: Case, logs: FloatArray) -> Side:
    """Return one gate's numbers as the side of a comparison."""
    lengths = (logs.shape[-1],) * logs.shape[-2]
    series = {
        SeriesKey("iptables", "reference", place, 2, "steady", "tcp-clusterip", "last", metric, "ns", case.clock): (
            Replicates(np.exp(11 + numbers.ravel()), np.zeros(numbers.size, dtype=np.bool_), lengths)
        )
        for metric, points in zip(METRICS, logs, strict=True)
        for place, numbers in enumerate(points)
    }
    return Side("run", dict.fromkeys(FIELDS, "x") | {"clock": case.clock}, series, len(lengths))


def _must_agree(case: Case, base: FloatArray, new: FloatArray, high: FloatArray) -> None:
    """Raise AssertionError when ``compare`` makes other intervals than were made here."""
    found = {(item.key.metric, item.key.services): item.high for item in _compared(case, base, new)}
    expected = [found[metric, place] for metric in METRICS for place in range(POINTS)]
    np.testing.assert_allclose(np.expm1(high).ravel(), np.array(expected, dtype=np.float64), rtol=1e-6, atol=1e-9)


def _compared(case: Case, base: FloatArray, new: FloatArray) -> tuple[Comparison, ...]:
    return compare(_side(case, base), _side(case, new)).comparisons
