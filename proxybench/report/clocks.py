"""Both clocks of one run: each chapter by each clock, never mixed, and the same thing by either, side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.model import ClockKind
from proxybench.report.criteria import rows_of
from proxybench.report.decision import clocks_of, size_of, size_title, value_text
from proxybench.report.sections import sections
from proxybench.report.tables import Cell, Table
from proxybench.report.words import DASH, clock_long, exact, human, look, short, subject_names
from proxybench.units import INSTRUCTIONS, resolved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.report.criteria import Figure
    from proxybench.report.data import ReportData
    from proxybench.report.section import Section
    from proxybench.stats.series import Series

    Known = Mapping[tuple[str, str, Subject], Figure]


def by_clock(data: ReportData) -> list[ReportData]:
    """Return the data of each clock, real time first."""
    if len(data.clocks) < 2:  # noqa: PLR2004 - nothing to tell apart
        return [data]
    return [_only(data, clock) for clock in clocks_of(data.series)]


def chapters_by_clock(data: ReportData) -> list[Section]:
    """Return all chapters; of two clocks those of real time first, then those that work has, called so."""
    first, *others = by_clock(data)
    work = [_named(chapter) for part in others for chapter in sections(part) if not chapter.missing]
    return [*sections(first), *work]


def jump_lines(data: ReportData) -> list[str]:
    """Say where numbers leave their lines; of two clocks those of real time first."""
    names = subject_names(each.key.subject for each in data.series)
    return [jump.sentence(names[jump.key.subject]) for part in by_clock(data) for jump in part.jumps]


def side_by_side(series: Sequence[Series], subjects: Sequence[Subject]) -> list[tuple[str, Table]]:
    """Return for each size, the largest first, what the same thing is by both clocks; empty for a run of one."""
    if len(clocks_of(series)) < 2:  # noqa: PLR2004 - as above
        return []
    tables = []
    for size in sorted({size_of(each) for each in series}, reverse=True):
        here = [each for each in series if size_of(each) == size]
        wall, work = (_known(here, clock) for clock in (ClockKind.WALL, ClockKind.INSTRUCTIONS))
        waiting = {(row.title, row.detail) for row in rows_of(here) if row.waits}
        if rows := list(_rows(wall, work, subjects, waiting)):
            tables.append((size_title(size), Table(_CAPTION, _HEADS, tuple(rows), keys=2)))
    return tables


_HEADS = (
    Cell(""),
    Cell("Subject"),
    Cell("Real time", "wall clock", number=True),
    Cell("Work", "counted instructions, no time", number=True),
    Cell("Instructions per ns", number=True),
)
_WAITS = Cell(DASH, title="waits are in it, which are no work", number=True)
_CAPTION = "Medians by the wall clock and by the instruction clock; what a latency waited is in both"


def _only(data: ReportData, clock: ClockKind) -> ReportData:
    return replace(
        data,
        records=tuple(record for record in data.records if record.clock == clock),
        series=tuple(each for each in data.series if each.key.clock == clock),
        curves=tuple(curve for curve in data.curves if curve.record.clock == clock),
    )


def _named(chapter: Section) -> Section:
    """Name a chapter of work beside that of real time; what is no time is told where it was measured."""
    counted = chapter.clock == clock_long(INSTRUCTIONS)
    heading = chapter.heading if counted else f"{chapter.heading}, where instructions were counted"
    return replace(chapter, name=f"{chapter.name}-{INSTRUCTIONS}", heading=heading)


def _known(series: Iterable[Series], clock: ClockKind) -> Known:
    rows = rows_of([each for each in series if each.key.clock == clock])
    return {
        (row.title, row.detail, subject): figure
        for row in rows
        if not row.part
        for subject, figure in row.found.items()
        if figure.unit in {"ns", INSTRUCTIONS}
    }


def _rows(
    wall: Known, work: Known, subjects: Sequence[Subject], waiting: Collection[tuple[str, str]]
) -> Iterable[tuple[Cell, ...]]:
    names = subject_names(subjects)
    for title, detail in dict.fromkeys((title, detail) for title, detail, _ in (*wall, *work)):
        for subject in subjects:
            key = (title, detail, subject)
            if key in wall or key in work:
                ratio = _WAITS if (title, detail) in waiting else _ratio(wall.get(key), work.get(key))
                numbers = (_time(wall.get(key)), _count(work.get(key)), ratio)
                yield Cell(title, detail), Cell(names[subject], mode=look(subject)), *numbers


def _time(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(DASH, title="not measured by the wall clock", number=True)
    return Cell(value_text(figure), title=exact(figure.median, "ns"), sort=str(figure.median), number=True)


def _count(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(DASH, title="not measured by the instruction clock", number=True)
    shown = short(figure.median, figure.unit)
    text = f"> {shown}" if figure.bounded else resolved(figure.median, figure.unit, figure.uncertainty, short)
    return Cell(text, title=exact(figure.median, figure.unit), sort=str(figure.median), number=True)


def _ratio(wall: Figure | None, work: Figure | None) -> Cell:
    if wall is None or work is None or any(each.bounded or each.bounds[0] <= 0 for each in (wall, work)):
        return Cell(DASH, number=True)
    return Cell(human(work.median / wall.median, "").strip(), number=True)
