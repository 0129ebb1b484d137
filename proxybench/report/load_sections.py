"""Chapters of what connections took under load: the share of them over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.alt import describe
from proxybench.report.panels import curve_panels
from proxybench.report.section import BELOW, Section, clocks_text, heading_of, left_out
from proxybench.report.tables import full, pivot

if TYPE_CHECKING:
    from proxybench.report.data import ReportData


def load_sections(data: ReportData) -> list[Section]:
    """Return the figure of what connections took, and where the clock allows it, one that counts their waiting."""
    intended = data.of(Metric.FORWARDING_LOAD_INTENDED)
    lead = (
        "What concurrent new connections took at a set arrival rate, from before connect() to the first byte of the "
        "answer: the share of connections that needed at most what the axis says. With time-outs a curve ends below "
        "100 %. "
    )
    lead += "How late they began does not count here" + (", but in the next figure." if intended else ".")
    if not intended and "instructions" in data.clocks:
        lead += (
            " By the instruction clock nothing could be counted from there: the generator's sleep is the host's time."
        )
    sections = [_distribution("load", Metric.FORWARDING_LOAD.about.title, lead, Metric.FORWARDING_LOAD, data)]
    if intended:
        lead = (
            "The same connections from their intended start to the first byte: waiting counts, so a mode that falls "
            "behind the arrival rate shows here. It includes the generator's timer, up to 1 ms."
        )
        heading = Metric.FORWARDING_LOAD_INTENDED.about.title
        sections.append(_distribution("load-intended", heading, lead, Metric.FORWARDING_LOAD_INTENDED, data))
    return sections


def _distribution(name: str, heading: str, lead: str, metric: Metric, data: ReportData) -> Section:
    records = data.of(metric)
    if not records:
        return left_out(name, heading, lead, metric)
    heading, clock = heading_of(heading, records), clocks_text(records)
    panels = curve_panels([curve for curve in data.shown_curves if curve.record.metric == metric])
    return Section(
        name,
        heading,
        lead,
        describe(panels, below=BELOW),
        clock,
        tuple(panels),
        pivot(data.shown(records), f"{heading}: median and 95 % interval ({clock})"),
        full(data.shown(records), f"{heading}: every point ({clock})"),
    )
