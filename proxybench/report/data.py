"""What a report is made from, computed once from the raw samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from proxybench.columns import flat
from proxybench.model import Metric
from proxybench.report.families import shown, split_families
from proxybench.report.jumps import Jump, jumps
from proxybench.stats.series import KEY_COLUMNS, collect
from proxybench.stats.summary import SummaryRecord, summary_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from proxybench.model import Subject
    from proxybench.results.manifest import Manifest
    from proxybench.stats.series import Series

SAMPLE_COLUMNS = (*KEY_COLUMNS, "run", "repetition", "value", "censored", "uncertainty", "rank")
"""The columns a report needs; the others stay on the disk."""

MOST_SIZES, SHOWN_SIZES = 12, 8
"""With more sizes than the first, tables and stacks show as many as the second; lines show all."""

PARTS = 5
"""Into so many parts of equal width are the places of a Service's endpoints divided."""

_STEPS = 201
_DISTRIBUTIONS = (str(Metric.FORWARDING_LOAD), str(Metric.FORWARDING_LOAD_INTENDED))


@dataclass(frozen=True)
class Curve:
    """The distribution of one point: ``values[i]`` (ns) is the ``shares[i]`` quantile; inf where censored."""

    record: SummaryRecord
    shares: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class EndpointMedians:
    """Medians (ns) of a point's connections by the place of the endpoint that answered: over parts of all places.

    ``places`` are the middles of the parts, from 1.
    """

    record: SummaryRecord
    places: tuple[float, ...]
    medians: tuple[float, ...]


@dataclass(frozen=True)
class ReportData:
    """Records, series, distributions and the run's manifest."""

    manifest: Manifest
    records: tuple[SummaryRecord, ...]
    series: tuple[Series, ...]
    curves: tuple[Curve, ...]
    by_endpoint: tuple[EndpointMedians, ...] = ()

    @cached_property
    def jumps(self) -> tuple[Jump, ...]:
        """Where curves leave their lines."""
        return jumps(self.series)

    def of(self, metric: str, *scenarios: str) -> list[SummaryRecord]:
        """Return the records of a metric, of all scenarios unless some are named."""
        return [record for record in self._by_metric.get(metric, []) if not scenarios or record.scenario in scenarios]

    @cached_property
    def _by_metric(self) -> dict[str, list[SummaryRecord]]:
        grouped: dict[str, list[SummaryRecord]] = {}
        for record in self.records:
            grouped.setdefault(record.metric, []).append(record)
        return grouped

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """What was measured, in the experiment's order: of an old run without a matrix, by name."""
        steps = dict.fromkeys(shown(step.cell.subject, step.cell.family) for step in self.manifest.matrix)
        return tuple(steps) or tuple(sorted({each.key.subject for each in self.series}))

    @cached_property
    def shown_sizes(self) -> tuple[int, ...]:
        """The numbers of Services that tables and stacks show: all of them, or some evenly apart (logarithmically)."""
        sizes = sorted({record.services for record in self.records})
        if len(sizes) <= MOST_SIZES:
            return tuple(sizes)
        wanted = np.geomspace(sizes[0], sizes[-1], SHOWN_SIZES)
        return tuple(sorted({min(sizes, key=lambda size: abs(np.log(size / each))) for each in wanted}))

    def shown(self, records: Iterable[SummaryRecord]) -> list[SummaryRecord]:
        """Return those of the sizes that tables and stacks show."""
        return [record for record in records if record.services in self.shown_sizes]

    @cached_property
    def shown_series(self) -> list[Series]:
        """The series of the sizes that tables and stacks show."""
        return [each for each in self.series if each.key.services in self.shown_sizes]

    @property
    def shown_curves(self) -> list[Curve]:
        """The distributions of the sizes that tables and stacks show."""
        return [curve for curve in self.curves if curve.record.services in self.shown_sizes]

    @cached_property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that the numbers were read from."""
        return tuple(sorted({record.clock for record in self.records}))


def gather(frame: pd.DataFrame, manifest: Manifest) -> ReportData:
    """Compute everything that the report shows. ``frame`` has at least ``SAMPLE_COLUMNS``."""
    frame = split_families(frame)
    series = collect(frame)
    records = [summary_of(each) for each in series]
    by_endpoint = tuple(medians_by_endpoint(frame, records)) if "rank" in frame.columns else ()
    return ReportData(manifest, tuple(records), tuple(series), tuple(curves(frame, records)), by_endpoint)


def medians_by_endpoint(frame: pd.DataFrame, records: Iterable[SummaryRecord]) -> list[EndpointMedians]:
    """Return, for each point with enough endpoints, the median of repetitions' medians over parts of their places."""
    chosen = frame[(frame["metric"] == str(Metric.FORWARDING_ENDPOINT)) & (frame["rank"] > 0)]
    wanted = {_key(record): record for record in records if record.metric == Metric.FORWARDING_ENDPOINT}
    result = []
    for key, rows in chosen.groupby(list(KEY_COLUMNS), observed=True, sort=True):
        record = wanted[tuple(str(part) for part in key)]
        if record.endpoints_per_service < PARTS:
            continue
        width = record.endpoints_per_service / PARTS
        part = np.minimum(((rows["rank"] - 1) // width).astype(int), PARTS - 1)
        medians = rows["value"].groupby([part, rows["repetition"]]).median().groupby(level=0).median()
        middles = tuple(float((each + 0.5) * width + 0.5) for each in medians.index)
        result.append(EndpointMedians(record, middles, tuple(float(value) for value in medians)))
    return result


def curves(frame: pd.DataFrame, records: Iterable[SummaryRecord]) -> list[Curve]:
    """Return the distributions under load, from before connect() and from the intended start, at each point."""
    shares = np.linspace(0, 1, _STEPS)
    load = frame[frame["metric"].isin(_DISTRIBUTIONS)]
    wanted = {_key(record): record for record in records if record.metric in _DISTRIBUTIONS}
    result = []
    for key, rows in load.groupby(list(KEY_COLUMNS), observed=True, sort=True):
        values = rows["value"].to_numpy(dtype=np.float64)
        values[rows["censored"].to_numpy()] = np.inf
        # "lower": an infinite neighbour must not be averaged with a finite one.
        quantiles = np.quantile(values, shares, method="lower")
        record = wanted[tuple(str(part) for part in key)]
        result.append(Curve(record, tuple(shares.tolist()), tuple(quantiles.tolist())))
    return result


def _key(record: SummaryRecord) -> tuple[str, ...]:
    columns = flat(record)
    return tuple(str(columns[name]) for name in KEY_COLUMNS)
