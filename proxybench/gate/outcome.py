"""What became of a comparison: one verdict per number, one outcome and exit code per pair. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from proxybench.errors import ExitCode
from proxybench.gate.noise import ASSUMED, RUNS_THAT_DECIDE

if TYPE_CHECKING:
    from proxybench.model import Key

# Nominal chance that a gate between equal runs finds anything at all. The true one is held below 1 % by
# simulation; it is greater than nominal where the points' spreads are unlike in another way than the model of
# ``moderate`` takes them to be.
FAMILY_ALPHA = 0.0015
INCONCLUSIVE_SHARE = 0.25  # of a metric's points that may be too noisy


class Verdict(StrEnum):
    """What became of one number."""

    REGRESSED = "regressed"
    NOT_COMPARABLE = "not-comparable"
    INCONCLUSIVE = "inconclusive"
    IMPROVED = "improved"
    SAME = "same"


@dataclass(frozen=True)
class Comparison:
    """One number before and after.

    ``base``, ``new`` and ``shift`` (Hodges-Lehmann) are in the key's unit; ``relative``, its simultaneous
    interval ``low`` to ``high``, ``threshold`` and ``detectable`` (the true change found with 90 % power) are
    shares of the base; ``high`` is infinite where the interval has no upper end. ``p`` is Mann and Whitney's, for
    information. None where there is nothing to compute. Both medians are true within ``± …_uncertainty``; one that is
    ``…_bounded`` is only known to be at least that.
    ``assumed``: too few runs tell how far it moves from run to run. Only ``judged`` comparisons decide the exit code.
    """

    key: Key
    verdict: Verdict
    judged: bool
    threshold: float
    reason: str = ""
    assumed: bool = False
    base: float | None = None
    new: float | None = None
    base_repetitions: int = 0
    new_repetitions: int = 0
    base_uncertainty: float = 0.0
    new_uncertainty: float = 0.0
    base_bounded: bool = False
    new_bounded: bool = False
    shift: float | None = None
    relative: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    p: float | None = None

    @property
    def weight(self) -> float:
        """How far it moved, as a share of the base; from nothing to something is more than any share."""
        if self.relative is not None:
            return self.relative
        return float("inf") if self.verdict is Verdict.REGRESSED else 0.0


@dataclass(frozen=True)
class Outcome:
    """All comparisons of two sides, worst first, and the fields that make them incomparable (if any).

    ``runs`` are those of base and new; ``family`` is how many numbers the intervals hold for at once. ``incomplete``
    says, a line per side, what a run lacks that it was to measure.
    """

    base: str
    new: str
    clock: str
    threshold: float
    comparisons: tuple[Comparison, ...]
    differing: tuple[str, ...] = ()
    strict: bool = False
    runs: tuple[int, int] = (1, 1)
    family: int = 1
    incomplete: tuple[str, ...] = ()

    @property
    def assumed_noise(self) -> float | None:
        """The noise from run to run (a share) that was assumed, None where it was measured for all that is judged."""
        return ASSUMED[self.clock] if any(item.judged and item.assumed for item in self.comparisons) else None

    def counts(self) -> dict[Verdict, int]:
        """Count the judged comparisons per verdict."""
        counter = Counter(item.verdict for item in self.comparisons if item.judged)
        return {verdict: counter[verdict] for verdict in Verdict}

    def undecided_metrics(self) -> tuple[str, ...]:
        """Name the metrics that this comparison could not decide.

        A few noisy points do not hide what happens to a metric, and of 200 numbers some are always noisy: a
        metric is undecided when more than a quarter of its points are inconclusive, or (``strict``) any is. A
        point that one side lacks is never passed over.
        """
        judged = [item for item in self.comparisons if item.judged]
        points = Counter(item.key.metric for item in judged)
        noisy = Counter(item.key.metric for item in judged if item.verdict is Verdict.INCONCLUSIVE)
        lacking = {item.key.metric for item in judged if item.verdict is Verdict.NOT_COMPARABLE}
        allowed = 0.0 if self.strict else INCONCLUSIVE_SHARE
        return tuple(sorted(lacking | {metric for metric, count in noisy.items() if count > allowed * points[metric]}))

    @property
    def exit_code(self) -> ExitCode:
        """What is incomplete is no verdict; then a regression decides, and what is undecided is not passed over."""
        if self.incomplete:
            return ExitCode.RUN_FAILED
        counts = self.counts()
        if counts[Verdict.REGRESSED]:
            return ExitCode.REGRESSION
        if self.undecided_metrics() or self.differing or not sum(counts.values()):
            return ExitCode.INCONCLUSIVE
        return ExitCode.PASS

    def sentence(self) -> str:
        """Say the outcome in one line."""
        before = f"incomplete: {'; '.join(self.incomplete)}; " if self.incomplete else ""
        return before + self._judgement()

    def _judgement(self) -> str:
        if self.differing:
            return f"not comparable: {'; '.join(self.differing)}"
        counts = self.counts()
        total = sum(counts.values())
        if not total:
            return "nothing to judge: no metric of the base is one that this clock can judge"
        words = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
        undecided = self.undecided_metrics()
        tail = f"; undecided: {', '.join(undecided)}" if undecided else ""
        if self.assumed_noise is not None:
            tail += f"; run-to-run noise assumed {percent(self.assumed_noise)}: {_runs_in_words(self.runs)}"
        return f"{total} judged at {percent(self.threshold)} of the base: {words}{tail}"


def _runs_in_words(runs: tuple[int, int]) -> str:
    if runs == (1, 1):
        return f"one run a side ({RUNS_THAT_DECIDE} runs of one side would measure it)"
    return f"{runs[0]} against {runs[1]} (it takes {RUNS_THAT_DECIDE} runs of one side to measure it)"


def percent(share: float) -> str:
    """Write a share in per cent."""
    return f"{100 * share:,.3g} %"
