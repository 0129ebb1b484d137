"""The answer in words: which mode wins what at each size, where two modes change places, what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, groupby
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import Metric, Mode, Position, Scenario
from proxybench.report.data import ADDED
from proxybench.report.tables import Cell, Table, best_of, interval_text, median_text
from proxybench.report.words import DASH, MINUS, NBSP, count, distance, exact, human, join, mode_name
from proxybench.stats.curves import Outcome, crossover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import ReportData
    from proxybench.stats.curves import Crossover, FloatArray
    from proxybench.stats.series import Series
    from proxybench.stats.summary import SummaryRecord


@dataclass(frozen=True)
class Question:
    """One thing a reader wants to know. ``curve`` is the measured metric whose crossings answer it."""

    title: str
    detail: str
    metric: str
    scenario: Scenario
    position: Position = Position.NONE
    curve: str = ""
    without: tuple[Mode, ...] = ()

    @property
    def measured(self) -> str:
        """The metric that the raw samples hold."""
        return self.curve or self.metric


QUESTIONS = (
    Question("Syncs fastest", "one Service added", Metric.SYNC_END_TO_END, Scenario.ADD_ONE, Position.LAST),
    Question(
        "Starts fastest", "cold start with N Services", Metric.SYNC_END_TO_END, Scenario.COLD_START, Position.LAST
    ),
    Question("Costs least CPU", "control loop, one Service added", Metric.CPU_CONTROL_LOOP, Scenario.ADD_ONE),
    Question(
        "Adds least latency",
        "connect(), last rule",
        ADDED,
        Scenario.STEADY,
        Position.LAST,
        Metric.FORWARDING_CONNECT,
        (Mode.USERSPACE,),
    ),
    Question("Answers soonest", "first byte, last rule", Metric.FORWARDING_FIRST_BYTE, Scenario.STEADY, Position.LAST),
)

USERSPACE_NOTE = (
    "userspace is left out of “adds least latency”: its connect() ends at a relay on the same node, so it says "
    "nothing of the way to the endpoint. The first byte does."
)


@dataclass(frozen=True)
class Verdict:
    """``lines`` are the sentences at the top, ``table`` the winner of each question at each size."""

    lines: tuple[str, ...]
    table: Table | None
    crossings: tuple[tuple[str, tuple[str, ...]], ...]
    jumps: tuple[str, ...]
    notes: tuple[str, ...]


def verdict(data: ReportData) -> Verdict:
    """Answer every question that the records can answer."""
    answered = [(question, found) for question in QUESTIONS if (found := _answers(data, question))]
    sizes = sorted({size for _, found in answered for size in found})
    heads = [Cell(question.title, detail=question.detail) for question, _ in answered]
    rows = [
        (Cell(f"{size:,}", sort=str(size), number=True), *(_winner_cell(found.get(size, [])) for _, found in answered))
        for size in sizes
    ]
    table = Table("The winner at each number of Services", (Cell("Services", number=True), *heads), tuple(rows))
    left_out = any(question.without and question.metric == ADDED for question, _ in answered)
    has_userspace = any(record.mode == Mode.USERSPACE for record in data.of(Metric.FORWARDING_CONNECT))
    return Verdict(
        tuple(_sentence(question, found) for question, found in answered),
        table if rows else None,
        tuple(
            (f"{each.title} ({each.detail})", lines) for each, _ in answered if (lines := crossings(data.series, each))
        ),
        tuple(jump.sentence() for jump in data.jumps),
        (USERSPACE_NOTE,) if left_out and has_userspace else (),
    )


def crossings(series: Sequence[Series], question: Question) -> tuple[str, ...]:
    """Say for each pair of modes where one overtakes the other in this question; last, which pairs never do."""
    found = _curves(series, question)
    lines: list[str] = []
    kept: list[str] = []
    for (first, one), (second, two) in combinations(sorted(found.items()), 2):
        sizes = sorted(size for size in one.keys() & two.keys() if one[size].keys() & two[size].keys())
        labels = sorted(set().union(*(one[size].keys() & two[size].keys() for size in sizes)))
        if len(sizes) < 2 or len(labels) < 2:  # noqa: PLR2004 - no line, or no spread
            continue
        # A large size may have fewer repetitions than a small one.
        left: FloatArray = np.array([[one[size].get(label, np.nan) for size in sizes] for label in labels])
        right: FloatArray = np.array([[two[size].get(label, np.nan) for size in sizes] for label in labels])
        if np.any(left <= 0) or np.any(right <= 0):
            continue  # there are no logarithms of such values to compare
        result = crossover(np.array(sizes, dtype=np.float64), left, right)
        (kept if result.outcome is Outcome.NONE else lines).append(_crossing_words(result, first, second))
    return (*lines, *([f"No crossing: {'; '.join(kept)}"] if kept else []))


def _answers(data: ReportData, question: Question) -> dict[int, list[SummaryRecord]]:
    """Return the candidates at each size, at the path and endpoints that most of them share."""
    records = [
        record
        for record in data.of(question.metric, question.scenario)
        if record.position == question.position and record.mode not in question.without
    ]
    if not records:
        return {}
    planes = [(record.path, record.endpoints_per_service, record.clock) for record in records]
    main = max(sorted(set(planes)), key=planes.count)
    found: dict[int, list[SummaryRecord]] = {}
    for record, plane in zip(records, planes, strict=True):
        if plane == main:
            found.setdefault(record.services, []).append(record)
    return found


def _winner_cell(records: Sequence[SummaryRecord]) -> Cell:
    known = sorted((record for record in records if not record.bounded(0.5)), key=lambda record: record.median)
    if not known:
        text = "time-outs only" if records else "not measured"
        return Cell(DASH, detail=text)
    best = sorted(best_of(records), key=lambda record: record.median)
    first = known[0]
    title = f"{exact(first.median, first.unit)}, 95 % interval {interval_text(first)}"
    if len(best) > 1:
        names = " ≈ ".join(_name(record, records) for record in best)
        return Cell(names, f"{median_text(first)}\nintervals overlap", title)
    name, value = _name(first, records), median_text(first)
    if first.metric == ADDED:
        value = _signed(first)
    others = [record for record in records if record is not first]
    if not others:
        return Cell(name, f"{value}\nnothing to compare with", title, mode=first.mode)
    if not best:
        return Cell(DASH, f"one repetition\nlowest: {name} {value}", title)
    second = min(others, key=lambda record: (record.bounded(0.5), record.median))
    return Cell(name, f"{value}\nnext {_beside(first, second, records)}", title, mode=first.mode, best=True)


def _beside(first: SummaryRecord, second: SummaryRecord, among: Sequence[SummaryRecord]) -> str:
    """Write the second mode's own value, and in brackets how far it lies above the first."""
    name, least = _name(second, among), "at least " if second.bounded(0.5) else ""
    if first.metric == ADDED:  # differences from the zero point: of two of them, one below zero, no ratio makes sense
        value, apart = _signed(second), f"{human(second.median - first.median, first.unit)} more"
    else:
        value, apart = (
            median_text(second),
            f"{least}{distance(second.median / first.median)}" if first.median > 0 else "",
        )
    return f"{name} {value}" + (f" ({apart})".replace(" ", NBSP).replace(NBSP, " ", 1) if apart else "")


def _signed(record: SummaryRecord) -> str:
    return ("+" if record.median >= 0 else MINUS) + human(abs(record.median), record.unit)


def _name(record: SummaryRecord, among: Sequence[SummaryRecord]) -> str:
    several = len({each.program for each in among}) > 1
    return f"{mode_name(record.mode)} ({record.program})" if several else mode_name(record.mode)


def _sentence(question: Question, found: dict[int, list[SummaryRecord]]) -> str:
    """Join neighbouring sizes with the same winner: “iptables up to 100 Services, IPVS from 1,000”."""
    sizes = sorted(found)
    winners = [(size, _winner_name(found[size])) for size in sizes]
    runs = [(name, [size for size, _ in group]) for name, group in groupby(winners, key=lambda item: item[1])]
    if len(runs) == 1:
        span = f"at every size measured ({_span(sizes)})" if len(sizes) > 1 else f"at {count(sizes[0], 'Service')}"
        return f"{question.title} ({question.detail}): {runs[0][0]} {span}."
    parts = [f"{name} at {_span(members)}" for name, members in runs]
    return f"{question.title} ({question.detail}): {'; '.join(parts)} Services."


def _winner_name(records: Sequence[SummaryRecord]) -> str:
    best = sorted(best_of(records), key=lambda record: record.median)
    if len(best) > 1:
        return f"no clear winner between {join([_name(record, records) for record in best])}"
    if best:
        return _name(best[0], records)
    if len(records) == 1:
        return _name(records[0], records) + " (alone)"
    timed_out = all(record.bounded(0.5) for record in records)
    return "nobody (time-outs)" if timed_out else "not known (one repetition)"


def _span(sizes: Sequence[int]) -> str:
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


_Curve = dict[int, dict[tuple[str, int], float]]


def _curves(series: Sequence[Series], question: Question) -> dict[str, _Curve]:
    """Return mode → size → repetition → median, without points of which some repetition timed out."""
    chosen = [
        each
        for each in series
        if each.key.metric == question.measured
        and each.key.scenario == question.scenario
        and each.key.position == question.position
        and each.key.mode not in question.without
        and not each.bounded.any()
    ]
    planes = [(each.key.path, each.key.endpoints_per_service, each.key.clock, each.key.program) for each in chosen]
    if not planes:
        return {}
    main = max(sorted(set(planes)), key=planes.count)
    found: dict[str, _Curve] = {}
    for each, plane in zip(chosen, planes, strict=True):
        if plane == main:
            values = dict(zip(each.labels, each.values.tolist(), strict=True))
            found.setdefault(each.key.mode, {})[each.key.services] = values
    return found


def _crossing_words(result: Crossover, first: str, second: str) -> str:
    one, two = mode_name(first), mode_name(second)
    if result.outcome is Outcome.UNDECIDED:
        return f"{one} and {two} were not told apart up to {result.up_to:,.0f} Services"
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
