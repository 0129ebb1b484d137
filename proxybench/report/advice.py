"""A decision for one pair of subjects at one size: what moving from the one to the other changes.

A size between two measured ones is read off the straight line between them on logarithmic scales, repetition by
repetition, if they are at most ten times apart and no jump lies between; its interval reaches over both neighbours', so
that it holds whatever lies between. Beyond what was measured nothing is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING

from proxybench.errors import UsageError
from proxybench.report.criteria import Figure, Row, ratio, rows_of
from proxybench.report.decision import Ratio, caveats, clocks_of, control_note, no_cpu, size_of
from proxybench.report.missing import missing_lines
from proxybench.report.words import clock_short, join, subject_names
from proxybench.stats.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.model import ClockKind, Subject
    from proxybench.report.data import ReportData
    from proxybench.report.jumps import Jump
    from proxybench.results.manifest import Manifest

_FURTHEST = 10.0  # times that two sizes may be apart for a line between them
_FALL, _RISE = (
    -0.3,
    2.3,
)  # powers of the size: a wait for a turn that is there at one size and not at the next falls faster


@dataclass(frozen=True)
class Change:
    """One row: both numbers and their ratio; None where there is none. ``missing`` says why."""

    title: str
    detail: str
    part: bool
    base: Figure | None
    other: Figure | None
    ratio: Ratio | None
    missing: str = ""
    control: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Advice:
    """What changes, by one clock. ``between``: the two measured sizes that it was read off between, if it was."""

    base: Subject
    other: Subject
    services: int
    endpoints: int
    clock: ClockKind
    between: tuple[int, int] | None
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    not_measured: tuple[str, ...]


def find_subject(name: str, subjects: Sequence[Subject]) -> Subject:
    """Return the subject of that mode, or of that label where a mode is there twice.

    Raises UsageError that lists what there is.
    """
    short = subject_names(subjects)
    found = [each for each in subjects if name in {str(each.mode), each.label, short[each]}]
    if len(found) == 1:
        return found[0]
    labels = join([f'"{each.label}"' for each in found or subjects])
    if found:
        raise UsageError(f"{name}: {len(found)} subjects of this run are of that mode; name one of {labels}")
    close = get_close_matches(name, [word for each in subjects for word in (str(each.mode), each.label)], 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UsageError(f"{name}: no subject of this run{hint}; it has {labels}")


def advise(data: ReportData, base: Subject, other: Subject, services: int, endpoints: int | None) -> tuple[Advice, ...]:
    """Return what moving from one subject to another changes at a size, by each clock, real time first.

    ``endpoints`` of each Service: None for those at which most sizes were measured. Raises UsageError for a size that
    cannot be told.
    """
    if base == other:
        raise UsageError(f"{base.label}: both sides are the same")
    found, refused = [], []
    for clock in clocks_of(data.series):
        try:
            found.append(_by_clock(data, base, other, services, endpoints, clock))
        except UsageError as error:
            refused.append((clock, error))
    if not found:
        raise refused[0][1] if refused else UsageError("this run has no samples")
    untold = tuple(f"by the {clock_short(clock)}: {error}" for clock, error in refused)
    return tuple(replace(each, not_measured=(*each.not_measured, *untold)) for each in found)


def _by_clock(
    data: ReportData, base: Subject, other: Subject, services: int, endpoints: int | None, clock: ClockKind
) -> Advice:
    pair = [each for each in data.series if each.key.clock == clock and each.key.subject in {base, other}]
    present = {subject: {size_of(each) for each in pair if each.key.subject == subject} for subject in (base, other)}
    lacking = [subject.label for subject in (base, other) if not present[subject]]
    if lacking:
        raise UsageError(f"{join(lacking)}: not measured")
    both = sorted(present[base] & present[other])
    widths = [width for _, width in both]
    width = max(sorted(set(widths)), key=widths.count, default=0) if endpoints is None else endpoints
    sizes = [size for size, of_width in both if of_width == width]
    around = _around(services, sizes, width)
    tables = [rows_of([each for each in pair if size_of(each) == (size, width)]) for size in around]
    jumped = _jumps_between(data.jumps, around, {base, other})
    changes = tuple(_changes(tables, services, around, base, other, jumped))
    subjects = (base, other)
    between = (around[0], around[1]) if len(around) > 1 else None
    notes = (*caveats(subjects, [clock]), *no_cpu(data.manifest, subjects), *_moved(changes))
    return Advice(
        base, other, services, width, clock, between, changes, notes, _missing(data.manifest, subjects, around)
    )


def _missing(manifest: Manifest, subjects: tuple[Subject, Subject], sizes: Sequence[int]) -> tuple[str, ...]:
    """Return what the run could not measure of the pair at these sizes."""
    modes = {None, *(subject.mode for subject in subjects)}
    steps = tuple(each for each in manifest.matrix if each.cell.subject in subjects and each.cell.services in sizes)
    left_out = tuple(each for each in manifest.not_measured if each.mode in modes and each.services in {None, *sizes})
    return tuple(missing_lines(replace(manifest, matrix=steps, not_measured=left_out)))


def _moved(changes: Iterable[Change]) -> Iterable[str]:
    return (note for each in changes if each.control for note in control_note(each.title, "", each.ratio))


def _around(services: int, sizes: Sequence[int], width: int) -> tuple[int, ...]:
    """Return the size itself if it was measured, else its neighbours. Raises UsageError where there are none to use."""
    if services in sizes:
        return (services,)
    measured = join([f"{size:,}" for size in sizes])
    each = f"Services with {width} endpoint{'' if width == 1 else 's'} each"
    if not sizes:
        raise UsageError(f"no size with {width} endpoints per Service was measured for both subjects")
    if not sizes[0] < services < sizes[-1]:
        raise UsageError(
            f"{services:,} {each}: both subjects were measured at {measured}, and nothing is said beyond these; "
            f"the nearest is {sizes[0] if services < sizes[0] else sizes[-1]:,}"
        )
    low = max(size for size in sizes if size < services)
    high = min(size for size in sizes if size > services)
    if high > _FURTHEST * low:
        raise UsageError(
            f"{services:,} {each}: the nearest measured sizes are {low:,} and {high:,}, too far apart (over "
            f"{_FURTHEST:.0f} times) for a line between them; ask for one of them, or measure this one: "
            f"--set 'scale.services=[{services}]'"
        )
    return (low, high)


def _jumps_between(jumps: Iterable[Jump], around: Sequence[int], subjects: set[Subject]) -> set[str]:
    """Return the metrics of which some curve of the pair leaves its line between the two sizes."""
    if len(around) == 1:
        return set()
    return {
        str(jump.key.metric)
        for jump in jumps
        if jump.axis == "services"
        and jump.key.subject in subjects
        and jump.step.after < around[1]
        and jump.step.before > around[0]
    }


def _changes(
    tables: Sequence[Sequence[Row]],
    services: int,
    around: Sequence[int],
    base: Subject,
    other: Subject,
    jumped: set[str],
) -> Iterable[Change]:
    first, *rest = tables
    for number, row in enumerate(first):
        rows = [row, *(_same(row, first, number, table) for table in rest)]
        pairs = [(each.found[base], each.found[other]) for each in rows if each and {base, other} <= each.found.keys()]
        change = _change(row, pairs, services, around, jumped=str(row.metric) in jumped)
        alone = len(around) == 1 and change.missing
        yield replace(change, base=row.found.get(base), other=row.found.get(other)) if alone else change


def _same(row: Row, rows: Sequence[Row], number: int, table: Sequence[Row]) -> Row | None:
    """Return the row of another size that tells the same: of parts, those of the same whole."""
    key = _place(row, rows, number)
    return next((each for place, each in enumerate(table) if _place(each, table, place) == key), None)


def _place(row: Row, rows: Sequence[Row], number: int) -> tuple[str, ...]:
    whole = next(each for each in reversed(rows[: number + 1]) if not each.part)
    return (whole.title, whole.detail, row.title, row.detail)


_Pair = tuple[Figure, Figure]


def _change(row: Row, pairs: Sequence[_Pair], services: int, around: Sequence[int], *, jumped: bool) -> Change:
    """Return a row's change from the numbers of both subjects at each of the sizes that have both."""
    empty = Change(row.title, row.detail, row.part, None, None, None, control=row.control, waits=row.waits)
    if len(pairs) < len(around):
        return replace(empty, missing="not measured of both")
    chance = "no ratio: one repetition, of a window of seconds" if any(one.by_chance for one in chain(*pairs)) else ""
    if len(pairs) == 1:
        ((before, after),) = pairs
        return replace(empty, base=before, other=after, ratio=ratio(before, after), missing=chance)
    if chance:
        return replace(empty, missing=chance)
    if jumped:
        return replace(empty, missing=f"no line: it jumps between {around[0]:,} and {around[1]:,} Services")
    ends = [found for one, two in pairs if (found := ratio(one, two)) is not None]
    sides = [_line(low, high, services, around) for low, high in zip(*pairs, strict=True)]
    one, two = sides
    if one is None or two is None or len(ends) < len(pairs):
        return replace(empty, missing="no line: a bound, or 0, at one of the two sizes")
    if not all(_follows(low.median, high.median, around) for low, high in zip(*pairs, strict=True)):
        return replace(empty, missing="no line: it waits, or works in another way, at one of the two sizes")
    middle = ratio(one, two)
    known = ends if middle is None else [*ends, middle]
    return replace(empty, base=one, other=two, ratio=None if middle is None else (middle[0], _hull(known)))


def _follows(low: float, high: float, around: Sequence[int]) -> bool:
    """Tell whether a number grows as costs do from size to size: hardly ever down, and hardly faster than squared."""
    return _FALL <= math.log(high / low) / math.log(around[1] / around[0]) <= _RISE


def _line(low: Figure, high: Figure, services: int, around: Sequence[int]) -> Figure | None:
    """Return the figure on the line between two sizes, on logarithmic scales, repetition by repetition.

    None where a value is 0 or only a bound: there is no line then.
    """
    labels = sorted(low.values.keys() & high.values.keys())
    pairs = {label: (low.values[label], high.values[label]) for label in labels}
    if low.bounded or high.bounded or not pairs or any(min(pair) <= 0 for pair in pairs.values()):
        return None
    share = math.log(services / around[0]) / math.log(around[1] / around[0])
    values = {label: a ** (1 - share) * b**share for label, (a, b) in pairs.items()}
    middle = Figure(values, low.unit, bounded=False)
    # A point of the line is wrong, as a share of itself, by no more than the worse of its ends.
    return replace(middle, uncertainty=max(low.share, high.share) * middle.median)


def _hull(ratios: Sequence[Ratio]) -> Interval | None:
    """Return the interval that holds all of them; None where one has none."""
    intervals = [interval for _, interval in ratios]
    if any(interval is None for interval in intervals):
        return None
    known = [interval for interval in intervals if interval is not None]
    return Interval(min(each.low for each in known), max(each.high for each in known))
