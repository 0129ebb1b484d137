"""The chapters of paths: the same connection, and the same sync, over each way to a Service, on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric, Position
from proxybench.report.alt import describe
from proxybench.report.grouping import reading_place, size_name, way
from proxybench.report.section import BELOW, Section, clocks_text, heading_of
from proxybench.report.shapes import MEDIAN, Bar, BarPanel
from proxybench.report.tables import full, pivot
from proxybench.report.words import POSITIONS, SCENARIOS, look, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import ReportData
    from proxybench.stats.summary import SummaryRecord

_LEAD = (
    "A new connection to a Service over each path that was measured, at the largest size; all bars of a panel have one "
    "scale. A path is how the Service is addressed and from where: an outside client by the measured node unless it "
    "says otherwise. Rules of NodePorts stand behind those of all addresses, so with iptables a connection to the "
    "first of them has walked all of these. Over UDP there is no connection: one datagram there and one back are "
    "measured, and the endpoint's work with them."
)

_SYNC_LEAD = (
    "From the API's acknowledgement of one change until it shows over each path that was probed: from when on it "
    "answers, or, of a deletion, no longer does. A proxy writes a Service's addresses in one sync, but not at one "
    "moment, and what comes by another node waits for that node's proxy. The picture is of the largest size; all bars "
    "of a panel have one scale. Nothing is ranked: what counts is how far a path lags behind the others of its proxy."
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


def sync_path_sections(data: ReportData) -> list[Section]:
    """Return the chapter of syncs that were probed over several paths, and none without such."""
    records = synced_by_path(data.of(Metric.SYNC_END_TO_END))
    if not records:
        return []
    quantity = Metric.SYNC_END_TO_END.about.quantity
    panels = [
        panel
        for scenario in sorted({record.scenario for record in records}, key=lambda each: reading_place(each, "none"))
        for panel in path_panels(
            [record for record in records if record.scenario == scenario],
            quantity,
            title=SCENARIOS.get(scenario, scenario),
        )
    ]
    heading, clock = heading_of("Sync latency by path", records), clocks_text(records)
    modes = {record.mode for record in records}
    return [
        Section(
            "sync-by-path",
            heading,
            _SYNC_LEAD,
            describe(panels, below=BELOW),
            clock,
            tuple(panels),
            pivot(data.shown(records), f"{heading}: median and 95 % interval ({clock})", unranked=modes),
            full(data.shown(records), f"{heading}: every point ({clock})"),
        )
    ]


def synced_by_path(records: Sequence[SummaryRecord]) -> list[SummaryRecord]:
    """Return those of scenarios that were probed over several paths."""
    ways: dict[str, set[str]] = {}
    for record in records:
        ways.setdefault(record.scenario, set()).add(record.path)
    return [record for record in records if len(ways[record.scenario]) > 1]


def path_panels(records: Sequence[SummaryRecord], quantity: str, *, least: int = 2, title: str = "") -> list[BarPanel]:
    """Return one panel per position and clock, with a group of bars for each path; none with fewer than ``least``.

    ``title`` stands in place of the position's name.
    """
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
                bars = tuple(
                    Bar(
                        look(each.subject),
                        labels[each.subject],
                        ((MEDIAN, each.median),),
                        bounded=each.bounded(0.5),
                        uncertainty=each.uncertainty,
                    )
                    for each in members
                )
                groups.append((path, bars))
            name = f"{title or POSITIONS[position]}, {size_name(size[0], 0)}"
            label, unit = with_clock(quantity, "ns", clock), shown_unit("ns", clock)
            panels.append(BarPanel(name, label, tuple(groups), common=True, unit=unit))
    return panels
