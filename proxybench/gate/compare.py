"""Whether a new run costs more than a base: a verdict per metric and point. Pure.

Why these tests and not others, with the simulated figures: docs/statistics.md. In short: the shift of the
logarithms of the repetitions' medians (Hodges-Lehmann, so that one wild repetition decides nothing), its
standard error from how the runs of a side differ (or what is assumed of that), variances steadied across the
points of the same metric; intervals that hold for all judged comparisons at once (Bonferroni), so that a whole
gate cries wolf in at most one of a hundred runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import ExitCode
from proxybench.gate.error import Counts, Levels, shift_errors
from proxybench.gate.noise import ASSUMED, RUNS_THAT_DECIDE
from proxybench.gate.settings import setting_differences
from proxybench.gate.side import differences
from proxybench.metrics import may_judge
from proxybench.model import ClockKind, Scenario
from proxybench.stats.intervals import t_quantile
from proxybench.stats.moderate import Moderated, moderate
from proxybench.stats.shift import hodges_lehmann, mann_whitney_p, minimum_detectable_effect

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from proxybench.gate.side import Replicates, Side
    from proxybench.model import Key
    from proxybench.stats.quantiles import FloatArray

# Nominal chance that a gate between equal runs finds anything at all. The true one is held below 1 % by
# simulation; it is greater than nominal where the points' spreads are unlike in another way than the model of
# ``moderate`` takes them to be.
FAMILY_ALPHA = 0.0015
INCONCLUSIVE_SHARE = 0.25  # of a metric's points that may be too noisy
EQUAL_ALPHA = 0.05  # per comparison, of calling a change beyond the threshold "same"
# A loop that waits spends 0 or 0.1 ms in a second, by luck of a timer; no ratio can be taken of that. What lies
# above this in every repetition, and is so many times the most of the other side, needs no ratio.
NEGLIGIBLE_NS = 1_000_000
TIMES_NEGLIGIBLE, TIMES_MORE = 2.0, 10.0
THRESHOLDS = {ClockKind.INSTRUCTIONS.value: 0.01, ClockKind.WALL.value: 0.05}


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
    shares of the base. ``p`` is Mann and Whitney's, for information. None where there is nothing to compute.
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

    ``runs`` are those of base and new; ``family`` is how many numbers the intervals hold for at once.
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
        """A regression beats all else; a metric that could not be decided is not passed over."""
        counts = self.counts()
        if counts[Verdict.REGRESSED]:
            return ExitCode.REGRESSION
        if self.undecided_metrics() or self.differing or not sum(counts.values()):
            return ExitCode.INCONCLUSIVE
        return ExitCode.PASS

    def sentence(self) -> str:
        """Say the outcome in one line."""
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
            tail += f"; run-to-run noise assumed {_percent(self.assumed_noise)}: {_runs_in_words(self.runs)}"
        return f"{total} judged at {_percent(self.threshold)} of the base: {words}{tail}"


def _runs_in_words(runs: tuple[int, int]) -> str:
    if runs == (1, 1):
        return f"one run a side ({RUNS_THAT_DECIDE} runs of one side would measure it)"
    return f"{runs[0]} against {runs[1]} (it takes {RUNS_THAT_DECIDE} runs of one side to measure it)"


def is_judged(metric: str, clock: str, only: Collection[str] = ()) -> bool:
    """Tell whether a metric may decide; ``only`` narrows it to these names, or prefixes ending in '.'."""
    if only and not any(metric == name or (name.endswith(".") and metric.startswith(name)) for name in only):
        return False
    return may_judge(metric, clock)


def compare(
    base: Side,
    new: Side,
    *,
    threshold: float | None = None,
    only: Collection[str] = (),
    across: Sequence[str] = (),
    strict: bool = False,
) -> Outcome:
    """Compare all numbers of two sides.

    ``threshold`` is the share of the base from which a change matters (by default 1 % under the instruction
    clock, 5 % under the wall clock). ``across`` names fields and settings that may differ. With ``strict`` one
    inconclusive number makes its metric undecided. Less is better for every metric there is.
    """
    limit = THRESHOLDS[base.clock] if threshold is None else threshold
    differing = (
        *differences(base.fingerprint, new.fingerprint, across),
        *setting_differences(base.settings, new.settings, across),
    )
    keys = sorted({*base.series, *new.series})
    plain = {key: Comparison(key, Verdict.SAME, is_judged(key.metric, base.clock, only), limit) for key in keys}
    if differing:
        reason = "; ".join(differing)
        found = [replace(item, verdict=Verdict.NOT_COMPARABLE, reason=reason) for item in plain.values()]
        return Outcome(base.name, new.name, base.clock, limit, tuple(found), differing, strict)
    both = [key for key in plain if key in base.series and key in new.series]
    family = max(1, sum(plain[key].judged for key in both))
    done = _compared(base, new, plain, family)
    order = list(Verdict)
    done.sort(key=lambda item: (not item.judged, order.index(item.verdict), -item.weight, item.key))
    runs = (base.runs, new.runs)
    return Outcome(base.name, new.name, base.clock, limit, tuple(done), strict=strict, runs=runs, family=family)


def _compared(base: Side, new: Side, plain: Mapping[Key, Comparison], family: int) -> list[Comparison]:
    alpha = FAMILY_ALPHA / family
    errors = _errors(base, new, [key for key in plain if key in base.series and key in new.series], alpha)
    done = []
    for key, item in plain.items():
        if key in base.series and key in new.series:
            old, young = base.series[key], new.series[key]
            done.append(_judge(_levels(item, old, young), old, young, errors.get(key), alpha))
        elif item.judged:
            reason = f"not measured in the {'base' if key in new.series else 'new run'}"
            done.append(replace(item, verdict=Verdict.NOT_COMPARABLE, reason=reason))
    return done


@dataclass(frozen=True)
class _Error:
    """Standard error of a shift of logarithms, its degrees of freedom, and whether it rests on an assumption."""

    size: float
    degrees: float
    assumed: bool = False


def _errors(base: Side, new: Side, keys: Sequence[Key], alpha: float) -> dict[Key, _Error]:
    """Return the standard errors of all points that have one: variances are steadied metric by metric."""
    usable: dict[str, list[Key]] = {}
    for key in keys:
        if _all_positive(base.series[key]) and _all_positive(new.series[key]):
            usable.setdefault(key.metric, []).append(key)
    errors = {}
    for members in usable.values():
        spreads = [_spread(base.series[key], new.series[key]) for key in members]
        degrees = np.array([spread[1] for spread in spreads])
        if not degrees.any():
            continue
        steady = moderate(np.array([spread[0] for spread in spreads]), degrees)
        for key, variance, freedom in zip(members, steady.variances, steady.degrees, strict=True):
            within = Moderated(np.asarray(variance), np.asarray(freedom))
            levels = _levels_of((base, new), key)
            error = shift_errors(within, levels, _counts(base.series[key], new.series[key]), base.clock, alpha)
            assumed = levels is None or levels.runs < RUNS_THAT_DECIDE
            errors[key] = _Error(float(error.size), float(error.degrees), assumed)
    return errors


def _levels_of(sides: Sequence[Side], key: Key) -> Levels | None:
    """Return what the runs of a side tell of a number: of both, those that are enough to decide, or tell of more."""
    known = [side.noise[key] for side in sides if key in side.noise]
    if not known:
        return None
    noise = max(known, key=lambda noise: (noise.runs >= RUNS_THAT_DECIDE, noise.share))
    found = Moderated(np.asarray(noise.share**2), np.asarray(noise.degrees))
    return Levels(found, noise.runs, noise.repetitions)


def _counts(base: Replicates, new: Replicates) -> Counts:
    return Counts(len(base.runs), len(new.runs), base.values.size, new.values.size)


def _all_positive(replicates: Replicates) -> bool:
    return bool(np.all(replicates.values > 0))


def _spread(base: Replicates, new: Replicates) -> tuple[float, float]:
    """Return the pooled variance of the logarithms within the runs of both sides, and its degrees of freedom."""
    parts = [np.log(run) for side in (base, new) for run in side.runs]
    degrees = float(sum(part.size - 1 for part in parts))
    squares = float(sum(np.sum((part - part.mean()) ** 2) for part in parts))
    return (squares / degrees if degrees else 0.0), degrees


def _levels(item: Comparison, base: Replicates, new: Replicates) -> Comparison:
    return replace(
        item,
        base=float(np.median(base.values)),
        new=float(np.median(new.values)),
        base_repetitions=base.values.size,
        new_repetitions=new.values.size,
        shift=hodges_lehmann(base.values, new.values),
        p=mann_whitney_p(base.values, new.values),
    )


def _judge(item: Comparison, base: Replicates, new: Replicates, error: _Error | None, alpha: float) -> Comparison:
    """Give the verdict on one number; ``alpha`` is its share of the family's."""
    if _waits(item.key, base, new):
        return _with_censoring(_without_ratio(item, base.values, new.values), base, new)
    if error is None:
        reason = (
            "one repetition on either side: nothing tells how they vary"
            if _all_positive(base) and _all_positive(new)
            else "0 in some repetitions: no ratio can be taken"
        )
        return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)
    ratio = hodges_lehmann(np.log(base.values), np.log(new.values))
    width = t_quantile(1 - alpha / 2, error.degrees) * error.size
    detectable = minimum_detectable_effect(
        error.size, error.degrees, alpha=alpha, threshold=float(np.log1p(item.threshold))
    )
    item = replace(
        item,
        relative=_share(ratio),
        low=_share(ratio - width),
        high=_share(ratio + width),
        detectable=_share(detectable),
        assumed=error.assumed,
    )
    return _with_censoring(_verdict(item, ratio, width, error), base, new)


def _waits(key: Key, base: Replicates, new: Replicates) -> bool:
    """Tell whether a number is next to nothing on one side at least, so that a ratio would say nothing of it."""
    if key.unit != "ns":
        return not base.values.any() and not new.values.any()
    idle = key.scenario == Scenario.IDLE and min(base.values.max(), new.values.max()) < NEGLIGIBLE_NS
    return idle or not (_all_positive(base) and _all_positive(new))


def _without_ratio(item: Comparison, base: FloatArray, new: FloatArray) -> Comparison:
    """Judge by absolute size: a loop that begins to burn what it did not is found, and jitter of a timer is not."""
    if not base.any() and not new.any():
        return replace(item, verdict=Verdict.SAME, reason="0 in every repetition")
    zeros = min(base.min(), new.min()) <= 0
    if max(base.max(), new.max()) < NEGLIGIBLE_NS:
        words = "0 in some repetitions, and next to nothing in all" if zeros else "next to nothing in all repetitions"
        return replace(item, verdict=Verdict.SAME, reason=words)
    if _all_above(new, base):
        return replace(item, verdict=Verdict.REGRESSED, reason="far more in every repetition than in any before")
    if _all_above(base, new):
        return replace(item, verdict=Verdict.IMPROVED, reason="far less in every repetition than in any before")
    some = "0 in some repetitions" if zeros else "next to nothing on one side"
    return replace(item, verdict=Verdict.INCONCLUSIVE, reason=f"{some}: no ratio can be taken")


def _all_above(much: FloatArray, little: FloatArray) -> bool:
    """Tell whether each repetition of one side lies far above all of the other, which may be 0."""
    if min(much.size, little.size) < 2:  # noqa: PLR2004 -- one repetition may be anything
        return False
    times = TIMES_NEGLIGIBLE if little.max() < NEGLIGIBLE_NS else TIMES_MORE
    return bool(much.min() >= max(NEGLIGIBLE_NS, times * little.max()))


def _verdict(item: Comparison, ratio: float, width: float, error: _Error) -> Comparison:
    limit = float(np.log1p(item.threshold))
    if ratio - width > 0 and ratio >= limit:
        return replace(item, verdict=Verdict.REGRESSED, reason="more than before, beyond chance and threshold")
    if ratio + width < 0 and ratio <= -limit:
        return replace(item, verdict=Verdict.IMPROVED, reason="less than before, beyond chance and threshold")
    if width <= limit:
        return item  # a shift of the threshold's size would have been found
    margin = t_quantile(1 - EQUAL_ALPHA, error.degrees) * error.size
    if abs(ratio) + margin < limit:
        return item  # noisy, but too near to no change for one of the threshold's size (two one-sided tests)
    reason = f"too noisy to show {_percent(item.threshold)}: the interval is ±{_percent(_share(width))}"
    return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _with_censoring(item: Comparison, base: Replicates, new: Replicates) -> Comparison:
    """Let a time-out count only in the direction in which a lower bound is evidence."""
    if not (base.bounded.any() or new.bounded.any()):
        return item
    if item.verdict is Verdict.REGRESSED and not base.bounded.any():
        return replace(item, reason="time-outs in the new run: worse by at least this")
    if item.verdict is Verdict.IMPROVED and not new.bounded.any():
        return replace(item, reason="time-outs in the base: better by at least this")
    return replace(item, verdict=Verdict.INCONCLUSIVE, reason="medians are time-outs: only a lower bound is known")


def _share(log_ratio: float) -> float:
    return float(np.expm1(min(log_ratio, 50.0)))  # e^50 is more than any threshold, and no overflow


def _percent(share: float) -> str:
    return f"{100 * share:,.3g} %"
