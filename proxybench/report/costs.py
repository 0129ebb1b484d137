"""What one more costs: the slope of each main number per Service, per endpoint and per position of a rule.

Each repetition has a curve of its own, to which ``slope`` fits its line; the interval is over repetitions, widened by
what the curves' points are uncertain by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import Metric, Mode, Position, Scenario
from proxybench.report.tables import Cell, Table
from proxybench.report.words import DASH, MINUS, as_work, look, short, subject_names
from proxybench.stats.curves import slope
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxybench.model import Key, Subject
    from proxybench.stats.curves import FloatArray, Slope
    from proxybench.stats.series import Series


@dataclass(frozen=True)
class MainMetric:
    """A number worth a slope."""

    title: str
    metric: str
    scenario: Scenario
    position: Position = Position.NONE

    @property
    def positions(self) -> bool:
        """Tell whether this is measured at several positions."""
        return self.scenario is Scenario.STEADY


MAIN_METRICS = (
    MainMetric("Time to connect", Metric.FORWARDING_CONNECT, Scenario.STEADY, Position.LAST),
    MainMetric("Time to the first byte", Metric.FORWARDING_FIRST_BYTE, Scenario.STEADY, Position.LAST),
    MainMetric("Sync, one Service added (control loop's own word)", Metric.SYNC_CONTROL_LOOP, Scenario.ADD_ONE),
    MainMetric("CPU of the control loop, one Service added", Metric.CPU_CONTROL_LOOP, Scenario.ADD_ONE),
    MainMetric("CPU of the control loop, cold start", Metric.CPU_CONTROL_LOOP, Scenario.COLD_START),
    MainMetric("Memory of the control loop, cold start", Metric.MEMORY_CONTROL_LOOP, Scenario.COLD_START),
)

_WAITING = frozenset(main.title for main in MAIN_METRICS if main.metric == Metric.SYNC_CONTROL_LOOP)
"""What waits, too: for files, locks and the kernel. An idle guest counts that."""

PER_SERVICE, PER_ENDPOINT, PER_POSITION = "Service", "endpoint of the one Service", "rule in front of its own"
_PLACES = (Position.FIRST, Position.MIDDLE, Position.LAST)


@dataclass(frozen=True)
class Cost:
    """The slope of one number for one mode: ``slope.per_unit`` is in ``unit`` per one more ``per``."""

    title: str
    per: str
    subject: Subject
    unit: str
    slope: Slope


def costs(series: Sequence[Series]) -> tuple[Cost, ...]:
    """Return every slope that the series hold: at least two sizes, one repetition at all of them, no time-out."""
    return tuple(
        cost for main in MAIN_METRICS for cost in (*_services(series, main), *_endpoints(series, main))
    ) + tuple(cost for main in MAIN_METRICS if main.positions for cost in _positions(series, main))


def cost_table(found: Sequence[Cost], clock: str) -> Table | None:
    """Return one row per number and kind of "one more", one column per mode; None without any slope."""
    labels = subject_names(cost.subject for cost in found)
    columns = sorted(labels, key=lambda subject: (subject.mode, subject))
    rows = []
    for per in (PER_SERVICE, PER_ENDPOINT, PER_POSITION):
        for title in dict.fromkeys(cost.title for cost in found if cost.per == per):
            cells = {cost.subject: _cell(cost) for cost in found if (cost.per, cost.title) == (per, title)}
            missing = Cell(DASH, number=True, title="not measured")
            counted = all(cost.unit == INSTRUCTIONS for cost in found if (cost.per, cost.title) == (per, title))
            waits = ", waiting counted" if title in _WAITING else ""
            told = f"{as_work(title)}{waits}" if counted else title
            rows.append((Cell(f"one {per}"), Cell(told), *(cells.get(column, missing) for column in columns)))
    if not rows:
        return None
    heads = [Cell(labels[subject], mode=look(subject), number=True) for subject in columns]
    caption = f"Slope and its 95 % interval over repetitions; flat: the interval holds 0 ({clock})"
    return Table(caption, (Cell("One more"), Cell("adds to"), *heads), tuple(rows), 2)


def per_unit(value: float, unit: str) -> str:
    """Write a slope; of instructions without the noun, which stands at the row's head.

    Small ones keep three digits: 0.24 ns per Service are 2.4 µs at 10,000.
    """
    if unit in {"ns", INSTRUCTIONS} and abs(value) < 1000:  # noqa: PLR2004 - from there on human() keeps three digits
        return f"{value:.3g}{' ns' if unit == 'ns' else ''}".replace("-", MINUS)
    return short(value, unit)


def _cell(cost: Cost) -> Cell:
    interval, text = cost.slope.interval, per_unit(cost.slope.per_unit, cost.unit)
    order = str(cost.slope.per_unit)
    if interval is None:
        return Cell(text, "one repetition", sort=order, number=True)
    low, high = per_unit(interval.low, cost.unit), per_unit(interval.high, cost.unit)
    number, _, own = low.partition(" ")
    reach = f"{number if own == high.partition(' ')[2] else low} to {high}"
    if interval.low <= 0 <= interval.high:
        return Cell("flat", f"{text}: {reach}", sort=order, number=True)
    return Cell(text, reach, sort=order, number=True)


def _services(series: Sequence[Series], main: MainMetric) -> list[Cost]:
    """Return slopes over Services, at the endpoints per Service with most sizes."""
    chosen = _chosen(series, main, lambda key: key.position == main.position)
    widths = [each.key.endpoints_per_service for each in chosen]
    if not widths:
        return []
    width = max(sorted(set(widths)), key=widths.count)
    kept = [each for each in chosen if each.key.endpoints_per_service == width]
    return _fit(kept, main, PER_SERVICE, lambda key: float(key.services))


def _endpoints(series: Sequence[Series], main: MainMetric) -> list[Cost]:
    """Return slopes over the endpoints of a run's one Service."""
    chosen = _chosen(series, main, lambda key: key.position == main.position and key.services == 1)
    return _fit(chosen, main, PER_ENDPOINT, lambda key: float(key.endpoints_per_service))


def _positions(series: Sequence[Series], main: MainMetric) -> list[Cost]:
    """Return slopes over the rules that stand before one's own, at the largest size."""
    chosen = _chosen(series, main, lambda key: key.position in _PLACES and key.services > 1)
    if not chosen:
        return []
    size = max((each.key.services, each.key.endpoints_per_service) for each in chosen)
    kept = [each for each in chosen if (each.key.services, each.key.endpoints_per_service) == size]
    return _fit(kept, main, PER_POSITION, lambda key: _index(key.services, Position(key.position)))


def _index(services: int, position: Position) -> float:
    """Return how many rules stand before the measured one: one less than that at most (see ``Population.measured``)."""
    return {Position.FIRST: 0.0, Position.MIDDLE: float(services // 2), Position.LAST: services - 1.0}[position]


def _chosen(series: Iterable[Series], main: MainMetric, fits: Callable[[Key], bool]) -> list[Series]:
    """Return the series of a number on the path and clock that most of them share, without time-outs."""
    found = [
        each
        for each in series
        if each.key.metric == main.metric
        and each.key.scenario == main.scenario
        and not each.bounded.any()
        # connect() ends at userspace's relay: what it costs there says nothing of the way to the endpoint
        and (main.metric, each.key.mode) != (Metric.FORWARDING_CONNECT, Mode.USERSPACE)
        and fits(each.key)
    ]
    planes = [(each.key.path, each.key.family, each.key.clock) for each in found]
    if not planes:
        return []
    main_plane = max(sorted(set(planes)), key=planes.count)
    return [each for each, plane in zip(found, planes, strict=True) if plane == main_plane]


def _fit(series: Iterable[Series], main: MainMetric, per: str, place: Callable[[Key], float]) -> list[Cost]:
    curves: dict[tuple[Subject, str], dict[float, Series]] = {}
    for each in series:
        curves.setdefault((each.key.subject, each.key.shown_unit), {})[place(each.key)] = each
    found = []
    for (subject, unit), curve in sorted(curves.items()):
        sizes = sorted(curve)
        labels = sorted(set.intersection(*(set(curve[size].labels) for size in sizes)))
        if len(sizes) < 2 or not labels:  # noqa: PLR2004 - no line
            continue
        rows = _rows([curve[size].by_label() for size in sizes], labels)
        unsure = _rows([curve[size].unsure() for size in sizes], labels)
        found.append(
            Cost(main.title, per, subject, unit, slope(np.array(sizes, dtype=np.float64), rows, unsure=unsure))
        )
    return found


def _rows(columns: Sequence[Mapping[tuple[str, int], float]], labels: Sequence[tuple[str, int]]) -> FloatArray:
    """Return a row per repetition, a column per size."""
    return np.array([[column[label] for column in columns] for label in labels], dtype=np.float64)
