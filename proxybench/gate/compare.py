"""Whether a new run costs more than a base: a verdict per metric and point. Pure.

Why these tests and not others, with the simulated figures: docs/statistics.md. In short: the shift of the
logarithms of the repetitions' medians (Hodges-Lehmann, so that one wild repetition decides nothing), its
standard error from how the runs of a side differ (or what is assumed of that), variances steadied across the
points of the same metric; intervals that hold for all judged comparisons at once (Bonferroni), so that a whole
gate cries wolf in at most one of a hundred runs. They are widened by what both sides' readings are uncertain by
(``proxybench.stats.uncertainty``): what probes cannot resolve is no change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from proxybench.gate.error import Counts, Levels, by_assumption, shift_errors
from proxybench.gate.noise import LEAST, RUNS_THAT_DECIDE
from proxybench.gate.outcome import FAMILY_ALPHA, Comparison, Outcome, Verdict, percent
from proxybench.gate.settings import setting_differences
from proxybench.gate.side import differences
from proxybench.gate.subjects import subject_differences, without
from proxybench.metric_facts import may_judge
from proxybench.model import ClockKind, Scenario
from proxybench.stats.intervals import t_quantile
from proxybench.stats.moderate import Moderated, moderate
from proxybench.stats.shift import hodges_lehmann, mann_whitney_p, minimum_detectable_effect
from proxybench.stats.uncertainty import ratio_reach
from proxybench.units import human

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from proxybench.gate.side import Replicates, Side
    from proxybench.model import Key
    from proxybench.stats.quantiles import FloatArray

EQUAL_ALPHA = 0.05  # per comparison, of calling a change beyond the threshold "same"
# A loop that waits spends 0 or 0.1 ms in a second, by luck of a timer, and a connection in 10,000 is lost by luck of a
# machine; no ratio can be taken of that. What lies above this in every repetition, and is so many times the most of the
# other side, needs no ratio. Of other units, 0 is the only value that no ratio can be taken of.
NEGLIGIBLE = {"ns": 1_000_000.0, "ppm": 1_000.0, "connections": 5.0}
WIDEST = float(np.log(10))  # of an interval of logarithms that is shown: beyond it, it says nothing
ENOUGH_REPETITIONS = 5
TIMES_NEGLIGIBLE, TIMES_MORE = 2.0, 10.0
THRESHOLDS = {ClockKind.INSTRUCTIONS.value: 0.01, ClockKind.WALL.value: 0.05}


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
    same_run: bool = False,
) -> Outcome:
    """Compare all numbers of two sides.

    ``threshold`` is the share of the base from which a change matters (by default 1 % under the instruction
    clock, 5 % under the wall clock). ``across`` names fields and settings that may differ. With ``strict`` one
    inconclusive number makes its metric undecided. With ``same_run`` the sides took turns within one run: none but a
    least noise from run to run lies between them. Less is better for every metric there is.
    """
    limit = THRESHOLDS[base.clock] if threshold is None else threshold
    differing = (
        *differences(base.fingerprint, new.fingerprint, across),
        *setting_differences(base.settings, new.settings, across),
        *subject_differences(base.subjects, new.subjects, across),
    )
    base = replace(base, series=without(base.series, across, base.name))
    new = replace(new, series=without(new.series, across, new.name))
    incomplete = (*base.incomplete, *new.incomplete)
    keys = sorted({*base.series, *new.series})
    plain = {key: Comparison(key, Verdict.SAME, is_judged(key.metric, base.clock, only), limit) for key in keys}
    if differing:
        reason = "; ".join(differing)
        found = [replace(item, verdict=Verdict.NOT_COMPARABLE, reason=reason) for item in plain.values()]
        return Outcome(base.name, new.name, base.clock, limit, tuple(found), differing, strict, incomplete=incomplete)
    family = max(1, sum(plain[key].judged for key in _both(base, new, plain)))
    done = _compared(base, new, plain, family, same_run=same_run)
    order = list(Verdict)
    done.sort(key=lambda item: (not item.judged, order.index(item.verdict), -item.weight, item.key))
    runs = (base.runs, new.runs)
    return Outcome(
        base.name,
        new.name,
        base.clock,
        limit,
        tuple(done),
        strict=strict,
        runs=runs,
        family=family,
        incomplete=incomplete,
    )


def _both(base: Side, new: Side, keys: Collection[Key]) -> frozenset[Key]:
    """Return the keys that both sides have, measured in the same way."""
    shared = (key for key in keys if key in base.series and key in new.series)
    return frozenset(key for key in shared if base.method(key.metric) == new.method(key.metric))


def _compared(
    base: Side, new: Side, plain: Mapping[Key, Comparison], family: int, *, same_run: bool
) -> list[Comparison]:
    alpha = FAMILY_ALPHA / family
    both = _both(base, new, plain)
    errors = _errors(base, new, both, alpha, same_run=same_run)
    done = []
    for key, item in plain.items():
        if key in both:
            old, young = base.series[key], new.series[key]
            done.append(_judge(_levels(item, old, young), old, young, errors.get(key), alpha))
        elif item.judged:
            reason = f"not measured in the {'base' if key in new.series else 'new run'}"
            if key in base.series and key in new.series:
                old_way, new_way = base.method(key.metric), new.method(key.metric)
                reason = f"measured in another way (method {old_way} -> {new_way}): make a new baseline"
            done.append(replace(item, verdict=Verdict.NOT_COMPARABLE, reason=reason))
    return done


@dataclass(frozen=True)
class _Error:
    """Standard error of a shift of logarithms, its degrees of freedom, and whether it rests on an assumption."""

    size: float
    degrees: float
    assumed: bool = False


def _errors(base: Side, new: Side, keys: Collection[Key], alpha: float, *, same_run: bool) -> dict[Key, _Error]:
    """Return the standard errors of all points that have one: variances are steadied metric by metric."""
    usable: dict[str, list[Key]] = {}
    for key in sorted(keys):
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
            counts = _counts(base.series[key], new.series[key])
            if same_run:
                error, assumed = by_assumption(within, LEAST[base.clock], counts), False
            else:
                levels = _levels_of((base, new), key)
                error = shift_errors(within, levels, counts, base.clock, alpha)
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
        base_uncertainty=base.uncertainty,
        new_uncertainty=new.uncertainty,
        base_bounded=base.timed_out,
        new_bounded=new.timed_out,
        shift=hodges_lehmann(base.values, new.values),
        p=mann_whitney_p(base.values, new.values),
    )


def _judge(item: Comparison, base: Replicates, new: Replicates, error: _Error | None, alpha: float) -> Comparison:
    """Give the verdict on one number; ``alpha`` is its share of the family's."""
    if _waits(item.key, base, new):
        return _with_censoring(_without_ratio(item, base, new), base, new)
    if error is None:
        reason = (
            "one repetition on either side: nothing tells how they vary"
            if _all_positive(base) and _all_positive(new)
            else "0 in some repetitions: no ratio can be taken"
        )
        return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)
    ratio = hodges_lehmann(np.log(base.values), np.log(new.values))
    width = t_quantile(1 - alpha / 2, error.degrees) * error.size
    below, above = map(float, ratio_reach(new.share, base.share))
    detectable = minimum_detectable_effect(
        error.size, error.degrees, alpha=alpha, threshold=float(np.log1p(item.threshold)), unsure=max(below, above)
    )
    wide, top = width >= WIDEST, ratio + width + above
    item = replace(
        item,
        relative=_share(ratio),
        low=_share(ratio - width - below),
        high=np.inf if wide and top > 0 else _share(top),  # how much more it is at most is not known then
        detectable=_share(detectable) if np.isfinite(detectable) and not wide else None,
        assumed=error.assumed,
    )
    return _with_censoring(_verdict(item, ratio, _Reach(width, below, above), error), base, new)


def _waits(key: Key, base: Replicates, new: Replicates) -> bool:
    """Tell whether a number is next to nothing on one side at least, so that a ratio would say nothing of it."""
    if key.unit not in NEGLIGIBLE:
        return not base.values.any() and not new.values.any()
    least = NEGLIGIBLE[key.unit]
    idle = key.scenario == Scenario.IDLE and min(base.values.max(), new.values.max()) < least
    few = key.unit != "ns" and max(base.values.max(), new.values.max()) < least
    return idle or few or not (_all_positive(base) and _all_positive(new))


def _without_ratio(item: Comparison, base: Replicates, new: Replicates) -> Comparison:
    """Judge by absolute size: a loop that begins to burn what it did not is found, and jitter of a timer is not."""
    old, young = base.values, new.values
    if not old.any() and not young.any():
        return replace(item, verdict=Verdict.SAME, reason="0 in every repetition")
    zeros, least = min(old.min(), young.min()) <= 0, NEGLIGIBLE[item.key.unit]
    if max(old.max(), young.max()) < least:
        words = "0 in some repetitions, and next to nothing in all" if zeros else "next to nothing in all repetitions"
        return replace(item, verdict=Verdict.SAME, reason=words)
    unsure = base.uncertainty + new.uncertainty
    if _all_above(young, old, least, unsure):
        return replace(item, verdict=Verdict.REGRESSED, reason="far more in every repetition than in any before")
    if _all_above(old, young, least, unsure):
        return replace(item, verdict=Verdict.IMPROVED, reason="far less in every repetition than in any before")
    if _all_above(young, old, least) or _all_above(old, young, least):
        reason = f"no further apart than readings are uncertain by: {human(unsure, item.key.shown_unit)}"
        return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)
    some = "0 in some repetitions" if zeros else "next to nothing on one side"
    return replace(item, verdict=Verdict.INCONCLUSIVE, reason=f"{some}: no ratio can be taken")


def _all_above(much: FloatArray, little: FloatArray, least: float, unsure: float = 0.0) -> bool:
    """Tell whether each repetition of one side lies far above all of the other, which may be 0.

    ``unsure``: by how much the readings of both may be wrong, together.
    """
    if min(much.size, little.size) < 2:  # noqa: PLR2004 -- one repetition may be anything
        return False
    times = TIMES_NEGLIGIBLE if little.max() < least else TIMES_MORE
    return bool(much.min() >= max(least, times * little.max()) and much.min() - little.max() > unsure)


@dataclass(frozen=True)
class _Reach:
    """How far the logarithm of a ratio may be wrong: by chance, to either side, and by its readings, to each."""

    chance: float
    below: float
    above: float

    @property
    def readings(self) -> float:
        """By its readings, to the worse side."""
        return max(self.below, self.above)


def _verdict(item: Comparison, ratio: float, reach: _Reach, error: _Error) -> Comparison:
    limit = float(np.log1p(item.threshold))
    if ratio - reach.chance - reach.below > 0 and ratio >= limit:
        return replace(item, verdict=Verdict.REGRESSED, reason="more than before, beyond chance and threshold")
    if ratio + reach.chance + reach.above < 0 and ratio <= -limit:
        return replace(item, verdict=Verdict.IMPROVED, reason="less than before, beyond chance and threshold")
    width = reach.chance + reach.readings
    if width <= limit:
        return item  # a shift of the threshold's size would have been found
    margin = t_quantile(1 - EQUAL_ALPHA, error.degrees) * error.size
    if abs(ratio) + margin + reach.readings < limit:
        return item  # noisy, but too near to no change for one of the threshold's size (two one-sided tests)
    moved = abs(ratio) > max(limit, reach.chance)
    if moved or reach.readings > max(limit, reach.chance):
        reason = _too_coarse(item.threshold, reach.readings, moved=moved)
        return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)
    if width < WIDEST:
        reason = f"too noisy to show {percent(item.threshold)}: the interval is ±{percent(_share(width))}"
        return replace(item, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return replace(item, verdict=Verdict.INCONCLUSIVE, reason=_no_interval(item), low=None, high=None, detectable=None)


def _too_coarse(threshold: float, readings: float, *, moved: bool) -> str:
    """Say that what was measured is less than its probes resolve (``moved``), or that they resolve too little."""
    if not np.isfinite(readings):
        return "no larger than what its probes resolve: no ratio can be taken"
    what = (
        "its probes may explain all of the change"
        if moved
        else f"its probes are too coarse to show {percent(threshold)}"
    )
    return f"{what}: the ratio of two readings is within ±{percent(_share(readings))}"


def _no_interval(item: Comparison) -> str:
    """Say in words what an interval of ±5e23 % would say."""
    fewest = min(item.base_repetitions, item.new_repetitions)
    why = "too few repetitions" if fewest < ENOUGH_REPETITIONS else "repetitions too far apart"
    return f"{why} ({item.base_repetitions} before, {item.new_repetitions} now) to tell even a change of ten times"


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
    if log_ratio == np.inf:
        return float(np.inf)
    return float(np.expm1(min(log_ratio, 50.0)))  # e^50 is more than any threshold, and no overflow
