"""What became of a load's connections: offered, achieved, and failed by kind, a row per point.

A point of which more than 1 % failed is broken: it has no latencies, and stands here all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import Metric
from proxybench.report.section import Section
from proxybench.report.tables import Cell, Table, merged
from proxybench.report.words import DASH, count, look, short, subject_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.model import ClockKind, Subject
    from proxybench.report.data import ReportData
    from proxybench.stats.series import Series

_RATES = {Metric.LOAD_OFFERED: "Offered", Metric.LOAD_ACHIEVED: "Achieved"}
_COUNTS = {
    Metric.LOAD_WRONG_ENDPOINT: "Wrong endpoint",
    Metric.LOAD_REFUSED: "Refused",
    Metric.LOAD_UNANSWERED: "Unanswered",
    Metric.LOAD_UNSERVED: "Unserved",
}
METRICS = frozenset({Metric.LOAD_FAILURE_RATE, Metric.LOAD_FAILED, *_RATES, *_COUNTS})
BROKEN = 10_000.0
"""Parts per million from above which a point is broken; the scenario keeps none of its times then."""

_Point = dict[str, "Series"]


def failure_sections(data: ReportData) -> list[Section]:
    """Return the chapter; none for a run without a load, or an older one that did not tell its failures apart."""
    table = failure_table(data.shown_series)
    lead = (
        "Connections that a load was to make, and what became of them: medians over repetitions. A refused connection, "
        "a wrong endpoint's answer and one that was never begun have no latency, so they are in no figure; more than "
        "1 % of failures break a point, and none of its times is shown."
    )
    clock = "counts; no clock takes part"
    return [Section("load-failures", "Load: offered, achieved, failed", lead, "", clock, pivot=table)] if table else []


def failure_table(series: Sequence[Series]) -> Table | None:
    """Return a row per size and subject; None without any failure rate."""
    points: dict[tuple[int, int, Subject, ClockKind], _Point] = {}
    for each in series:
        key = each.key
        if key.metric in METRICS:
            place = (key.services, key.endpoints_per_service, key.subject, key.clock)
            points.setdefault(place, {})[key.metric] = each
    told = {place: point for place, point in points.items() if Metric.LOAD_FAILURE_RATE in point}
    if not told:
        return None
    names = subject_names(point[Metric.LOAD_FAILURE_RATE].key.subject for point in told.values())
    several = len({place[1] for place in told}) > 1
    heads = ("Services", *(("Endpoints each",) if several else ()))
    rows = []
    for place, point in sorted(told.items(), key=lambda item: (item[0][:2], item[1][Metric.LOAD_FAILURE_RATE].key)):
        subject = point[Metric.LOAD_FAILURE_RATE].key.subject
        size = [Cell(f"{one:,}", sort=str(one), number=True) for one in place[: len(heads)] if isinstance(one, int)]
        rows.append((*size, Cell(names[subject], mode=look(subject)), *_numbers(point), _verdict(point)))
    numbers = ("Failed", *_COUNTS.values(), "Other")
    return Table(
        "Connections of the load (counts; no clock takes part)",
        (
            *(Cell(head, number=True) for head in heads),
            Cell("Subject"),
            *(Cell(head, "per s", number=True) for head in _RATES.values()),
            *(Cell(head, number=True) for head in numbers),
            Cell("Point"),
        ),
        merged(rows, len(heads)),
        len(heads) + 1,
    )


def _numbers(point: Mapping[str, Series]) -> list[Cell]:
    failed = _median(point, Metric.LOAD_FAILED)
    kinds = [_median(point, metric) for metric in _COUNTS]
    other = None if failed is None or None in kinds else max(0.0, failed - sum(kind or 0.0 for kind in kinds))
    shown = [(_median(point, metric), "connections/s") for metric in _RATES]
    shown += [(_median(point, Metric.LOAD_FAILURE_RATE), "ppm")]
    shown += [(kind, "connections") for kind in (*kinds, other)]
    return [Cell(DASH if value is None else short(value, unit), number=True) for value, unit in shown]


def _median(point: Mapping[str, Series], metric: str) -> float | None:
    return float(np.median(point[metric].values)) if metric in point else None


def _verdict(point: Mapping[str, Series]) -> Cell:
    rates = point[Metric.LOAD_FAILURE_RATE].values
    broken = int(np.count_nonzero(rates > BROKEN))
    if broken:
        return Cell("broken", f"in {broken} of {count(rates.size, 'repetition')}", state="fail")
    return Cell("measured", state="pass")
