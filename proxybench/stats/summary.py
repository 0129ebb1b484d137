"""The table of results: one record per point and metric."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import Key
from proxybench.stats.intervals import centre_interval
from proxybench.stats.series import Series, collect

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class SummaryRecord(Key):
    """What was measured at one point, in ``unit``.

    ``n`` counts raw samples, ``censored`` those among them that are lower bounds. ``median`` is the median of
    the repetitions' medians, and ``ci_low`` to ``ci_high`` its 95 % interval over repetitions: None for fewer
    than two repetitions, and where a repetition's median is itself only a lower bound. ``p90`` and ``p99``
    are taken over all raw samples; see ``bounded``. ``uncertainty`` is that of each repetition's median (probes'
    resolution, clocks' offset), and the interval is never narrower than it.
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
    interval = None if series.bounded.any() else centre_interval(series.values)
    median, unsure = float(np.median(series.values)), series.uncertainty
    return SummaryRecord(
        **{field.name: getattr(series.key, field.name) for field in fields(Key)},
        n=series.samples,
        repetitions=len(series.labels),
        censored=series.censored,
        median=median,
        ci_low=min(interval.low, max(0.0, median - unsure)) if interval else None,
        ci_high=max(interval.high, median + unsure) if interval else None,
        p90=series.p90,
        p99=series.p99,
        uncertainty=unsure,
    )
