"""Panels as data: which records become which lines, bars and curves. No drawing here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.words import (
    DIRECT,
    DIRECTLY,
    POSITIONS,
    SCENARIOS,
    clock_short,
    count,
    mode_name,
    subject_names,
    with_clock,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.report.data import Curve
    from proxybench.report.jumps import Axis, Jump
    from proxybench.stats.summary import SummaryRecord

_SCENARIO_ORDER = list(SCENARIOS)
_POSITION_ORDER = list(POSITIONS)


@dataclass(frozen=True)
class Spot:
    """One point of a line; ``bounded``: the true value is at least ``y``."""

    x: float
    y: float
    low: float | None
    high: float | None
    bounded: bool


@dataclass(frozen=True)
class Line:
    """One mode's line; ``style`` counts the proxiers, from 0 (drawn solid)."""

    look: str
    label: str
    style: int
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class Mark:
    """A jump of one mode's line between the sizes ``after`` and ``before``."""

    look: str
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
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Bar:
    """One mode's stack: (part, value) from the axis outwards."""

    look: str
    label: str
    parts: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        """The stack's length, in ns."""
        return sum(value for _, value in self.parts)


@dataclass(frozen=True)
class BarPanel:
    """Stacks for one scenario, grouped by size; each group has a scale of its own."""

    title: str
    x_label: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]


@dataclass(frozen=True)
class CurvePanel:
    """Distributions at one size: share of connections (y) that took at most x."""

    title: str
    x_label: str
    curves: tuple[tuple[str, str, tuple[float, ...], tuple[float, ...]], ...]  # look, label, x, y


Panel = LinePanel | BarPanel | CurvePanel


@dataclass(frozen=True)
class Name:
    """One entry of a legend: whose line or bar it is, and the ``style`` of its line."""

    look: str
    label: str
    style: int = 0


def names(panels: Iterable[Panel]) -> tuple[Name, ...]:
    """Return what a figure's legend names, the reference last."""
    found: dict[Name, None] = {}
    for panel in panels:
        if isinstance(panel, LinePanel):
            found.update({Name(line.look, line.label, line.style): None for line in panel.lines})
        elif isinstance(panel, CurvePanel):
            found.update({Name(look, label): None for look, label, _, _ in panel.curves})
        else:
            found.update({Name(bar.look, bar.label): None for _, bars in panel.groups for bar in bars})
    return tuple(sorted(found, key=lambda name: (name.look == DIRECT, name.look, name.style, name.label)))


USER, SYSTEM, WHOLE, RELAY, SOFTIRQ, AGENT = (
    "control loop, user",
    "control loop, system",
    "control loop, not split",
    "relay (data path in user space)",
    "node's softirq",
    "our agent",
)

BUILD, TOOL, KERNEL, WAIT = "building rules", "in tools it ran", "in system calls", "waiting for its turn"


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
    for (scenario, position, path, clock, endpoints), group in _grouped(records):
        beside = [
            record
            for record in references
            if (record.path, record.clock, record.endpoints_per_service) == (path, clock, endpoints)
        ]
        lines = [*_lines(group, "services"), *([_reference(beside)] if beside else [])]
        title = _title(records, scenario, position, path, endpoints)
        label = with_clock(quantity, group[0].unit, clock)
        drawn.append(LinePanel(title, "Services", label, group[0].unit, tuple(lines), log, _marks(jumps, group)))
    over_endpoints = _endpoint_panels(records, quantity, log=log, jumps=jumps)
    # Single dots are worth a panel only where a run has nothing else to show.
    lines_only = [panel for panel in drawn if any(len(line.spots) > 1 for line in panel.lines)]
    return [*lines_only, *over_endpoints] or drawn


def bar_panels(records: Sequence[SummaryRecord], quantity: str = "CPU time") -> list[BarPanel]:
    """Return one panel per scenario: of CPU usage (``cpu.*``), or of what syncs consist of (``sync.build`` …)."""
    grouped: dict[tuple[str, str, str], list[SummaryRecord]] = {}
    for (scenario, _, path, clock, _), group in _grouped(records):
        grouped.setdefault((scenario, path, clock), []).extend(group)
    several = len({record.endpoints_per_service for record in records}) > 1
    panels = []
    for (scenario, path, clock), group in grouped.items():
        sizes = sorted({(record.endpoints_per_service, record.services) for record in group})
        groups = [
            (_size(services, endpoints if several else 0), _bars_of(group, services, endpoints))
            for endpoints, services in sizes
        ]
        shown = tuple((label, bars) for label, bars in groups if bars)
        if shown:
            title = _title(records, scenario, "none", path, 0)
            panels.append(BarPanel(title, f"{quantity} ({clock_short(clock)})", shown))
    return panels


def curve_panels(curves: Sequence[Curve]) -> list[CurvePanel]:
    """Return one panel per size, path and clock."""
    grouped: dict[tuple[int, int, str, str], list[Curve]] = {}
    for curve in curves:
        record = curve.record
        key = (record.endpoints_per_service, record.services, record.path, record.clock)
        grouped.setdefault(key, []).append(curve)
    labels = subject_names(curve.record.subject for curve in curves)
    widths = len({curve.record.endpoints_per_service for curve in curves}) > 1
    panels = []
    for (endpoints, services, _, clock), members in sorted(grouped.items()):
        lines = [(each.record.mode, labels[each.record.subject], each.values, each.shares) for each in members]
        label = f"time per connection ({clock_short(clock)})"
        panels.append(CurvePanel(_size(services, endpoints if widths else 0), label, tuple(lines)))
    return panels


def _size(services: int, endpoints: int) -> str:
    """Name a size, with the endpoints of each Service unless they are 0."""
    size = count(services, "Service")
    return f"{size}, {count(endpoints, 'endpoint')} each" if endpoints else size


_Key = tuple[str, str, str, str, int]


def _grouped(records: Sequence[SummaryRecord]) -> list[tuple[_Key, list[SummaryRecord]]]:
    """Group by scenario, position, path, clock and endpoints per Service, in the order of reading."""
    groups: dict[_Key, list[SummaryRecord]] = {}
    for record in records:
        key = (record.scenario, record.position, record.path, record.clock, record.endpoints_per_service)
        groups.setdefault(key, []).append(record)

    def order(item: tuple[_Key, list[SummaryRecord]]) -> tuple[object, ...]:
        scenario, position, path, clock, endpoints = item[0]
        return (path, clock, endpoints, *_place(scenario, position))

    return sorted(groups.items(), key=order)


def _place(scenario: str, position: str) -> tuple[int, int]:
    """Return where a scenario and a position stand in the order of reading."""
    return (
        _SCENARIO_ORDER.index(scenario) if scenario in _SCENARIO_ORDER else len(_SCENARIO_ORDER),
        _POSITION_ORDER.index(position) if position in _POSITION_ORDER else len(_POSITION_ORDER),
    )


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
            key = (record.services, record.path, record.clock, record.scenario, record.position)
            groups.setdefault(key, []).append(record)
    panels = []
    in_order = sorted(groups.items(), key=lambda item: (*item[0][:3], *_place(*item[0][3:])))
    for (services, path, clock, scenario, position), group in in_order:
        lines = tuple(_lines(group, "endpoints_per_service"))
        title = f"{count(services, 'Service')}: {_title(records, scenario, position, path, 0)}"
        label = with_clock(quantity, group[0].unit, clock)
        marks = _marks(jumps, group, "endpoints_per_service")
        panels.append(LinePanel(title, "Endpoints of each Service", label, group[0].unit, lines, log, marks))
    return panels


def _marks(jumps: Iterable[Jump], group: Sequence[SummaryRecord], axis: Axis = "services") -> tuple[Mark, ...]:
    """Return the jumps of the lines that ``group`` is drawn as."""
    names = ("subject", "scenario", "path", "position", "metric", "clock")
    fixed = (*names, "endpoints_per_service" if axis == "services" else "services")
    shown = {tuple(str(getattr(record, name)) for name in fixed) for record in group}
    return tuple(
        Mark(jump.key.mode, jump.step.after, jump.step.before)
        for jump in jumps
        if jump.axis == axis and tuple(str(getattr(jump.key, name)) for name in fixed) in shown
    )


def _title(records: Sequence[SummaryRecord], scenario: str, position: str, path: str, endpoints: int) -> str:
    """Name what tells this panel from its neighbours, and nothing else."""
    words = []
    positions = len({record.position for record in records})
    if position == "none" and positions > 1:
        words.append(DIRECTLY)
    elif len({record.scenario for record in records}) > 1 or position == "none" or positions == 1:
        words.append(SCENARIOS.get(scenario, scenario))
    if position != "none" and positions > 1:
        words.append(POSITIONS.get(position, position))
    if len({record.path for record in records}) > 1:
        words.append(path)
    if endpoints and len({record.endpoints_per_service for record in records}) > 1:
        words.append(f"{count(endpoints, 'endpoint')} each")
    return ", ".join(words)


def _lines(records: Sequence[SummaryRecord], axis: str) -> list[Line]:
    """Return one line per subject; of several of one mode, each has dashes of its own."""
    labels = subject_names(record.subject for record in records)
    grouped: dict[Subject, list[SummaryRecord]] = {}
    for record in records:
        grouped.setdefault(record.subject, []).append(record)
    order = sorted(grouped, key=lambda subject: (subject.mode, subject))
    return [
        Line(
            subject.mode,
            labels[subject],
            [other for other in order if other.mode == subject.mode].index(subject),
            tuple(sorted((_spot(record, axis) for record in grouped[subject]), key=lambda spot: spot.x)),
        )
        for subject in order
    ]


def _reference(records: Sequence[SummaryRecord]) -> Line:
    """Pool the connections without a Service of all modes: no rule stands in their way, so they should agree."""
    sizes = sorted({record.services for record in records})
    spots = []
    for size in sizes:
        medians = sorted(record.median for record in records if record.services == size)
        spots.append(Spot(size, medians[len(medians) // 2], None, None, bounded=False))
    return Line(DIRECT, mode_name(DIRECT), 0, tuple(spots))


def _spot(record: SummaryRecord, axis: str) -> Spot:
    return Spot(getattr(record, axis), record.median, record.ci_low, record.ci_high, record.bounded(0.5))


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
        parts = (*_control_loop(found), *rest)
        if parts:
            bars.append(Bar(subject.mode, labels[subject], parts))
    return bars


_REST = (
    (RELAY, Metric.CPU_RELAY),
    (SOFTIRQ, Metric.CPU_SOFTIRQ),
    (AGENT, Metric.CPU_AGENT),
    (BUILD, Metric.SYNC_BUILD),
    (TOOL, Metric.SYNC_TOOL),
    (KERNEL, Metric.SYNC_KERNEL),
    (WAIT, Metric.SYNC_WAIT),
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
