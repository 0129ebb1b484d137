"""The chapter of paths: the same connection over each way to a Service, at the largest size, on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric, Position
from proxybench.report.alt import describe
from proxybench.report.grouping import size_name, way
from proxybench.report.section import Section, clocks_text, heading_of
from proxybench.report.shapes import MEDIAN, Bar, BarPanel
from proxybench.report.words import POSITIONS, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import ReportData
    from proxybench.stats.summary import SummaryRecord

_LEAD = (
    "A new connection to a Service over each path that was measured, at the largest size; all bars have one scale. A "
    "path is how the Service is addressed and from where: an outside client by the measured node unless it says "
    "otherwise. Rules of NodePorts stand behind those of all addresses, so with iptables a connection to the first of "
    "them has walked all of these. Over UDP there is no connection: one datagram there and one back are measured, and "
    "the endpoint's work with them."
)


def path_sections(data: ReportData) -> list[Section]:
    """Return the chapter, and none where a run has one path only."""
    panels = path_panels(data.of(Metric.FORWARDING_CONNECT), Metric.FORWARDING_CONNECT.about.quantity)
    answers = [record for record in data.of(Metric.FORWARDING_FIRST_BYTE) if "/udp" in record.path]
    if panels or len({way(record) for record in answers}) > 1:
        panels += path_panels(answers, "request and answer over UDP", least=1)
    if not panels:
        return []
    clock = clocks_text([*data.of(Metric.FORWARDING_CONNECT), *answers])
    below = "The tables of the next chapters hold medians and 95 % intervals of every size."
    heading = heading_of("Paths to a Service", data.of(Metric.FORWARDING_CONNECT))
    return [Section("paths", heading, _LEAD, describe(panels, below=below), clock, tuple(panels))]


def path_panels(records: Sequence[SummaryRecord], quantity: str, *, least: int = 2) -> list[BarPanel]:
    """Return one panel per position and clock, with a group of bars for each path; none with fewer than ``least``."""
    through = [record for record in records if record.position != Position.NONE]
    if len({way(record) for record in through}) < least:
        return []
    size = max((record.services, record.endpoints_per_service) for record in through)
    here = [record for record in through if (record.services, record.endpoints_per_service) == size]
    labels = subject_names(record.subject for record in here)
    panels = []
    for clock in sorted({record.clock for record in here}):
        for position in (each for each in POSITIONS if any(record.position == each for record in here)):
            shown = [record for record in here if (record.position, record.clock) == (position, clock)]
            groups = []
            for path in dict.fromkeys(way(record) for record in shown):
                members = sorted((record for record in shown if way(record) == path), key=lambda record: record.subject)
                bars = tuple(Bar(each.mode, labels[each.subject], ((MEDIAN, each.median),)) for each in members)
                groups.append((path, bars))
            title = f"{POSITIONS[position]}, {size_name(size[0], 0)}"
            label, unit = with_clock(quantity, "ns", clock), shown_unit("ns", clock)
            panels.append(BarPanel(title, label, tuple(groups), common=True, unit=unit))
    return panels
