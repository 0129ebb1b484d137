"""Where one subject overtakes another, in real time and between programs that clusters run.

By the instruction clock nothing is said: it knows work, not time, and would place a crossing several times too early.
The reference proxier takes no part: its ranking is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import ClockKind, Metric, Mode, Position, Scenario
from proxybench.report.words import REFERENCE, join, subject_names
from proxybench.stats.curves import Outcome, crossover

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.stats.curves import Crossover, FloatArray
    from proxybench.stats.series import Series


@dataclass(frozen=True)
class Question:
    """A number in which two subjects may change places; modes in ``without`` mean something else by it."""

    title: str
    metric: Metric
    scenario: Scenario
    position: Position = Position.NONE
    without: tuple[Mode, ...] = ()


QUESTIONS = (
    Question("One Service added, until it answers", Metric.SYNC_END_TO_END, Scenario.ADD_ONE, Position.LAST),
    Question("Cold start with N Services", Metric.SYNC_END_TO_END, Scenario.COLD_START, Position.LAST),
    Question("CPU of the control loop, one Service added", Metric.CPU_CONTROL_LOOP, Scenario.ADD_ONE),
    Question("connect(), last rule", Metric.FORWARDING_CONNECT, Scenario.STEADY, Position.LAST, (Mode.USERSPACE,)),
    Question("First byte, last rule", Metric.FORWARDING_FIRST_BYTE, Scenario.STEADY, Position.LAST),
)


def all_crossings(series: Sequence[Series]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each question's title with its lines, of those that have any."""
    return tuple((each.title, lines) for each in QUESTIONS if (lines := crossings(series, each)))


def crossings(series: Sequence[Series], question: Question) -> tuple[str, ...]:
    """Say for each pair of subjects where one overtakes the other; last, which pairs never do."""
    found = _curves(series, question)
    names = subject_names(found)
    lines: list[str] = []
    kept: dict[str, list[str]] = {head: [] for head in (_PERHAPS, *_HEADS.values())}
    for (first, one), (second, two) in combinations(sorted(found.items(), key=lambda item: (item[0].mode, item[0])), 2):
        shared = {size: one[size].keys() & two[size].keys() for size in sorted(one.keys() & two.keys())}
        sizes = [size for size, labels in shared.items() if len(labels) > 1]
        faint = [size for size in sizes if any(min(each[size].values())[0] <= 0 for each in (one, two))]
        sizes = [size for size in sizes if size not in faint]  # there are no logarithms of such values to compare
        if len(sizes) < 2:  # noqa: PLR2004 - no line
            continue
        # A large size may have fewer repetitions than a small one.
        labels = sorted(set().union(*(shared[size] for size in sizes)))
        (left, left_unsure), (right, right_unsure) = (_rows(curve, sizes, labels) for curve in (one, two))
        places: FloatArray = np.array(sizes, dtype=np.float64)
        result = crossover(places, left, right, unsure=(left_unsure, right_unsure))
        once = {size: _lower(one, two, size, min(labels)) for size, labels in shared.items() if len(labels) == 1}
        pair = (names[first], names[second])
        words = _crossing_words(result, *pair) + _left_out(faint) + _once(once, *pair)
        against = result.outcome is Outcome.NONE and {True, False} - {result.first_lower} & set(once.values())
        (lines if result.crossings else kept[_PERHAPS if against else _HEADS[result.outcome]]).append(words)
    return (*lines, *(f"{head}: {'; '.join(words)}" for head, words in kept.items() if words))


_PERHAPS = "Perhaps a crossing"
_HEADS = {Outcome.NONE: "No crossing", Outcome.UNDECIDED: "Not told apart"}


_Curve = dict[int, dict[tuple[str, int], tuple[float, float]]]
"""Size → repetition → median, and what that is uncertain by."""


def _rows(curve: _Curve, sizes: Sequence[int], labels: Sequence[tuple[str, int]]) -> tuple[FloatArray, FloatArray]:
    """Return the medians and what they are uncertain by, a row per repetition and a column per size."""
    missing = (np.nan, 0.0)
    both: FloatArray = np.array([[curve[size].get(label, missing) for size in sizes] for label in labels])
    return both[..., 0], both[..., 1]


def _curves(series: Sequence[Series], question: Question) -> dict[Subject, _Curve]:
    """Return each subject's curve, without points of which some repetition timed out."""
    chosen = [
        each
        for each in series
        if (each.key.metric, each.key.scenario, each.key.position)
        == (question.metric, question.scenario, question.position)
        and each.key.clock == ClockKind.WALL
        and each.key.subject.kind != REFERENCE
        and each.key.mode not in question.without
        and not each.bounded.any()
    ]
    planes = [(each.key.path, each.key.family, each.key.endpoints_per_service) for each in chosen]
    if not planes:
        return {}
    main = max(sorted(set(planes)), key=planes.count)
    found: dict[Subject, _Curve] = {}
    for each, plane in zip(chosen, planes, strict=True):
        if plane == main:
            unsure = each.unsure()
            values = {label: (value, unsure[label]) for label, value in each.by_label().items()}
            found.setdefault(each.key.subject, {})[each.key.services] = values
    return found


def _left_out(faint: Sequence[int]) -> str:
    """Say at which sizes some repetition was too quick for a probe to tell it from 0."""
    return f" (left out: 0 in some repetition at {join([f'{size:,}' for size in faint])})" if faint else ""


def _lower(one: _Curve, two: _Curve, size: int, label: tuple[str, int]) -> bool | None:
    """Tell whether the first is the lower one in a repetition; None where readings may explain how they differ."""
    (left, left_unsure), (right, right_unsure) = one[size][label], two[size][label]
    return None if abs(left - right) <= left_unsure + right_unsure else left < right


def _once(found: Mapping[int, bool | None], one: str, two: str) -> str:
    """Say what was seen at sizes that have one repetition: it tells no lead, for nothing tells how it varies."""
    seen = ", ".join(
        f"{one if first else two} lower at {size:,}" if first is not None else f"both alike at {size:,}"
        for size, first in found.items()
    )
    return f" (measured once: {seen})" if seen else ""


def _crossing_words(result: Crossover, one: str, two: str) -> str:
    if result.outcome is Outcome.UNDECIDED:
        return f"{one} and {two} up to {result.up_to:,.0f} Services"
    if result.outcome is Outcome.NONE:
        winner, loser = (one, two) if result.first_lower else (two, one)
        if len(result.told_apart) == result.sizes:
            return f"{winner} is below {loser} at every size up to {result.up_to:,.0f}"
        places = ", ".join(f"{size:,.0f}" for size in result.told_apart)
        return f"{winner} is below {loser} at {places}, elsewhere not told apart"
    return "; ".join(
        f"{one if each.first_lower_after else two} overtakes {two if each.first_lower_after else one} at about "
        f"{each.at:,.0f} Services (95 %: {each.low:,.0f} to {each.high:,.0f})"
        for each in result.crossings
    )
