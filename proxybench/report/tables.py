"""Tables as data: every number as a person writes it, with the exact value beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.model import ClockKind
from proxybench.report.grouping import way
from proxybench.report.words import (
    DASH,
    DIRECTLY,
    POSITIONS,
    REFERENCE,
    SCENARIOS,
    clock_short,
    exact,
    human,
    look,
    mode_name,
    path_name,
    short,
    span,
    subject_names,
)
from proxybench.units import INSTRUCTIONS, resolved

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from proxybench.model import Key, Subject
    from proxybench.stats.summary import SummaryRecord


@dataclass(frozen=True)
class Cell:
    """``text`` is shown, ``detail`` below it in small; ``title`` is the exact value, ``sort`` orders by it."""

    text: str
    detail: str = ""
    title: str = ""
    sort: str = ""
    mode: str = ""
    best: bool = False
    number: bool = False
    state: str = ""
    rows: int = 1  # how many rows it spans; 0: covered by the cell above


Column = tuple["Subject", ClockKind]

WIDEST = 100.0
"""Intervals that reach further than so many times the median are named, not written: they say too few repetitions."""


MUCH = 0.05
"""The share of a number from which on what it is uncertain by (a probe's step, clocks' offset) is marked."""


@dataclass(frozen=True)
class Table:
    """``heads[i]`` stands above ``rows[j][i]``; the first ``keys`` columns name the row."""

    caption: str
    heads: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    keys: int = 1


def median_text(record: SummaryRecord) -> str:
    """Write the median, as ``≥ x`` when it is only a lower bound."""
    return bounded_text(record, record.median, 0.5)


def bounded_text(record: SummaryRecord, value: float, q: float) -> str:
    """Write a quantile: ``≥ x`` when it falls into the censored samples, a dash when it has no meaning.

    One that is not resolved is written as what it is less than.
    """
    if math.isnan(value):
        return DASH
    if record.bounded(q):
        return f"≥ {human(value, record.shown_unit)}"
    return resolved(value, record.shown_unit, record.uncertainty, human)


def interval_text(record: SummaryRecord) -> str:
    """Write the 95 % interval, or why there is none."""
    if record.ci_low is None or record.ci_high is None:
        if record.bounded(0.5):
            return "time-outs"
        write = short if record.shown_unit == INSTRUCTIONS else human  # the noun stands above, as with an interval
        return "one repetition" + (f", ± {write(record.uncertainty, record.shown_unit)}" if record.uncertainty else "")
    if record.ci_high > WIDEST * record.median > 0:
        return f"reaches over {WIDEST:.0f} times the median"  # no one reads "0 ns to 62 hours"
    return span(record.ci_low, record.ci_high, record.shown_unit)


def pivot(
    records: Sequence[SummaryRecord],
    caption: str,
    *,
    unranked: Container[str] = (),
    unranked_scenarios: Container[str] = (),
) -> Table:
    """Return one row per point and one column per subject (and clock): median and interval, the lowest marked.

    Modes in ``unranked`` are shown but not compared, nor is anything in ``unranked_scenarios``. Counted instructions
    are no time, and the reference is nobody's proxy: neither is ever marked.
    """
    columns = columns_of(records)
    fields = [
        name for name in ("scenario", "position", "path", "family", "endpoints_per_service") if _varies(records, name)
    ]
    rows: dict[tuple[object, ...], dict[Column, SummaryRecord]] = {}
    for record in records:
        key = (*(_rank(name, getattr(record, name)) for name in fields), record.services)
        rows.setdefault(key, {})[record.subject, record.clock] = record
    body = []
    for key in sorted(rows, key=lambda parts: [str(part).zfill(8) for part in parts]):
        found = rows[key]
        sample = next(iter(found.values()))
        names = [_name_cell(name, getattr(sample, name)) for name in fields]
        compared = sample.scenario not in unranked_scenarios
        ranked = [record for record in found.values() if compared and record.mode not in unranked and _ranks(record)]
        best = best_of(ranked)
        best = set() if len(best) == len(ranked) else best  # all alike: nothing to mark
        cells = [_median_cell(found.get(column), best) for column in columns]
        body.append((*names, _count_cell(sample.services), *cells))
    heads = [Cell(_HEADS[name], number=name == "endpoints_per_service") for name in fields]
    whole = (*heads, Cell("Services", number=True), *column_heads(columns))
    return Table(caption, whole, merged(body, len(fields)), len(fields) + 1)


def columns_of(keys: Iterable[Key]) -> list[Column]:
    """Return who has a column, by which clock: subjects by mode, of each the wall clock first."""
    found = {(key.subject, ClockKind(key.clock)) for key in keys}
    return sorted(found, key=lambda column: (column[0].mode, column[0], column[1] != ClockKind.WALL))


def column_heads(columns: Sequence[Column]) -> list[Cell]:
    """Name the columns; the clock only where there are several."""
    labels = subject_names(subject for subject, _ in columns)
    several = len({clock for _, clock in columns}) > 1
    return [
        Cell(labels[subject], clock_short(clock) if several else "", mode=look(subject), number=True)
        for subject, clock in columns
    ]


def full(records: Sequence[SummaryRecord], caption: str, *, metric: bool = False) -> Table:
    """Return one row per record with everything that is known of it; ``metric`` adds its name."""
    clocks = len({record.clock for record in records}) > 1
    heads = (*(("Metric",) if metric else ()), "Scenario", "Position", "Path", "Mode", "Subject")
    heads += ("Clock",) if clocks else ()
    numbers = ("Services", "Endpoints", "Median", "95 % interval", "p90", "p99", "Samples", "Repetitions", "Time-outs")
    unsure = any(record.uncertainty for record in records)
    numbers = (*numbers[:4], *(("Read within ±",) if unsure else ()), *numbers[4:])
    rows = []
    for record in records:
        low, high = record.ci_low, record.ci_high
        title = (
            ""
            if low is None or high is None
            else f"{exact(low, record.shown_unit)} {DASH} {exact(high, record.shown_unit)}"
        )
        rows.append(
            (
                *((Cell(record.metric),) if metric else ()),
                _word_cell("scenario", record.scenario),
                _word_cell("position", record.position),
                Cell(way(record)),
                Cell(mode_name(record.mode), mode=look(record.subject)),
                Cell(record.program),
                *((Cell(clock_short(record.clock)),) if clocks else ()),
                _count_cell(record.services),
                _count_cell(record.endpoints_per_service),
                _value_cell(record, record.median, 0.5),
                Cell(interval_text(record), title=title, sort=f"{low or 0:.7g}", number=True),
                *((_unsure_cell(record),) if unsure else ()),
                _value_cell(record, record.p90, 0.9),
                _value_cell(record, record.p99, 0.99),
                _count_cell(record.n),
                _count_cell(record.repetitions),
                _count_cell(record.censored),
            )
        )
    return Table(
        caption,
        (*(Cell(head) for head in heads), *(Cell(head, number=True) for head in numbers)),
        tuple(rows),
        len(heads),
    )


def best_of(records: Sequence[SummaryRecord]) -> set[SummaryRecord]:
    """Return the record with the lowest median and all whose intervals overlap its interval; empty if unknown.

    Overlap is the cautious reading: what might be equal is not ranked. One repetition has no interval, so it leaves
    unknown who leads.
    """
    known = [record for record in records if not record.bounded(0.5)]
    if len(records) < 2 or not known:  # noqa: PLR2004 - nothing to compare with
        return set()
    lows = {record: record.ci_low for record in known if record.ci_low is not None}
    reach = min(known, key=lambda record: record.median).ci_high
    if reach is None or len(lows) < len(known):
        return set()
    return {record for record, low in lows.items() if low <= reach}


def merged(rows: Sequence[tuple[Cell, ...]], columns: int) -> tuple[tuple[Cell, ...], ...]:
    """Let equal neighbours in the first columns become one cell, as long as the columns before them agree."""
    merged = [list(row) for row in rows]
    for column in range(columns):
        first = 0
        for number in range(1, len(rows) + 1):
            if number == len(rows) or rows[number][: column + 1] != rows[first][: column + 1]:
                merged[first][column] = replace(rows[first][column], rows=number - first)
                for covered in range(first + 1, number):
                    merged[covered][column] = replace(rows[covered][column], rows=0)
                first = number
    return tuple(tuple(row) for row in merged)


def _ranks(record: SummaryRecord) -> bool:
    return record.clock != ClockKind.INSTRUCTIONS and record.subject.kind != REFERENCE


_HEADS = {
    "scenario": "Scenario",
    "position": "Position",
    "path": "Path",
    "family": "Family",
    "endpoints_per_service": "Endpoints each",
}
_ORDERS = {"scenario": list(SCENARIOS), "position": list(POSITIONS)}


def _varies(records: Sequence[SummaryRecord], name: str) -> bool:
    return len({getattr(record, name) for record in records}) > 1


def _rank(name: str, value: str | int) -> object:
    order = _ORDERS.get(name)
    return order.index(value) if order and value in order and isinstance(value, str) else value


def _name_cell(name: str, value: str | int) -> Cell:
    """Name a row: beside first, middle and last rule, no position at all is the way past the Service."""
    return Cell(DIRECTLY) if (name, value) == ("position", "none") else _word_cell(name, value)


def _word_cell(name: str, value: str | int) -> Cell:
    if isinstance(value, int):
        return _count_cell(value)
    if name == "path":
        return Cell(path_name(value))
    words = SCENARIOS if name == "scenario" else POSITIONS if name == "position" else {}
    return Cell(words.get(value, value) or DASH)


def _count_cell(value: int) -> Cell:
    return Cell(f"{value:,}", sort=str(value), number=True)


def _value_cell(record: SummaryRecord, value: float, q: float) -> Cell:
    text = bounded_text(record, value, q)
    return Cell(
        text, title="" if math.isnan(value) else exact(value, record.shown_unit), sort=f"{value:.7g}", number=True
    )


def _unsure_cell(record: SummaryRecord) -> Cell:
    """Write what a number is uncertain by, marked where that is more than MUCH of it."""
    text = human(record.uncertainty, record.shown_unit) if record.uncertainty else DASH
    much = record.uncertainty > MUCH * record.median
    return Cell(text, sort=f"{record.uncertainty:.7g}", number=True, state="fail" if much else "")


def _median_cell(record: SummaryRecord | None, best: set[SummaryRecord]) -> Cell:
    if record is None:
        return Cell(DASH, number=True, title="not measured")
    return Cell(
        median_text(record),
        detail=interval_text(record),
        title=exact(record.median, record.shown_unit),
        sort=str(record.median),
        best=record in best,
        number=True,
    )
