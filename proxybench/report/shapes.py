"""Panels as data: lines, bars and curves, and what a legend names of them. No drawing here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.report.words import DIRECT

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class DataPoint:
    """One point of a line; ``bounded``: the true value is at least ``y``."""

    x: float
    y: float
    low: float | None
    high: float | None
    bounded: bool
    uncertainty: float = 0.0


@dataclass(frozen=True)
class Line:
    """One mode's line; ``style`` counts the proxiers, from 0 (drawn solid)."""

    mode: str
    label: str
    style: int
    points: tuple[DataPoint, ...]


@dataclass(frozen=True)
class JumpMark:
    """A jump of one mode's line between the sizes ``after`` and ``before``."""

    mode: str
    after: float
    before: float


@dataclass(frozen=True)
class LinePanel:
    """Lines over Services or endpoints (log); ``log`` says whether y is logarithmic too."""

    title: str
    x_label: str
    y_label: str
    unit: str
    lines: tuple[Line, ...]
    log: bool = True
    marks: tuple[JumpMark, ...] = ()


MEDIAN = "median"
"""The only part of a bar whose heading says what it is."""


@dataclass(frozen=True)
class Bar:
    """One mode's stack: (part, value) from the axis outwards."""

    mode: str
    label: str
    parts: tuple[tuple[str, float], ...]
    number: float | None = None  # what is written behind it, where that is not its length
    bounded: bool = False  # the true value is at least so much
    uncertainty: float = 0.0

    @property
    def total(self) -> float:
        """The stack's length, in the panel's unit."""
        return sum(value for _, value in self.parts)

    @property
    def shown(self) -> float:
        """The number behind it, in the panel's unit."""
        return self.total if self.number is None else self.number


@dataclass(frozen=True)
class BarPanel:
    """Stacks in named groups, such as sizes; each group has a scale of its own, unless all have one in ``common``."""

    title: str
    x_label: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]
    common: bool = False
    unit: str = "ns"


@dataclass(frozen=True)
class Distribution:
    """One subject's curve: ``shares[i]`` of its connections took at most ``values[i]``; ``style`` as of a line."""

    mode: str
    label: str
    style: int
    values: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class CurvePanel:
    """Distributions at one size: share of connections (y) that took at most x."""

    title: str
    x_label: str
    curves: tuple[Distribution, ...]
    unit: str = "ns"


Panel = LinePanel | BarPanel | CurvePanel


@dataclass(frozen=True)
class LegendEntry:
    """One entry of a legend: whose line it is, and the ``style`` of its line."""

    mode: str
    label: str
    style: int = 0


def legend_entries(panels: Iterable[Panel]) -> tuple[LegendEntry, ...]:
    """Return whose lines and curves a figure's legend names, the reference last; stacks carry their names."""
    found: dict[LegendEntry, None] = {}
    for panel in panels:
        if isinstance(panel, LinePanel):
            found.update({LegendEntry(line.mode, line.label, line.style): None for line in panel.lines})
        elif isinstance(panel, CurvePanel):
            found.update({LegendEntry(curve.mode, curve.label, curve.style): None for curve in panel.curves})
    return tuple(sorted(found, key=lambda entry: (entry.mode == DIRECT, entry.mode, entry.style, entry.label)))
