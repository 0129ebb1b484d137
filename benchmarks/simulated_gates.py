"""Gates between simulated runs, thousands at a time: the gate's own errors, on arrays of all numbers of many gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import ExitCode
from proxybench.gate.compare import THRESHOLDS, compare
from proxybench.gate.error import Counts, Errors, Levels, shift_errors
from proxybench.gate.noise import RUNS_THAT_TELL
from proxybench.gate.outcome import FAMILY_ALPHA
from proxybench.gate.side import FIELDS, Replicates, Side
from proxybench.model import ClockKind
from proxybench.stats.moderate import Moderated, moderate
from proxybench.stats.shift import minimum_detectable_effect, pseudo_median
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Gates:
    """Shifts of logarithms, with what their errors are made of."""

    case: Case
    ratio: FloatArray
    within: Moderated
    between: Moderated | None

    @property
    def alpha(self) -> float:
        """Each number's share of the family's level."""
        return FAMILY_ALPHA / (len(METRICS) * POINTS)

    def errors(self, where: NDArray[np.bool_]) -> Errors:
        """Return the errors of some numbers; quantiles of t are what takes time here."""
        case, within, levels = self.case, _some(self.within, where), None
        if self.between is not None:
            levels = Levels(_some(self.between, where), case.runs, case.repetitions)
        counts = Counts(case.runs, 1, case.runs * case.repetitions, case.new_repetitions)
        return shift_errors(within, levels, counts, case.clock, self.alpha)


def _some(found: Moderated, where: NDArray[np.bool_]) -> Moderated:
    return Moderated(found.variances[where], found.degrees[where])


def judge(case: Case, base: FloatArray, new: FloatArray) -> Gates:
    """Compare simulated sides as ``proxybench.gate.compare`` does."""
    flat = base.reshape(*base.shape[:3], -1)
    young = new.reshape(*new.shape[:3], -1)
    pairs = (young[..., :, np.newaxis] - flat[..., np.newaxis, :]).reshape(*flat.shape[:3], -1)
    degrees = flat.shape[-1] - case.runs + young.shape[-1] - 1
    squares = sum(np.sum((side - side.mean(axis=-1, keepdims=True)) ** 2, axis=(-1, -2)) for side in (base, new))
    within = moderate(np.asarray(squares / degrees), np.full(POINTS, float(degrees)))
    between = None
    if case.runs >= RUNS_THAT_TELL:
        between = moderate(np.var(pseudo_median(base), axis=-1, ddof=1), np.full(POINTS, case.runs - 1.0))
    return Gates(case, np.median(pairs, axis=-1), within, between)


def alarms(case: Case, gates: int) -> int:
    """Count the gates between equal runs that find a regression; the first is judged by ``compare`` as well."""
    rng = np.random.default_rng(2)
    limit = np.log1p(THRESHOLDS[case.clock])
    count = 0
    for start in range(0, gates, CHUNK):
        base, new = case.draw(rng, CHUNK)
        found = judge(case, base, new)
        if start == 0:
            _must_agree(found, base[0], new[0])
        beyond = found.ratio >= limit
        width = found.errors(beyond).width(found.alpha)
        count += np.unique(np.nonzero(beyond)[0][found.ratio[beyond] - width > 0]).size
    return count


def power(case: Case) -> tuple[float, float]:
    """Return how often a change as large as stated is found, and the middle of what is stated (shares)."""
    rng = np.random.default_rng(3)
    limit = float(np.log1p(THRESHOLDS[case.clock]))
    gates = judge(case, *case.draw(rng, CHUNK))
    errors, alpha = gates.errors(np.ones_like(gates.ratio, dtype=np.bool_)), gates.alpha
    pairs = zip(errors.size, errors.degrees, strict=True)
    stated = np.array(
        [minimum_detectable_effect(size, degrees, alpha=alpha, threshold=limit) for size, degrees in pairs]
    )
    moved = gates.ratio.ravel() + stated
    found = (moved - errors.width(alpha) > 0) & (moved >= limit)
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
        make_key(services=place, metric=metric, clock=case.clock): (
            Replicates(np.exp(11 + numbers.ravel()), np.zeros(numbers.size, dtype=np.bool_), lengths)
        )
        for metric, points in zip(METRICS, logs, strict=True)
        for place, numbers in enumerate(points)
    }
    return Side("run", dict.fromkeys(FIELDS, "x") | {"clock": case.clock}, series, len(lengths))


def _must_agree(gates: Gates, base: FloatArray, new: FloatArray) -> None:
    """Raise AssertionError when ``compare`` makes another interval of the first gate than is made here."""
    first = np.zeros_like(gates.ratio, dtype=np.bool_)
    first[0] = True
    high = np.expm1(gates.ratio[first] + gates.errors(first).width(gates.alpha))
    outcome = compare(_side(gates.case, base), _side(gates.case, new))
    found = {(item.key.metric, item.key.services): item.high for item in outcome.comparisons}
    expected = np.array([found[metric, place] for metric in METRICS for place in range(POINTS)], dtype=np.float64)
    np.testing.assert_allclose(high, expected, rtol=1e-6, atol=1e-9)
