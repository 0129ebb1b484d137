"""Which records become which stacked bars: CPU usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import NO_PATH, Metric, Scenario
from proxybench.report.grouping import by_panel, panel_title, size_name
from proxybench.report.shapes import Bar, BarPanel
from proxybench.report.words import look, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.stats.summary import SummaryRecord

USER, SYSTEM, WHOLE, RELAY, SOFTIRQ, AGENT = (
    "control loop, user",
    "control loop, system",
    "control loop, not split",
    "relay (data path in user space)",
    "node's softirq",
    "our agent",
)


def bar_panels(records: Sequence[SummaryRecord]) -> list[BarPanel]:
    """Return one panel per scenario: of CPU usage (``cpu.*``), what is by path left out."""
    records = [record for record in records if not by_path(record)]
    grouped: dict[tuple[str, str, str], list[SummaryRecord]] = {}
    for (scenario, _, path, clock, _), group in by_panel(records):
        grouped.setdefault((scenario, path, clock), []).extend(group)
    several = len({record.endpoints_per_service for record in records}) > 1
    panels = []
    for (scenario, path, clock), group in grouped.items():
        sizes = sorted({(record.endpoints_per_service, record.services) for record in group})
        groups = [
            (size_name(services, endpoints if several else 0), _bars_of(group, services, endpoints))
            for endpoints, services in sizes
        ]
        shown = tuple((label, bars) for label, bars in groups if bars)
        if shown:
            title = panel_title(records, scenario, "none", path, 0)
            label = with_clock("CPU time", "ns", clock)
            panels.append(BarPanel(title, label, shown, unit=shown_unit("ns", clock)))
    return panels


def by_path(record: SummaryRecord) -> bool:
    """Tell whether it is of a Service with one address; runs of the first edition name a path everywhere."""
    return record.path != NO_PATH and record.scenario in {Scenario.ADD_PATHS, Scenario.DELETE_PATHS}


def _bars_of(records: Sequence[SummaryRecord], services: int, endpoints: int) -> tuple[Bar, ...]:
    here = [record for record in records if (record.services, record.endpoints_per_service) == (services, endpoints)]
    return tuple(_bars(here))


def _bars(records: Sequence[SummaryRecord]) -> list[Bar]:
    labels = subject_names(record.subject for record in records)
    grouped: dict[Subject, dict[str, SummaryRecord]] = {}
    for record in records:
        grouped.setdefault(record.subject, {})[record.metric] = record
    bars = []
    for subject, found in sorted(grouped.items(), key=lambda item: (item[0].mode, item[0])):
        rest = tuple((name, found[metric].median) for name, metric in _REST if metric in found)
        loop = _control_loop(found)
        if loop or rest:
            whole = found.get(Metric.CPU_CONTROL_LOOP)
            number = sum(value for _, value in loop) if loop else None
            unsure = whole.uncertainty if whole else 0.0
            bars.append(Bar(look(subject), labels[subject], (*loop, *rest), number, uncertainty=unsure))
    return bars


_REST = (
    (RELAY, Metric.CPU_RELAY),
    (SOFTIRQ, Metric.CPU_SOFTIRQ),
    (AGENT, Metric.CPU_AGENT),
)


def _control_loop(found: Mapping[str, SummaryRecord]) -> tuple[tuple[str, float], ...]:
    """Return the control loop's CPU time in its user and system parts.

    The kernel splits them by its ticks of 10 ms, so they need not add up to the cgroup's time. They only say in what
    proportion it is shared out.
    """
    whole = found.get(Metric.CPU_CONTROL_LOOP)
    user, system = found.get(Metric.CPU_CONTROL_LOOP_USER), found.get(Metric.CPU_CONTROL_LOOP_SYSTEM)
    if user is None or system is None or user.median + system.median <= 0:
        return () if whole is None else ((WHOLE, whole.median),)
    scale = 1.0 if whole is None else whole.median / (user.median + system.median)
    return (USER, user.median * scale), (SYSTEM, system.median * scale)
