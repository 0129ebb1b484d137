"""The first screen: what each subject costs at a size, beside the first one of the experiment.

A reader decides whether to move from A to B at N Services; so there is one table per size, with one row per thing that
they would notice and one column per subject. Below each median stands its ratio to the first subject's. By the
instruction clock a ratio is one of work, and never called faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.model import ClockKind
from proxybench.report.criteria import WIDE, ratio, rows_of
from proxybench.report.tables import Cell, Table
from proxybench.report.words import (
    DASH,
    IDLE_COUNTS,
    REFERENCE,
    TIMES,
    clock_long,
    count,
    exact,
    factor,
    human,
    join,
    look,
    subject_names,
)
from proxybench.units import resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.model import Subject
    from proxybench.report.criteria import Figure, Row
    from proxybench.results.manifest import Manifest
    from proxybench.stats.intervals import Interval
    from proxybench.stats.series import Series

KUBE_PROXY = "kube-proxy"
_STILL = 0.1  # a control that moved by more says that the machine did
JSON_NOTE = (
    "The lab's API server speaks JSON, a cluster's protobuf. That is in kube-proxy's CPU at a cold start: about 0.1 s "
    "per 1,000 Services (v1.37.2 against a real API server, 5,000 Services: 0.90 s of its own CPU by JSON, 0.42 s by "
    "protobuf; docs/decisions.md)."
)
INSTRUCTIONS_NOTE = (
    "Counted instructions are work, not time: they know no cache, no waiting for memory or locks. A ratio here says "
    "how much more a processor has to do, not how much longer it takes; real time needs the wall clock. "
    f"{IDLE_COUNTS}"
)
REFERENCE_NOTE = (
    "The reference proxier is proxybench's own self-test. No cluster runs it, and its ranking of modes is not "
    "kube-proxy's: read its columns as a lower bound for the harness, never as an answer."
)

Ratio = tuple[float, "Interval | None"]

_HEADINGS = {ClockKind.WALL: "Time", ClockKind.INSTRUCTIONS: "Work, in counted instructions"}
_BY = {ClockKind.WALL: "by the wall clock", ClockKind.INSTRUCTIONS: "in work (counted instructions)"}

Size = tuple[int, int]
"""Services, and endpoints of each."""


@dataclass(frozen=True)
class Decision:
    """``parts``: of each clock, real time first."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """All that is said beside the tables."""
        return (*(note for part in self.parts for note in part.notes), *self.notes)


@dataclass(frozen=True)
class Part:
    """What a run has by one clock: a heading, what must be known first, and a title and a table for each size.

    The largest size stands first. A run of one clock needs no ``heading``.
    """

    heading: str
    notes: tuple[str, ...]
    tables: tuple[tuple[str, Table], ...]


def decision(series: Sequence[Series], subjects: Sequence[Subject], manifest: Manifest) -> Decision:
    """Put the tables together; ``subjects`` in the experiment's order: the others are compared with the first."""
    parts: list[Part] = []
    moved: list[str] = []
    clocks = clocks_of(series)
    for clock in clocks:
        tables = []
        of_clock = [each for each in series if each.key.clock == clock]
        for size in sorted({size_of(each) for each in of_clock}, reverse=True):
            here = [each for each in of_clock if size_of(each) == size]
            present = [subject for subject in subjects if any(each.key.subject == subject for each in here)]
            rows = rows_of(here)
            if rows:
                title = _title(present, size, here[0].key.profile, manifest.kernels(clock), clock)
                tables.append((title, _table(rows, present, clock)))
                moved += _moved(rows, present, size)
        if tables:
            first = (INSTRUCTIONS_NOTE, *_work_only(series, subjects)) if clock is ClockKind.INSTRUCTIONS else ()
            parts.append(Part(_HEADINGS[clock] if len(clocks) > 1 else "", first, tuple(tables)))
    return Decision(tuple(parts), (*caveats(subjects, ()), *no_cpu(manifest, subjects), *moved))


def _title(subjects: Sequence[Subject], size: Size, profile: str, kernels: Sequence[str], clock: ClockKind) -> str:
    """Say what a table answers: from the first subject to the others, at a size, on a kernel, in time or in work.

    ``profile``: the digest of the one that is replayed, "" without one.
    """
    names = subject_names(subjects)
    first, *others = subjects
    moves = [names[subject] for subject in others if _comparable(first, subject)]
    move = f"From {names[first]} to {join(moves, 'or')}" if moves else names[first]
    where = f" on Linux {join(list(kernels))}" if kernels else ""
    return f"{move} {_at(size)}{_average(profile)}{where}, {_BY[clock]}"


def _comparable(base: Subject, other: Subject) -> bool:
    """Tell whether somebody could move from the one to the other: nobody can move to the reference."""
    return other.kind != REFERENCE or base.kind == REFERENCE


def _at(size: Size) -> str:
    return size_title(size)[0].lower() + size_title(size)[1:]


def _work_only(series: Sequence[Series], subjects: Iterable[Subject]) -> list[str]:
    """Name the subjects of a run by both clocks of which nothing is known but work."""
    found = {clock: {each.key.subject for each in series if each.key.clock == clock} for clock in ClockKind}
    timed, counted = found[ClockKind.WALL], found[ClockKind.INSTRUCTIONS]
    only = [subject for subject in subjects if subject in counted - timed]
    if not (timed and only):
        return []
    names = subject_names(subjects)
    told = join([names[subject] for subject in only])
    where = "the wall clock could not measure it here (see Not measured)"
    return [f"Of {told} only work is known: {where}, so nothing tells how long it takes."]


def _average(profile: str) -> str:
    return f" on the average, in the shape of profile {profile}" if profile else ""


def clocks_of(series: Iterable[Series]) -> list[ClockKind]:
    """Return the clocks of some series, real time first."""
    return sorted({each.key.clock for each in series}, key=lambda clock: clock != ClockKind.WALL)


def size_of(series: Series) -> Size:
    """Return a series' size."""
    return series.key.services, series.key.endpoints_per_service


def size_title(size: Size) -> str:
    """Name a size."""
    return f"At {count(size[0], 'Service')} with {count(size[1], 'endpoint')} each"


def caveats(subjects: Iterable[Subject], clocks: Iterable[str]) -> tuple[str, ...]:
    """Return what must be said beside any number of such subjects by such clocks, on the page and in a terminal."""
    kinds = {subject.kind for subject in subjects}
    told = (
        (ClockKind.INSTRUCTIONS in set(clocks), INSTRUCTIONS_NOTE),
        (KUBE_PROXY in kinds, JSON_NOTE),
        (REFERENCE in kinds, REFERENCE_NOTE),
    )
    return tuple(note for holds, note in told if holds)


def no_cpu(manifest: Manifest, subjects: Iterable[Subject]) -> tuple[str, ...]:
    """Say of which of these subjects' control loops no CPU and memory are told, and why."""
    asked = set(subjects)
    return tuple(
        f"{each.subject.label}: CPU and memory of its control loop are left out"
        f"{' of some steps' if each.cgroup else ''}: {each.no_cpu}"
        for each in manifest.subjects
        if each.no_cpu and each.subject in asked
    )


def control_note(title: str, where: str, found: Ratio | None) -> tuple[str, ...]:
    """Warn of a control that differs: what it does, the machine did, and every ratio like it may be nothing else."""
    if found is None or abs(math.log(found[0])) <= math.log(1 + _STILL):
        return ()
    told = (
        f"the control ({title.lower()}{where}) should be {TIMES}1 and is {TIMES}{found[0]:.3g}: the machine was "
        "unsteady, so read nothing into the ratios of other connections that are no further from 1"
    )
    return (told,)


def _moved(rows: Sequence[Row], subjects: Sequence[Subject], size: Size) -> list[str]:
    """Return the warning of the control that moved most at a size."""
    notes: list[str] = []
    for row in rows:
        known = [row.found[subject] for subject in subjects if subject in row.found] if row.control else []
        found = [pair for other in known[1:] if (pair := ratio(known[0], other)) is not None]
        if found:
            worst = max(found, key=lambda pair: abs(math.log(pair[0])))
            notes += control_note(row.title, f", {size_title(size).lower()}", worst)
    return [note[0].upper() + note[1:] for note in notes]


def ratio_text(found: Ratio, figure: Figure, *, read_off: bool = False) -> str:
    """Write a ratio with its interval, or why there is none to lean on.

    An interval that was ``read_off`` between two sizes is wide where the ratio changes from the one to the other.
    """
    middle, interval = found
    text = factor(middle)
    if interval is None:
        return f"{text} (one repetition)"
    few = f", {_few(figure)}" if figure.few else ""
    if interval.high > WIDE * interval.low and not read_off:
        return f"{text} (too unsteady to tell{few})"
    return f"{text} ({interval.low:.3g} to {interval.high:.3g}{few})"


def bound_text(base: Figure, figure: Figure) -> str:
    """Write what a ratio is at most or at least, where one of both timed out or is not resolved; else nothing.

    Nothing either of what fell into a single window of seconds.
    """
    (low, high), (least, most) = base.bounds, figure.bounds
    at_least, at_most = least > 0 and high < math.inf, most < math.inf and low > 0
    if at_least == at_most or base.by_chance or figure.by_chance:
        return ""
    few = f" ({_few(figure)})" if figure.few else ""
    return (f"at least {factor(least / high)}" if at_least else f"at most {factor(most / low)}") + few


def _few(figure: Figure) -> str:
    repetitions = len(figure.values)
    return "one repetition" if repetitions == 1 else count(repetitions, "repetition")


def value_text(figure: Figure) -> str:
    """Write a median, as ``> x`` when it is only a lower bound; what is not resolved as what it is less than."""
    if figure.bounded:
        return f"> {human(figure.median, figure.unit)}"
    return resolved(figure.median, figure.unit, figure.uncertainty, human)


def _table(rows: Sequence[Row], subjects: Sequence[Subject], clock: ClockKind) -> Table:
    first, *others = subjects
    names = subject_names(subjects)
    heads = [Cell(names[subject], _program(subject), mode=look(subject), number=True) for subject in subjects]
    body = [
        (
            Cell(row.title, detail=told_detail(row.detail, clock, waits=row.waits), state="part" if row.part else ""),
            _cell(row.found.get(first), None),
            *(
                _cell(row.found.get(subject), row.found.get(first) if _comparable(first, subject) else None)
                for subject in others
            ),
        )
        for row in rows
    ]
    beside = f"; below, times that of {names[first]} with the 95 % interval" if others else ""
    return Table(f"Medians over repetitions{beside} ({clock_long(clock)})", (Cell(""), *heads), tuple(body))


def told_detail(detail: str, clock: ClockKind, *, waits: bool) -> str:
    """Return what is told of a row besides its title; of latencies in work, that waiting is counted with it."""
    return f"{detail}; waiting counted" if waits and clock is ClockKind.INSTRUCTIONS else detail


def _program(subject: Subject) -> str:
    """Name the program under the mode, but for the reference, which its name already tells."""
    return subject.program if subject.kind != REFERENCE else f"{subject.version}, self-test"


def _cell(figure: Figure | None, base: Figure | None) -> Cell:
    if figure is None:
        return Cell(DASH, number=True, title="not measured")
    detail = "" if base is None else _beside(base, figure)
    return Cell(value_text(figure), detail, exact(figure.median, figure.unit), str(figure.median), number=True)


def _beside(base: Figure, figure: Figure) -> str:
    found = ratio(base, figure)
    return bound_text(base, figure) if found is None else ratio_text(found, figure)
