"""What a run could not measure and what it noted, in lines for people: each once, with its sizes and repetitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.model import ClockKind
from proxybench.report.tables import Cell, Table
from proxybench.report.words import count, join, mode_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.model import Subject
    from proxybench.results.manifest import Manifest, NotMeasured, Step

_CLOCKS = {ClockKind.WALL: "wall clock", ClockKind.INSTRUCTIONS: "instruction clock"}
_NUMBERS = re.compile(r"\d[\d,.]*")
_LOG = re.compile(r" and \d+ more, see logs/\S+")  # each step has its own


@dataclass(frozen=True)
class Missing:
    """Who has no numbers, at which sizes and repetitions ("": none at all), and why."""

    who: str
    where: str
    why: str


def missing(manifest: Manifest) -> list[Missing]:
    """Return what was left out: first what was never tried at any size, then the steps that ended early, by reason."""
    steps = [step for step in manifest.matrix if step.problem or step.state in {"failed", "skipped"}]
    apart = [each for each in manifest.not_measured if not any(_tells_of(each, step) for step in steps)]
    return [_never(each) for each in apart] + _grouped(steps)


def missing_lines(manifest: Manifest) -> list[str]:
    """Return what was left out, a line each."""
    return [f"{' '.join(filter(None, (each.who, each.where)))}: {each.why}" for each in missing(manifest)]


def missing_table(manifest: Manifest) -> Table | None:
    """Return what was left out as a table; None where nothing was."""
    rows = tuple((Cell(each.who), Cell(each.where or "at no size"), Cell(each.why)) for each in missing(manifest))
    heads = (Cell("What"), Cell("Where"), Cell("Why"))
    return Table("What this run has no numbers of, and why", heads, rows) if rows else None


def noted_lines(manifest: Manifest) -> list[str]:
    """Return what the steps noted for whoever reads their numbers.

    Notes that differ in their numbers only, such as how many rules were left, are one line: that of the first.
    """
    groups: dict[tuple[Subject, str], list[tuple[Step, str]]] = {}
    for step in manifest.matrix:
        for note in step.notes:
            kind = _NUMBERS.sub("#", _LOG.sub("", note))
            groups.setdefault((step.cell.subject, kind), []).append((step, note))
    lines = []
    for (subject, _), members in groups.items():
        notes = dict.fromkeys(note for _, note in members)
        first = next(iter(notes)) + (" (the first of several)" if len(notes) > 1 else "")
        lines.append(f"{subject.label} {_where([step for step, _ in members])}: {first}")
    return lines


def _grouped(steps: Iterable[Step]) -> list[Missing]:
    groups: dict[tuple[Subject, str], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.cell.subject, step.problem or "no reason given"), []).append(step)
    return [Missing(subject.label, _where(members), reason) for (subject, reason), members in groups.items()]


def _where(steps: Sequence[Step]) -> str:
    sizes = sorted({step.cell.services for step in steps})
    repetitions = sorted({step.repetition for step in steps})
    services = count(sizes[0], "Service") if len(sizes) == 1 else f"{join([f'{size:,}' for size in sizes])} Services"
    turns = "repetition" if len(repetitions) == 1 else "repetitions"
    clocks = [_CLOCKS[clock] for clock in sorted({step.clock for step in steps if step.clock}, reverse=True)]
    by = f", by the {join(clocks)}" if clocks else ""
    return f"at {services}, {turns} {join([str(each) for each in repetitions])}{by}"


def _never(each: NotMeasured) -> Missing:
    who = "No mode" if each.mode is None else mode_name(each.mode)
    return Missing(who, "" if each.services is None else f"at {count(each.services, 'Service')}", each.reason)


def _tells_of(each: NotMeasured, step: Step) -> bool:
    """Tell whether an entry says what the step itself says."""
    same = (each.mode, each.services) == (step.cell.mode, step.cell.services)
    return same and step.problem is not None and each.reason.endswith(f"repetition {step.repetition}: {step.problem}")
