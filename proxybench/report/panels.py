"""Which records become which lines and curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.report.grouping import by_panel, panel_title, reading_place, size_name, way
from proxybench.report.shapes import CurvePanel, DataPoint, Distribution, JumpMark, Line, LinePanel
from proxybench.report.words import DIRECT, count, look, mode_name, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.model import Subject
    from proxybench.report.data import Curve
    from proxybench.report.jumps import Axis, Jump
    from proxybench.stats.summary import SummaryRecord


def line_panels(
    records: Sequence[SummaryRecord],
    quantity: str,
    *,
    log: bool = True,
    reference: Iterable[SummaryRecord] = (),
    jumps: Sequence[Jump] = (),
) -> list[LinePanel]:
    """Return one panel per scenario, position, path and clock, with one line per mode and proxier.

    ``quantity`` begins the y label; ``reference`` are connections without a Service, pooled over the modes and shown
    beside every position. ``jumps`` are marked in the panels that show their lines.
    """
    drawn = []
    references = list(reference)
    for (scenario, position, path, clock, endpoints), group in by_panel(records):
        beside = [
            record
            for record in references
            if (way(record), record.clock, record.endpoints_per_service) == (path, clock, endpoints)
        ]
        lines = [*_lines(group, "services"), *([_reference(beside)] if beside else [])]
        title = panel_title(records, scenario, position, path, endpoints)
        label = with_clock(quantity, group[0].unit, clock)
        unit = group[0].shown_unit
        drawn.append(LinePanel(title, "Services", label, unit, tuple(lines), log, _marks(jumps, group)))
    over_endpoints = _endpoint_panels(records, quantity, log=log, jumps=jumps)
    # Single dots are worth a panel only where a run has nothing else to show.
    lines_only = [panel for panel in drawn if any(len(line.points) > 1 for line in panel.lines)]
    return [*lines_only, *over_endpoints] or drawn


def curve_panels(curves: Sequence[Curve]) -> list[CurvePanel]:
    """Return one panel per size, path and clock."""
    grouped: dict[tuple[int, int, str, str], list[Curve]] = {}
    for curve in curves:
        record = curve.record
        key = (record.endpoints_per_service, record.services, record.path, record.clock)
        grouped.setdefault(key, []).append(curve)
    labels = subject_names(curve.record.subject for curve in curves)
    styles = _styles(labels)
    widths = len({curve.record.endpoints_per_service for curve in curves}) > 1
    panels = []
    for (endpoints, services, _, clock), members in sorted(grouped.items()):
        lines = [
            Distribution(
                look(each.record.subject),
                labels[each.record.subject],
                styles[each.record.subject],
                each.values,
                each.shares,
            )
            for each in members
        ]
        title = size_name(services, endpoints if widths else 0)
        label = with_clock("time per connection", "ns", clock)
        panels.append(CurvePanel(title, label, tuple(lines), shown_unit("ns", clock)))
    return panels


def _endpoint_panels(
    records: Sequence[SummaryRecord], quantity: str, *, log: bool, jumps: Sequence[Jump]
) -> list[LinePanel]:
    """Return panels over endpoints per Service, for sizes that no panel over Services can show."""
    widths: dict[int, set[int]] = {}
    for record in records:
        widths.setdefault(record.endpoints_per_service, set()).add(record.services)
    alone = [record for record in records if len(widths[record.endpoints_per_service]) == 1]
    sizes = {
        size
        for size in {record.services for record in alone}
        if len({record.endpoints_per_service for record in alone if record.services == size}) > 1
    }
    groups: dict[tuple[int, str, str, str, str], list[SummaryRecord]] = {}
    for record in records:
        if record.services in sizes:
            key = (record.services, way(record), record.clock, record.scenario, record.position)
            groups.setdefault(key, []).append(record)
    panels = []
    in_order = sorted(groups.items(), key=lambda item: (*item[0][:3], *reading_place(*item[0][3:])))
    for (services, path, clock, scenario, position), group in in_order:
        lines = tuple(_lines(group, "endpoints_per_service"))
        title = f"{count(services, 'Service')}: {panel_title(records, scenario, position, path, 0)}"
        label = with_clock(quantity, group[0].unit, clock)
        marks = _marks(jumps, group, "endpoints_per_service")
        unit = group[0].shown_unit
        panels.append(LinePanel(title, "Endpoints of each Service", label, unit, lines, log, marks))
    return panels


def _marks(jumps: Iterable[Jump], group: Sequence[SummaryRecord], axis: Axis = "services") -> tuple[JumpMark, ...]:
    """Return the jumps of the lines that ``group`` is drawn as."""
    names = ("subject", "scenario", "path", "family", "position", "metric", "clock")
    fixed = (*names, "endpoints_per_service" if axis == "services" else "services")
    shown = {tuple(str(getattr(record, name)) for name in fixed) for record in group}
    return tuple(
        JumpMark(look(jump.key.subject), jump.step.after, jump.step.before)
        for jump in jumps
        if jump.axis == axis and tuple(str(getattr(jump.key, name)) for name in fixed) in shown
    )


def _lines(records: Sequence[SummaryRecord], axis: str) -> list[Line]:
    """Return one line per subject; of several of one mode, each has dashes of its own."""
    labels = subject_names(record.subject for record in records)
    grouped: dict[Subject, list[SummaryRecord]] = {}
    for record in records:
        grouped.setdefault(record.subject, []).append(record)
    styles = _styles(grouped)
    return [
        Line(
            look(subject),
            labels[subject],
            styles[subject],
            tuple(sorted((_point(record, axis) for record in grouped[subject]), key=lambda point: point.x)),
        )
        for subject in styles
    ]


def _styles(subjects: Iterable[Subject]) -> dict[Subject, int]:
    """Return in the order of a legend how each subject's line is dashed: those of one mode are counted from 0."""
    order = sorted(subjects, key=lambda subject: (subject.mode, subject))
    return {subject: [other for other in order if look(other) == look(subject)].index(subject) for subject in order}


def _reference(records: Sequence[SummaryRecord]) -> Line:
    """Pool the connections without a Service of all modes: no rule stands in their way, so they should agree."""
    sizes = sorted({record.services for record in records})
    points = []
    for size in sizes:
        medians = sorted(record.median for record in records if record.services == size)
        points.append(DataPoint(size, medians[len(medians) // 2], None, None, bounded=False))
    return Line(DIRECT, mode_name(DIRECT), 0, tuple(points))


def _point(record: SummaryRecord, axis: str) -> DataPoint:
    return DataPoint(
        getattr(record, axis), record.median, record.ci_low, record.ci_high, record.bounded(0.5), record.uncertainty
    )
