"""The first screen: what each subject costs at a size, beside the first one of the experiment.

A reader decides whether to move from A to B at N Services; so there is one table per size, with one row per thing that
they would notice and one column per subject. Below each median stands its ratio to the first subject's, paired within
each repetition, with its 95 % interval. By the instruction clock a ratio is one of work, and never called faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import ClockKind, Metric, Position, Scenario
from proxybench.report.tables import Cell, Table
from proxybench.report.words import DASH, REFERENCE, TIMES, clock_long, count, exact, human, subject_names
from proxybench.stats.intervals import Interval, centre_interval
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.stats.series import Series

FEW = 5
"""A figure that rests on fewer repetitions says so."""
KUBE_PROXY = "kube-proxy"
JSON_NOTE = (
    "The lab's API server speaks JSON, a cluster's protobuf. That is in kube-proxy's CPU at a cold start: about 0.1 s "
    "per 1,000 Services (v1.37.2 against a real API server, 5,000 Services: 0.90 s of its own CPU by JSON, 0.42 s by "
    "protobuf; docs/decisions.md)."
)
_WIDE = 3.0  # an interval whose ends lie further apart than this factor is told in words

Size = tuple[int, int]
"""Services, and endpoints of each."""


@dataclass(frozen=True)
class Concern:
    """One row: the first of ``scenarios`` and ``positions`` that the run has is shown.

    ``per`` names a second metric of the same point that the first is divided by: CPU per second of watching.
    """

    title: str
    detail: str
    metric: Metric
    scenarios: tuple[Scenario, ...]
    positions: tuple[Position, ...] = (Position.NONE,)
    per: Metric | None = None


_WINDOW, _FIRST_BYTE = Metric.CPU_WINDOW, Metric.FORWARDING_FIRST_BYTE
_RULES = (Position.LAST, Position.MIDDLE, Position.FIRST)
CONCERNS = (
    Concern("Cold start", "until all probed Services answer", Metric.SYNC_END_TO_END, (Scenario.COLD_START,), _RULES),
    Concern("Cold start, CPU", "with all children", Metric.CPU_CONTROL_LOOP, (Scenario.COLD_START,)),
    Concern("New Service", "Service, then its endpoints", Metric.SYNC_END_TO_END, (Scenario.NEW_SERVICE,), _RULES),
    Concern("One Service added", "endpoints there before", Metric.SYNC_END_TO_END, (Scenario.ADD_ONE,), _RULES),
    Concern("One Service added, CPU", "of the control loop", Metric.CPU_CONTROL_LOOP, (Scenario.ADD_ONE,)),
    Concern("One endpoint changed", "until it answers", Metric.SYNC_END_TO_END, (Scenario.CHANGE_ENDPOINT,), _RULES),
    Concern("One Service deleted", "until refused", Metric.SYNC_END_TO_END, (Scenario.DELETE_ONE,), _RULES),
    Concern(
        "Idle, CPU per second", "nothing changes", Metric.CPU_CONTROL_LOOP, (Scenario.IDLE,), per=Metric.CPU_WINDOW
    ),
    Concern("Memory", "largest resident set", Metric.MEMORY_RESIDENT, (Scenario.COLD_START,)),
    Concern(
        "New connection, Service", "first byte, last rule", Metric.FORWARDING_FIRST_BYTE, (Scenario.STEADY,), _RULES
    ),
    Concern("New connection, endpoint", "connect(), rules present", Metric.FORWARDING_DIRECT, (Scenario.STEADY,)),
    Concern("New connection, no rules", "connect(), before the start", Metric.FORWARDING_BARE, (Scenario.STEADY,)),
)


@dataclass(frozen=True)
class Figure:
    """One subject's number: a value per repetition in ``unit``; with ``bounded`` the median is only a lower bound."""

    values: Mapping[tuple[str, int], float]
    unit: str
    bounded: bool

    @property
    def median(self) -> float:
        """The median of the repetitions' values."""
        return float(np.median(list(self.values.values())))


@dataclass(frozen=True)
class Decision:
    """``tables``: a heading and a table for each clock and size, real time first, the largest size first."""

    tables: tuple[tuple[str, Table], ...]
    notes: tuple[str, ...]


def decision(series: Sequence[Series], subjects: Sequence[Subject]) -> Decision:
    """Put the tables together; ``subjects`` in the experiment's order: the others are compared with the first."""
    tables = []
    for clock in sorted({each.key.clock for each in series}, key=lambda clock: clock != ClockKind.WALL):
        of_clock = [each for each in series if each.key.clock == clock]
        for size in sorted({_size(each) for each in of_clock}, reverse=True):
            here = [each for each in of_clock if _size(each) == size]
            present = [subject for subject in subjects if any(each.key.subject == subject for each in here)]
            rows = [(concern, found) for concern in CONCERNS if (found := _figures(concern, here))]
            if rows:
                tables.append((_title(size), _table(rows, present, clock)))
    return Decision(tuple(tables), _notes(subjects, {each.key.clock for each in series}))


def ratio(base: Figure, other: Figure) -> tuple[float, Interval | None] | None:
    """Return how many times the first's number the second's is, and its 95 % interval, paired by repetition.

    None where a value is 0 or only a bound: there is no ratio then. The interval is None for a single repetition.
    """
    labels = sorted(base.values.keys() & other.values.keys())
    pairs = np.array([(base.values[label], other.values[label]) for label in labels], dtype=np.float64)
    if base.bounded or other.bounded or not labels or np.any(pairs <= 0):
        return None
    ratios = pairs[:, 1] / pairs[:, 0]
    return float(np.median(ratios)), centre_interval(ratios)


def _figures(concern: Concern, series: Sequence[Series]) -> dict[Subject, Figure]:
    for scenario in concern.scenarios:
        for position in concern.positions:
            found = _at(concern.metric, scenario, position, series)
            if found and concern.per:
                return _divided(found, _at(concern.per, scenario, position, series))
            if found:
                return found
    return {}


def _at(metric: Metric, scenario: Scenario, position: Position, series: Iterable[Series]) -> dict[Subject, Figure]:
    wanted = (metric, scenario, position)
    return {
        each.key.subject: Figure(
            dict(zip(each.labels, each.values.tolist(), strict=True)),
            each.key.unit,
            bool(np.count_nonzero(each.bounded) * 2 >= each.bounded.size),
        )
        for each in series
        if (each.key.metric, each.key.scenario, each.key.position) == wanted
    }


def _divided(found: Mapping[Subject, Figure], windows: Mapping[Subject, Figure]) -> dict[Subject, Figure]:
    """Return CPU time per second of the window, in ns per second."""
    shares = {}
    for subject, figure in found.items():
        window = windows[subject].values if subject in windows else {}
        values = {
            label: value * NS_PER_S / window[label] for label, value in figure.values.items() if window.get(label)
        }
        if values:
            shares[subject] = Figure(values, figure.unit, figure.bounded)
    return shares


def _table(
    rows: Sequence[tuple[Concern, Mapping[Subject, Figure]]], subjects: Sequence[Subject], clock: ClockKind
) -> Table:
    first, *others = subjects
    names = subject_names(subjects)
    heads = [Cell(names[subject], _program(subject), mode=subject.mode, number=True) for subject in subjects]
    body = [
        (
            Cell(concern.title, detail=concern.detail),
            _first_cell(found.get(first)),
            *(_cell(found.get(subject), found.get(first)) for subject in others),
        )
        for concern, found in rows
    ]
    beside = f"; below, times that of {names[first]} with the 95 % interval" if others else ""
    return Table(f"Medians over repetitions{beside} ({clock_long(clock)})", (Cell(""), *heads), tuple(body))


def _program(subject: Subject) -> str:
    """Name the program under the mode, but for the reference, which its name already tells."""
    return subject.program if subject.kind != REFERENCE else f"{subject.version}, self-test"


def _first_cell(figure: Figure | None) -> Cell:
    return _cell(figure, None)


def _cell(figure: Figure | None, base: Figure | None) -> Cell:
    if figure is None:
        return Cell(DASH, number=True, title="not measured")
    text = ("> " if figure.bounded else "") + human(figure.median, figure.unit)
    detail = "" if base is None else _beside(base, figure)
    return Cell(text, detail, exact(figure.median, figure.unit), str(figure.median), number=True)


def _beside(base: Figure, figure: Figure) -> str:
    found = ratio(base, figure)
    if found is None:
        return "at least" if figure.bounded and not base.bounded else ""
    middle, interval = found
    text = f"{TIMES}{middle:.3g}"
    if interval is None:
        return f"{text} (one repetition)"
    few = f", {count(len(figure.values), 'repetition')}" if len(figure.values) < FEW else ""
    if interval.high > _WIDE * interval.low:
        return f"{text} (too unsteady to tell{few})"
    return f"{text} ({interval.low:.3g} to {interval.high:.3g}{few})"


def _size(series: Series) -> Size:
    return series.key.services, series.key.endpoints_per_service


def _title(size: Size) -> str:
    return f"At {count(size[0], 'Service')} with {count(size[1], 'endpoint')} each"


def _notes(subjects: Sequence[Subject], clocks: Iterable[str]) -> tuple[str, ...]:
    notes = []
    if ClockKind.INSTRUCTIONS in set(clocks):
        notes.append(
            "Counted instructions are work, not time: they know no cache, no waiting for memory or locks. A ratio here "
            "says how much more a processor has to do, not how much longer it takes; real time needs the wall clock."
        )
    if any(subject.kind == KUBE_PROXY for subject in subjects):
        notes.append(JSON_NOTE)
    if any(subject.kind == REFERENCE for subject in subjects):
        notes.append(
            "The reference proxier is proxybench's own self-test. No cluster runs it, and its ranking of modes is not "
            "kube-proxy's: read its columns as a lower bound for the harness, never as an answer."
        )
    return tuple(notes)
