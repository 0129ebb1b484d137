"""The summary as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from proxybench.model import Metric, Mode, Scenario
from proxybench.report.tables import best_of, median_text
from proxybench.report.words import DASH, POSITIONS, SCENARIOS, TIMES, clock_long, mode_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.stats.summary import SummaryRecord

HEADLINES = (
    "sync.end_to_end",
    "sync.control_loop",
    "cpu.control_loop",
    "memory.control_loop",
    "forwarding.connect",
    "forwarding.first_byte",
    "forwarding.direct",
    "forwarding.established",
    "forwarding.load",
)


def summary_table(records: Sequence[SummaryRecord]) -> Table:
    """Return one row per metric, scenario, position and size, one column per mode: median and ± per cent.

    The best mode of a row is bold; modes whose intervals overlap are bold together.
    """
    chosen = [record for record in records if record.metric in HEADLINES]
    clocks = sorted({record.clock for record in chosen})
    columns = sorted({(record.mode, record.proxier) for record in chosen})
    several = len({proxier for _, proxier in columns}) > 1
    table = Table(
        title="Medians ± half of the 95 % interval",
        caption="; ".join(clock_long(clock) for clock in clocks),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    for name in ("Metric", "Scenario", "Services"):
        table.add_column(name, justify="right" if name == "Services" else "left", no_wrap=True, overflow="fold")
    for mode, proxier in columns:
        table.add_column(f"{mode_name(mode)}, {proxier}" if several else mode_name(mode), justify="right", no_wrap=True)
    last_metric = last_place = ""
    for (metric, scenario, position, path, services, endpoints), found in _rows(chosen):
        place = _where(scenario, position, path)
        if last_metric and metric != last_metric:
            table.add_section()
            last_place = ""
        best = best_of([record for record in found.values() if _ranked(record)])
        size = f"{services:,}" + (f" {TIMES} {endpoints:,}" if _several_widths(chosen) else "")
        words = ("" if metric == last_metric else metric, "" if place == last_place else place)
        table.add_row(*words, size, *(_cell(found.get(column), best) for column in columns))
        last_metric, last_place = metric, place
    return table


_Key = tuple[str, str, str, str, int, int]


def _rows(records: Sequence[SummaryRecord]) -> list[tuple[_Key, dict[tuple[str, str], SummaryRecord]]]:
    rows: dict[_Key, dict[tuple[str, str], SummaryRecord]] = {}
    for each in records:
        key = (each.metric, each.scenario, each.position, each.traffic, each.services, each.endpoints_per_service)
        rows.setdefault(key, {})[each.mode, each.proxier] = each
    scenarios, positions = list(SCENARIOS), list(POSITIONS)

    def order(item: tuple[_Key, object]) -> tuple[object, ...]:
        metric, scenario, position, path, services, endpoints = item[0]
        place = scenarios.index(scenario) if scenario in scenarios else len(scenarios)
        where = positions.index(position) if position in positions else len(positions)
        return (HEADLINES.index(metric), place, where, path, endpoints, services)

    return sorted(rows.items(), key=order)


def _where(scenario: str, position: str, path: str) -> str:
    words = [scenario, *([position] if position != "none" else []), *([path] if path != "tcp-clusterip" else [])]
    return ", ".join(words)


def _ranked(record: SummaryRecord) -> bool:
    """Tell whether a lower value is the mode's merit: userspace's connect() ends at a relay on the same node."""
    if record.metric == Metric.FORWARDING_CONNECT:
        return record.mode != Mode.USERSPACE
    if (record.metric, record.scenario) == (Metric.SYNC_END_TO_END, Scenario.ADD_BATCH):
        return False  # minSyncPeriod decides it
    return record.metric not in {Metric.FORWARDING_DIRECT, Metric.FORWARDING_ESTABLISHED}


def _several_widths(records: Sequence[SummaryRecord]) -> bool:
    return len({record.endpoints_per_service for record in records}) > 1


def _cell(record: SummaryRecord | None, best: set[SummaryRecord]) -> Text:
    if record is None:
        return Text(DASH, style="dim")
    text = median_text(record)
    if record.ci_low is not None and record.ci_high is not None and record.median > 0:
        text += f" ±{50 * (record.ci_high - record.ci_low) / record.median:.1f} %"
    return Text(text, style="bold" if record in best else "")
