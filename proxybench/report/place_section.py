"""The chapter of a Service with many endpoints: what a connection costs by the place of the one that answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.alt import describe
from proxybench.report.section import BELOW, Section, clocks_text, heading_of
from proxybench.report.shapes import DataPoint, Line, LinePanel
from proxybench.report.tables import pivot
from proxybench.report.words import count, look, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import EndpointMedians, ReportData

_LEAD = (
    "The same connections by the endpoint that answered. With iptables a connection walks the Service's chain until a "
    "rule takes it, by chance: the place of the endpoint in that chain is what it has walked. The other modes choose "
    "an endpoint at once, and the place is but its number. Medians over fifths of all places."
)


def place_sections(data: ReportData) -> list[Section]:
    """Return the chapter, and none where no run has kept which endpoint answered."""
    panels = place_panels(data.by_endpoint)
    if not panels:
        return []
    records = data.of(Metric.FORWARDING_ENDPOINT)
    heading, clock = heading_of(Metric.FORWARDING_ENDPOINT.about.title, records), clocks_text(records)
    table = pivot(records, f"{heading}: median over all endpoints and 95 % interval ({clock})")
    return [Section("endpoints", heading, _LEAD, describe(panels, below=BELOW), clock, tuple(panels), table)]


def place_panels(by_endpoint: Sequence[EndpointMedians]) -> list[LinePanel]:
    """Return one panel per size and clock, with one line per subject over the places."""
    quantity = Metric.FORWARDING_ENDPOINT.about.quantity
    labels = subject_names(each.record.subject for each in by_endpoint)
    order = sorted(labels, key=lambda subject: (subject.mode, subject))
    sizes = sorted(
        {(each.record.clock, each.record.services, each.record.endpoints_per_service) for each in by_endpoint}
    )
    panels = []
    for clock, services, endpoints in sizes:
        lines = []
        for subject in order:
            style = [other for other in order if look(other) == look(subject)].index(subject)
            lines += [
                Line(look(subject), labels[subject], style, _points(each))
                for each in by_endpoint
                if each.record.subject == subject
                and (each.record.clock, each.record.services, each.record.endpoints_per_service)
                == (clock, services, endpoints)
            ]
        title = count(endpoints, "endpoint") + ("" if services == 1 else f" of each of {services:,} Services")
        label = with_clock(quantity, "ns", clock)
        panels.append(LinePanel(title, "Place of the endpoint", label, shown_unit("ns", clock), tuple(lines)))
    return panels


def _points(by_endpoint: EndpointMedians) -> tuple[DataPoint, ...]:
    pairs = zip(by_endpoint.places, by_endpoint.medians, strict=True)
    return tuple(DataPoint(place, median, None, None, bounded=False) for place, median in pairs)
