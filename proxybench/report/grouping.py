"""Which records stand in one panel, in which order, and what such a panel is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Family
from proxybench.report.words import DIRECTLY, POSITIONS, SCENARIOS, count, path_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.stats.summary import SummaryRecord

_SCENARIO_ORDER = list(SCENARIOS)
_POSITION_ORDER = list(POSITIONS)
_FAMILIES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

Key = tuple[str, str, str, str, int]


def way(record: SummaryRecord) -> str:
    """Name the way to a Service: its path, and the family where that is not IPv4."""
    name = path_name(record.path)
    return name if record.family == Family.IPV4 else f"{name}, {_FAMILIES[record.family]}"


def by_panel(records: Sequence[SummaryRecord]) -> list[tuple[Key, list[SummaryRecord]]]:
    """Group by scenario, position, way, clock and endpoints per Service, in the order of reading."""
    groups: dict[Key, list[SummaryRecord]] = {}
    for record in records:
        key = (record.scenario, record.position, way(record), record.clock, record.endpoints_per_service)
        groups.setdefault(key, []).append(record)

    def order(item: tuple[Key, list[SummaryRecord]]) -> tuple[object, ...]:
        scenario, position, path, clock, endpoints = item[0]
        return (path, clock, endpoints, *reading_place(scenario, position))

    return sorted(groups.items(), key=order)


def reading_place(scenario: str, position: str) -> tuple[int, int]:
    """Return where a scenario and a position stand in the order of reading."""
    return (
        _SCENARIO_ORDER.index(scenario) if scenario in _SCENARIO_ORDER else len(_SCENARIO_ORDER),
        _POSITION_ORDER.index(position) if position in _POSITION_ORDER else len(_POSITION_ORDER),
    )


def panel_title(records: Sequence[SummaryRecord], scenario: str, position: str, path: str, endpoints: int) -> str:
    """Name what tells this panel from its neighbours, and nothing else."""
    words = []
    positions = len({record.position for record in records})
    if position == "none" and positions > 1:
        words.append(DIRECTLY)
    elif len({record.scenario for record in records}) > 1 or position == "none" or positions == 1:
        words.append(SCENARIOS.get(scenario, scenario))
    if position != "none" and positions > 1:
        words.append(POSITIONS.get(position, position))
    if len({way(record) for record in records}) > 1:
        words.append(path)
    if endpoints and len({record.endpoints_per_service for record in records}) > 1:
        words.append(f"{count(endpoints, 'endpoint')} each")
    return ", ".join(words)


def size_name(services: int, endpoints: int) -> str:
    """Name a size, with the endpoints of each Service unless they are 0."""
    size = count(services, "Service")
    return f"{size}, {count(endpoints, 'endpoint')} each" if endpoints else size
