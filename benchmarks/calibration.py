"""How many instructions a nanosecond holds, by kind of work: the table of docs/calibration.md.

Work is what a processor was busy with. How long a sync took by kube-proxy's log or metrics is none: waits are in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.condensed import names_of
from proxybench.report.words import DASH, human, short
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.condensed import Condensed, Number, Size
    from proxybench.model import Subject


@dataclass(frozen=True)
class Kind:
    """A kind of work: a number, less another of the same subject and size where ``less`` names one."""

    title: str
    metric: str
    scenario: str
    less: str = ""
    modes: tuple[str, ...] = ("iptables", "nftables", "ipvs")


KINDS = (
    Kind("a connect without rules", "forwarding.bare", "steady"),
    Kind("a connect to the last Service", "forwarding.connect", "steady"),
    Kind("the walk along n Services' rules", "forwarding.connect", "steady", "forwarding.bare", ("iptables",)),
    Kind("a round trip on a connection that exists", "forwarding.rtt", "steady"),
    Kind("a sync of one Service, CPU", "cpu.control_loop", "add-one"),
    Kind("a cold start, CPU", "cpu.control_loop", "cold-start"),
)


def calibration(run: Condensed) -> str:
    """Return the table: each kind of work by both clocks, and their ratio."""
    names = names_of(list(run.numbers))
    heads = ["Work", "Subject", "Services", "Wall clock", "Instructions", "Instructions per ns"]
    lines = [_line(heads), _line(["---", "---", "---:", "---:", "---:", "---:"])]
    for kind in KINDS:
        title = kind.title
        for subject, name in names.items():
            for size in sorted({number.size for number in run.numbers}):
                wall, work = (_value(kind, run.by(clock), subject, size) for clock in ("wall", "instructions"))
                if wall is None and work is None:
                    continue
                lines.append(_line([title, name, f"{size[0]:,}", *_cells(wall, work)]))
                title = ""
    where = "; ".join(run.labs)
    made = f"{where}; {run.machine}; {run.created}. Run {run.run} of `{run.command}`, proxybench {run.proxybench}."
    return f"{made}\n\n" + "\n".join(lines)


def _cells(wall: float | None, work: float | None) -> list[str]:
    cells = [DASH if wall is None else human(wall, "ns"), DASH if work is None else short(work, INSTRUCTIONS)]
    return [*cells, DASH if not wall or work is None or wall < 0 or work < 0 else f"{work / wall:.2g}"]


def _value(kind: Kind, numbers: Sequence[Number], subject: Subject, size: Size) -> float | None:
    if str(subject.mode) not in kind.modes:
        return None
    whole = _median(numbers, subject, size, kind.metric, kind.scenario)
    less = _median(numbers, subject, size, kind.less, kind.scenario) if kind.less else 0.0
    return None if whole is None or less is None else whole - less


def _median(numbers: Sequence[Number], subject: Subject, size: Size, metric: str, scenario: str) -> float | None:
    """Return a median; of several positions that of the last rule. One that is only a bound is none."""
    found = [
        one
        for one in numbers
        if (one.subject, one.size, one.metric, one.scenario) == (subject, size, metric, scenario) and not one.bounded
    ]
    found.sort(key=lambda one: ("last", "none", "first").index(one.position))
    return found[0].median if found else None


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
