"""Chapters of events: how long nothing answered, and how many connections were lost or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.alt import describe
from proxybench.report.grouping import reading_place, size_name
from proxybench.report.section import Section, clocks_text, heading_of
from proxybench.report.shapes import Bar, BarPanel
from proxybench.report.tables import full, pivot
from proxybench.report.words import SCENARIOS, look, subject_names, with_clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.report.data import ReportData
    from proxybench.stats.summary import SummaryRecord

OUTAGE, LOST, REFUSED = "without service", "lost", "refused"
"""Parts of bars."""

_TIMES: Mapping[str, str] = {Metric.EVENT_OUTAGE: OUTAGE}
_COUNTS: Mapping[str, str] = {Metric.EVENT_LOST: LOST, Metric.EVENT_REFUSED: REFUSED}
EVENT_METRICS = frozenset({*_TIMES, *_COUNTS})


def event_sections(data: ReportData) -> list[Section]:
    """Return the chapters of a run that watched events; none for another."""
    if not data.of(Metric.EVENT_OUTAGE):
        return []
    return [
        _section(
            data,
            "outages",
            Metric.EVENT_OUTAGE.about.title,
            "New connections to the watched Services every few milliseconds, from before an event until after it: the "
            "longest time in which none to the Service that fared worst was answered. A bound (≥) did not come back "
            "while it was watched. Events in which nothing failed have no bar; the table has them.",
            _TIMES,
        ),
        _section(
            data,
            "lost-connections",
            "Connections lost and refused",
            "Of the new connections to all watched Services: those that got no answer, and those that were refused at "
            "once. They count at the rate of the watch; event.attempts is how many there were.",
            _COUNTS,
        ),
    ]


def _section(data: ReportData, name: str, heading: str, lead: str, parts: Mapping[str, str]) -> Section:
    records = data.shown([record for metric in parts for record in data.of(metric)])
    panels, clock = event_panels(records, parts), clocks_text(records)
    heading = heading_of(heading, records)
    first = [record for record in records if record.metric == next(iter(parts))]
    caption = f"{first[0].metric}: median and 95 % interval ({clock})"
    return Section(
        name,
        heading,
        lead,
        describe(panels, below="The table below has all events.") if panels else "",
        clock,
        tuple(panels),
        pivot(first, caption, unranked={record.mode for record in records}),
        full(records, f"{heading}: every row ({clock})", metric=True),
        missing="" if panels else "No figure: nothing failed in any event.",
    )


def event_panels(records: Sequence[SummaryRecord], parts: Mapping[str, str]) -> list[BarPanel]:
    """Return one panel per event in which something is not 0, with a group of bars per size."""
    labels = subject_names(record.subject for record in records)
    several = len({record.endpoints_per_service for record in records}) > 1
    panels = []
    for scenario in sorted({record.scenario for record in records}, key=lambda one: reading_place(one, "none")):
        of_event = [record for record in records if record.scenario == scenario]
        if not any(record.median for record in of_event):
            continue
        groups: dict[str, tuple[Bar, ...]] = {}
        for endpoints, services in sorted({(one.endpoints_per_service, one.services) for one in of_event}):
            here = [one for one in of_event if (one.endpoints_per_service, one.services) == (endpoints, services)]
            groups[size_name(services, endpoints if several else 0)] = tuple(
                _bar([one for one in here if one.subject == subject], labels[subject], parts)
                for subject in sorted({one.subject for one in here}, key=lambda each: (each.mode, each))
            )
        first = of_event[0]
        quantity = with_clock("time" if first.unit == "ns" else "connections", first.unit, first.clock)
        title = SCENARIOS.get(scenario, scenario)
        panels.append(BarPanel(title, quantity, tuple(groups.items()), unit=first.shown_unit))
    return panels


def _bar(records: Sequence[SummaryRecord], label: str, parts: Mapping[str, str]) -> Bar:
    found = {record.metric: record for record in records}
    shown = tuple((name, found[metric].median) for metric, name in parts.items() if metric in found)
    return Bar(
        look(records[0].subject),
        label,
        shown,
        bounded=any(record.bounded(0.5) for record in records),
        uncertainty=records[0].uncertainty,
    )
