"""How far to trust a run: its noise, what observing it cost, and whether the modes did what they must."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from proxybench.metric_facts import find
from proxybench.model import CLUSTER_IP, NO_PATH, Metric, Position
from proxybench.report.grouping import reading_place, size_name
from proxybench.report.tables import WIDEST, Cell, Table
from proxybench.report.words import DASH, MINUS, SCENARIOS, TIMES, count, exact, human, mode_name, subject_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.report.data import ReportData
    from proxybench.results.manifest import Conformance
    from proxybench.stats.series import Series
    from proxybench.stats.summary import SummaryRecord

OBSERVER_LIMIT = 0.02  # of a core
_FACTOR_FROM = 10.0
_CONTROLS = {(Metric.FORWARDING_BARE, Position.NONE), (Metric.FORWARDING_ESTABLISHED, Position.NONE)}


def noise_table(records: Sequence[SummaryRecord], caption: str) -> Table | None:
    """Return, per metric, half the interval relative to the median: at the middle point and at the worst."""
    names = subject_names(record.subject for record in records)
    grouped: dict[str, list[tuple[float, SummaryRecord]]] = {}
    for record in records:
        if record.ci_low is None or record.ci_high is None or record.median <= 0:
            continue
        share = (record.ci_high - record.ci_low) / 2 / record.median
        grouped.setdefault(record.metric, []).append((share, record))
    rows = []
    for metric, found in sorted(grouped.items()):
        worst, where = max(found, key=lambda pair: pair[0])
        place = f"{names[where.subject]}, {count(where.services, 'Service')}, {where.scenario}"
        rows.append(
            (
                Cell(metric),
                Cell(f"{len(found)}", number=True),
                _percent(median(share for share, _ in found)),
                _percent(worst),
                Cell(place),
            )
        )
    heads = (
        Cell("Metric"),
        Cell("Points", number=True),
        Cell("Typical ±", number=True),
        Cell("Worst ±", number=True),
        Cell("Worst at"),
    )
    return Table(caption, heads, tuple(rows)) if rows else None


def drift_table(series: Iterable[Series], caption: str) -> Table | None:
    """Return how far each control went over the repetitions: what no subject's rules touch, the machine moved.

    A repetition's value is the median over the subjects, which took turns within it.
    """
    found: dict[tuple[str, int, int], dict[tuple[str, int], list[float]]] = {}
    for each in series:
        key = each.key
        if (key.metric, key.position) in _CONTROLS and key.path in {CLUSTER_IP, NO_PATH}:
            control = found.setdefault((key.metric, key.services, key.endpoints_per_service), {})
            for label, value in zip(each.labels, each.values.tolist(), strict=True):
                control.setdefault(label, []).append(value)
    rows = []
    for (metric, services, endpoints), turns in sorted(found.items()):
        values = [median(turns[label]) for label in sorted(turns)]
        if len(values) > 1 and min(values) > 0:
            about = find(metric)
            moved = f"{100 * (values[-1] / values[0] - 1):+.2g} %".replace("-", MINUS)
            rows.append(
                (
                    Cell(about.title if about else metric, size_name(services, endpoints)),
                    Cell(str(len(values)), number=True),
                    Cell(moved, sort=str(values[-1] / values[0]), number=True),
                    _percent((max(values) - min(values)) / median(values)),
                )
            )
    heads = (
        Cell("Control"),
        *(Cell(head, number=True) for head in ("Repetitions", "First to last", "Furthest apart")),
    )
    return Table(caption, heads, tuple(rows)) if rows else None


def observer_table(data: ReportData, caption: str) -> Table | None:
    """Return our agent's CPU per scenario, as a share of a core where the window is known."""
    names = subject_names(record.subject for record in data.records)
    windows = {_place(record): record for record in data.of(Metric.CPU_WINDOW)}
    rows = []
    found = {record.scenario for record in data.of(Metric.CPU_AGENT)}
    for scenario in sorted(found, key=lambda name: reading_place(name, "none")):
        agents = data.of(Metric.CPU_AGENT, scenario)
        shares = [
            (agent.median / window.median, agent)
            for agent in agents
            if (window := windows.get(_place(agent))) is not None and window.median > 0
        ]
        most = max(agents, key=lambda record: record.median)
        cells = (
            Cell(SCENARIOS.get(scenario, scenario)),
            Cell(human(most.median, most.shown_unit), title=exact(most.median, most.shown_unit), number=True),
        )
        if not shares:
            rows.append((*cells, Cell(DASH, number=True), Cell("not known: the run holds no cpu.window")))
            continue
        share, agent = max(shares, key=lambda pair: pair[0])
        over = share > OBSERVER_LIMIT
        place = f"{names[agent.subject]}, {count(agent.services, 'Service')}"
        text = f"above the limit of 2 % of a core ({place})" if over else "within 2 % of a core"
        rows.append((*cells, _percent(share), Cell(text, state="fail" if over else "pass")))
    heads = (
        Cell("Scenario"),
        Cell("Agent's CPU, at most", number=True),
        Cell("Share of a core", number=True),
        Cell("Verdict"),
    )
    return Table(caption, heads, tuple(rows)) if rows else None


def conformance_table(checks: Sequence[Conformance]) -> Table | None:
    """Return one row per check and one column per mode; a failure names its size and what was seen."""
    modes = sorted({check.mode for check in checks})
    names = list(dict.fromkeys(check.check for check in checks))
    rows = []
    for name in names:
        cells = []
        for mode in modes:
            found = [check for check in checks if check.check == name and check.mode == mode]
            failed = [check for check in found if not check.passed]
            if not found:
                cells.append(Cell(DASH, detail="not checked"))
            elif failed:
                why = "; ".join(
                    f"at {count(check.services, 'Service')}" + (f": {check.detail}" if check.detail else "")
                    for check in failed
                )
                cells.append(Cell("✗ failed", detail=why, state="fail"))
            else:
                sizes = ", ".join(f"{size:,}" for size in sorted({check.services for check in found}))
                cells.append(Cell("✓ passed", detail=f"at {sizes} Services", state="pass"))
        rows.append((Cell(name), *cells))
    heads = (Cell("Check"), *(Cell(mode_name(mode), mode=mode) for mode in modes))
    return Table("What each mode must do before it is measured", heads, tuple(rows)) if rows else None


def _percent(share: float) -> Cell:
    """Write a share in per cent, one of ten times and more as a factor, and none beyond ``WIDEST``."""
    if share >= WIDEST:
        text = f"over {WIDEST:.0f}{TIMES}"
    elif share >= _FACTOR_FROM:
        text = f"{share:.0f}{TIMES}"
    else:
        text = f"{100 * share:.{2 if share < 1 else 3}g} %"
    return Cell(text, sort=str(share), number=True)


def _place(record: SummaryRecord) -> tuple[object, ...]:
    return (
        record.mode,
        record.program,
        record.services,
        record.endpoints_per_service,
        record.scenario,
        record.path,
        record.family,
        record.clock,
    )
