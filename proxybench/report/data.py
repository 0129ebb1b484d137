"""What a report is made from, computed once from the raw samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from proxybench.columns import flat
from proxybench.model import Metric, Position
from proxybench.report.jumps import Jump, jumps
from proxybench.stats.intervals import centre_interval
from proxybench.stats.series import KEY_COLUMNS, collect
from proxybench.stats.summary import SummaryRecord, summary_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from proxybench.model import Subject
    from proxybench.results.manifest import Manifest
    from proxybench.stats.series import Series

SAMPLE_COLUMNS = (*KEY_COLUMNS, "run", "repetition", "value", "censored", "uncertainty")
"""The columns a report needs; the others stay on the disk."""

ADDED = "forwarding.added"
"""Connect latency through the VIP minus that of the same endpoint directly, paired by repetition."""

_STEPS = 201
_DISTRIBUTIONS = (str(Metric.FORWARDING_LOAD), str(Metric.FORWARDING_LOAD_INTENDED))


@dataclass(frozen=True)
class Curve:
    """The distribution of one point: ``values[i]`` (ns) is the ``shares[i]`` quantile; inf where censored."""

    record: SummaryRecord
    shares: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ReportData:
    """Records (measured, and derived ones such as ``ADDED``), distributions and the run's manifest."""

    manifest: Manifest
    records: tuple[SummaryRecord, ...]
    series: tuple[Series, ...]
    curves: tuple[Curve, ...]

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
        steps = dict.fromkeys(step.cell.subject for step in self.manifest.matrix)
        return tuple(steps) or tuple(sorted({each.key.subject for each in self.series}))

    @cached_property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that the numbers were read from."""
        return tuple(sorted({record.clock for record in self.records}))


def gather(frame: pd.DataFrame, manifest: Manifest) -> ReportData:
    """Compute everything that the report shows. ``frame`` has at least ``SAMPLE_COLUMNS``."""
    series = collect(frame)
    records = [summary_of(each) for each in series]
    return ReportData(manifest, (*records, *added_latency(series)), tuple(series), tuple(curves(frame, records)))


def added_latency(series: Sequence[Series]) -> list[SummaryRecord]:
    """Return what the VIP adds to connect(), from the difference of medians within each repetition.

    ``p90`` and ``p99`` have no meaning for a difference of medians and are NaN; ``n`` counts repetitions.
    """
    bases = {each.key.metric for each in series} & {str(Metric.FORWARDING_BARE), str(Metric.FORWARDING_DIRECT)}
    metric = min(bases, default="")  # "bare" before "direct": beside the rules, iptables' walk them all, too
    direct = {each.key: each for each in series if each.key.metric == metric}
    result = []
    for each in series:
        if each.key.metric != Metric.FORWARDING_CONNECT:
            continue
        key = replace(each.key, metric=metric)
        base = direct.get(key) or direct.get(replace(key, position=Position.NONE))
        if base is None or each.bounded.any() or base.bounded.any():
            continue
        values = dict(zip(base.labels, base.values, strict=True))
        pairs = zip(each.labels, each.values, strict=True)
        differences = np.array([value - values[label] for label, value in pairs if label in values])
        if differences.size:
            result.append(_difference(summary_of(each), differences))
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


def _difference(record: SummaryRecord, differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> SummaryRecord:
    interval = centre_interval(differences)
    return replace(
        record,
        metric=ADDED,
        n=differences.size,
        repetitions=differences.size,
        censored=0,
        median=float(np.median(differences)),
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        p90=float("nan"),
        p99=float("nan"),
    )


def _key(record: SummaryRecord) -> tuple[str, ...]:
    columns = flat(record)
    return tuple(str(columns[name]) for name in KEY_COLUMNS)
