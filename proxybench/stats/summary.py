"""The table of results: one record per point and metric."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import Key
from proxybench.stats.intervals import Interval, centre_interval
from proxybench.stats.series import Series, collect
from proxybench.stats.uncertainty import widened

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class SummaryRecord(Key):
    """What was measured at one point, in ``unit``.

    ``n`` counts raw samples, ``censored`` those among them that are lower bounds. ``median`` is the median of
    the repetitions' medians, and ``ci_low`` to ``ci_high`` its 95 % interval over repetitions, widened by
    ``uncertainty`` at both ends: None for fewer than two repetitions, and where a repetition's median is itself only a
    lower bound. ``p90`` and ``p99`` are taken over all raw samples; see ``bounded``. ``uncertainty`` is that of each
    repetition's median (probes' resolution, clocks' offset).
    """

    n: int
    repetitions: int
    censored: int
    median: float
    ci_low: float | None
    ci_high: float | None
    p90: float
    p99: float
    uncertainty: float = 0.0

    def bounded(self, q: float) -> bool:
        """Tell whether the ``q`` quantile falls into the censored samples, so must be read as ">=".

        Right for time-outs that are longer than every measured value, which is what a time-out means.
        """
        return self.censored > 0 and int(np.ceil((self.n - 1) * q)) >= self.n - self.censored


def summarise(frame: pd.DataFrame) -> list[SummaryRecord]:
    """Condense the samples' table, sorted by point and metric. Ten million rows take a few seconds."""
    return [summary_of(series) for series in collect(frame)]


def summary_of(series: Series) -> SummaryRecord:
    """Condense one series."""
    interval = None if series.bounded.any() else _interval(series)
    return SummaryRecord(
        **{field.name: getattr(series.key, field.name) for field in fields(Key)},
        n=series.samples,
        repetitions=len(series.labels),
        censored=series.censored,
        median=statistics.median(series.values.tolist()),  # noqa: PD011 -- an array's
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        p90=series.p90,
        p99=series.p99,
        uncertainty=series.uncertainty,
    )


def _interval(series: Series) -> Interval | None:
    found = centre_interval(series.values)
    if found is None:
        return None
    wide = widened(found, series.uncertainty)
    # What repetitions show to be above 0 is a time or a count, and does not go below it.
    return Interval(max(0.0, wide.low), wide.high) if found.low >= 0 else wide
