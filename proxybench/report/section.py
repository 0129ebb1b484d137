"""A chapter of the report: a figure with its tables, or a sentence why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.report.words import as_work, clock_long
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.shapes import Panel
    from proxybench.report.tables import Table
    from proxybench.stats.summary import SummaryRecord

BELOW = "The table below holds medians and 95 % intervals, and its list of every point p90, p99 and counts."


@dataclass(frozen=True)
class Section:
    """One figure: ``name`` is its file's; without panels, ``missing`` says why. ``full`` lists every point."""

    name: str
    heading: str
    lead: str
    alt: str
    clock: str
    panels: tuple[Panel, ...] = ()
    pivot: Table | None = None
    full: Table | None = None
    missing: str = ""


def clocks_text(records: Sequence[SummaryRecord]) -> str:
    """Return what times are told by; what is no time is told by no clock."""
    if not any(record.unit == "ns" for record in records):
        units = ", ".join(sorted({record.unit for record in records}))
        return f"{units}; no clock takes part"
    return "; ".join(clock_long(clock) for clock in sorted({record.clock for record in records}))


def heading_of(heading: str, records: Sequence[SummaryRecord], work: str = "") -> str:
    """Return a chapter's heading: in words of ``work`` (or of our own) where its numbers are counted instructions."""
    counted = {record.shown_unit for record in records} == {INSTRUCTIONS}
    return (work or as_work(heading)) if counted else heading


def left_out(name: str, heading: str, lead: str, metric: str) -> Section:
    """Return a chapter that has nothing to show."""
    return Section(name, heading, lead, "", "", missing=f"No figure: this run holds no samples of {metric}.")
