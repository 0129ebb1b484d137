"""What is known of a metric besides its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """What a change of a number means."""

    LESS = "less"  # is better
    CONTROL = "control"  # should not move, or says nothing by itself


@dataclass(frozen=True)
class About:
    """What a metric is.

    ``title`` heads its tables, ``work`` does by the instruction clock, where "title, in instructions" would not be
    true, ``quantity`` names it on an axis. ``start`` and ``end`` are the moments between which it
    lies, where it is such a time. ``resolution`` is the step in which it is read, in ``unit``, where that is not small
    beside its values. ``judged``: a gate may decide by it; by the instruction clock only if it is ``busy`` too, work
    and no waiting, since there idle time is real time, as noisy as the host. ``method`` is the version of how it is
    measured.
    """

    title: str
    quantity: str
    remarks: str = ""
    start: str = ""
    end: str = ""
    unit: str = "ns"
    direction: Direction = Direction.LESS
    resolution: float = 0.0
    judged: bool = True
    busy: bool = False
    method: int = 1
    work: str = ""
