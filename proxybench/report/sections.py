"""The chapters of the report in the order of reading, and whatever else a run measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.metric_facts import find
from proxybench.model import Metric
from proxybench.report.breakdown import METRICS
from proxybench.report.event_sections import EVENT_METRICS, event_sections
from proxybench.report.line_sections import PLANS, line_section
from proxybench.report.load_failures import METRICS as FAILURES
from proxybench.report.load_failures import failure_sections
from proxybench.report.load_sections import load_sections
from proxybench.report.path_section import path_sections, sync_path_sections
from proxybench.report.place_section import place_sections
from proxybench.report.section import clocks_text, heading_of
from proxybench.report.tables import pivot
from proxybench.report.work_sections import TAXED, USAGE, breakdown_section, cpu_section, tax_section

if TYPE_CHECKING:
    from proxybench.report.data import ReportData
    from proxybench.report.section import Section
    from proxybench.report.tables import Table

_LOAD = (Metric.FORWARDING_LOAD, Metric.FORWARDING_LOAD_INTENDED)


def sections(data: ReportData) -> list[Section]:
    """Return all chapters in the order of reading."""
    made = {plan.name: line_section(plan, data) for plan in PLANS}
    forwarding = [made[name] for name in ("connect", "first-byte", "established")]
    return [
        *event_sections(data),
        made["sync-end-to-end"],
        *sync_path_sections(data),
        breakdown_section(data),
        made["sync-control-loop"],
        cpu_section(data),
        tax_section(data),
        *path_sections(data),
        *place_sections(data),
        *forwarding,
        *failure_sections(data),
        *load_sections(data),
        made["memory"],
    ]


def other_tables(data: ReportData) -> list[Table]:
    """Return a table for each number that no chapter shows: whatever the registry and a run hold beside them."""
    told: set[str] = {*(plan.metric for plan in PLANS), *METRICS, *USAGE, *_LOAD, *EVENT_METRICS}
    told.add(Metric.FORWARDING_ENDPOINT)
    if data.of(Metric.FORWARDING_BARE):
        told |= TAXED
    if data.of(Metric.LOAD_FAILURE_RATE):
        told |= FAILURES
    tables = []
    for metric in dict.fromkeys(record.metric for record in data.records if record.metric not in told):
        records = data.shown(data.of(metric))
        about = find(metric)
        heading = f"{heading_of(about.title, records, about.work)} ({metric})" if about else metric
        caption = f"{heading}: median and 95 % interval ({clocks_text(records)})"
        tables.append(pivot(records, caption, unranked={record.mode for record in records}))
    return tables
