"""What rules cost the rest of a node: connections without any, beside them, and through a Service.

With iptables, every new connection of the node walks the Services' rules until it finds that none is for it; "VIP minus
direct" would hide the larger half. All three go to the same endpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import CLUSTER_IP, NO_PATH, ClockKind, Metric, Mode, Position, Scenario
from proxybench.report.criteria import figures_at, ratio, usual_way
from proxybench.report.decision import ratio_text, value_text
from proxybench.report.shapes import DataPoint, Line, LinePanel
from proxybench.report.tables import Cell, Table, column_heads, columns_of, merged
from proxybench.report.words import DASH, DIRECT, count, exact, look, mode_name, subject_names, with_clock
from proxybench.units import shown_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.report.criteria import Figure
    from proxybench.report.tables import Column
    from proxybench.stats.series import Series
    from proxybench.stats.summary import SummaryRecord

BARE, BESIDE, SERVICE = "no rules", "straight to a pod, rules present", "through the Service, last rule"
_KINDS = (
    (BARE, Metric.FORWARDING_BARE, Position.NONE),
    (BESIDE, Metric.FORWARDING_DIRECT, Position.NONE),
    (SERVICE, Metric.FORWARDING_CONNECT, Position.LAST),
)


def tax_panels(records: Sequence[SummaryRecord]) -> list[LinePanel]:
    """Return one panel per subject and width: its three kinds of connection over Services; of userspace, two.

    A subject over IPv6 is one of its own (see ``families``); what goes another way than over a ClusterIP is left out.
    """
    groups: dict[tuple[str, Subject, int], list[SummaryRecord]] = {}
    for record in records:
        if record.path in {CLUSTER_IP, NO_PATH}:
            groups.setdefault((record.clock, record.subject, record.endpoints_per_service), []).append(record)
    names = subject_names(subject for _, subject, _ in groups)
    several = len({width for _, _, width in groups}) > 1
    order = sorted(groups, key=lambda each: (each[1].mode, *each[1:]))
    panels = []
    for clock, subject, width in sorted(order, key=lambda each: each[0], reverse=True):
        own = groups[clock, subject, width]
        lines = [line for number in range(len(_KINDS)) if (line := _line(number, subject, names[subject], own))]
        if len(lines) > 1 and any(len(line.points) > 1 for line in lines):
            title = f"{names[subject]}, {count(width, 'endpoint')} each" if several else names[subject]
            label = with_clock("time to connect", "ns", clock)
            panels.append(LinePanel(title, "Services", label, shown_unit("ns", clock), tuple(lines)))
    return panels


def tax_table(series: Sequence[Series], clock: str) -> Table | None:
    """Return a row per size and kind of connection, a column per subject and clock; of several widths, these too."""
    chosen = [each for each in usual_way(series) if each.key.scenario == Scenario.STEADY and _kind_of(each) is not None]
    columns = columns_of(each.key for each in chosen)
    several = len({each.key.endpoints_per_service for each in chosen}) > 1
    rows = []
    for size in sorted({(each.key.services, each.key.endpoints_per_service) for each in chosen}):
        here = [each for each in chosen if (each.key.services, each.key.endpoints_per_service) == size]
        found = {name: _figures(metric, position, here) for name, metric, position in _KINDS}
        for name, figures in found.items():
            if figures:
                cells = [_cell(figures.get(column), found[BARE].get(column), name) for column in columns]
                names = [Cell(f"{one:,}", sort=str(one), number=True) for one in (size if several else size[:1])]
                rows.append((*names, Cell(name), *cells))
    if not rows:
        return None
    caption = f"connect(): median; below, times a connection on a node without rules, with its 95 % interval ({clock})"
    heads = [Cell(name, number=True) for name in ("Services", "Endpoints each")[: 2 if several else 1]]
    keys = len(heads) + 1
    return Table(caption, (*heads, Cell("Connection"), *column_heads(columns)), merged(rows, keys - 1), keys)


def _figures(metric: Metric, position: Position, series: Sequence[Series]) -> Mapping[Column, Figure]:
    return {
        (subject, clock): figure
        for clock in ClockKind
        for subject, figure in figures_at(
            metric, Scenario.STEADY, position, [each for each in series if each.key.clock == clock]
        ).items()
    }


def _cell(figure: Figure | None, bare: Figure | None, kind: str) -> Cell:
    if figure is None:
        return Cell(DASH, number=True, title="not measured")
    found = None if bare is None or kind == BARE else ratio(bare, figure)
    detail = "" if found is None else ratio_text(found, figure)
    return Cell(value_text(figure), detail, exact(figure.median, figure.unit), str(figure.median), number=True)


def _kind_of(each: Series) -> str | None:
    if (each.key.metric, each.key.mode) == (Metric.FORWARDING_CONNECT, Mode.USERSPACE):
        return None  # it ends at the relay
    wanted = (each.key.metric, each.key.position)
    return next((name for name, metric, position in _KINDS if (metric, position) == wanted), None)


def _line(number: int, subject: Subject, called: str, records: Iterable[SummaryRecord]) -> Line | None:
    """Return the line of one of ``_KINDS`` of a subject that is ``called`` so; None where it has none."""
    name, metric, position = _KINDS[number]
    if metric == Metric.FORWARDING_CONNECT and subject.mode == Mode.USERSPACE:
        return None
    points = [
        DataPoint(
            record.services, record.median, record.ci_low, record.ci_high, record.bounded(0.5), record.uncertainty
        )
        for record in records
        if (record.metric, record.position, record.scenario) == (metric, position, Scenario.STEADY)
    ]
    if not points:
        return None
    bare = name == BARE
    style = 0 if bare else len(_KINDS) - 1 - number  # the Service's line is solid, that beside the rules dashed
    label = mode_name(DIRECT) if bare else f"{called}, {name}"
    return Line(DIRECT if bare else look(subject), label, style, tuple(sorted(points, key=lambda point: point.x)))
