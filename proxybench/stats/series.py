"""From raw samples to replicates: one number per repetition, which is what all statistics start from.

A million connects of one repetition share a warm-up, a neighbour and a rule set: they are one observation of
the mode, not a million. So each repetition is condensed to one quantile (its median unless asked otherwise),
and every interval, test and fit counts repetitions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from proxybench.columns import build, names_of
from proxybench.metric_facts import find
from proxybench.model import Key
from proxybench.stats.quantiles import exact_quantile, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from proxybench.stats.quantiles import BoolArray, FloatArray, IntArray

KEY_COLUMNS = names_of(Key)
_REPLICATE_COLUMNS = ("run", "repetition")


@dataclass(frozen=True)
class Series:
    """All repetitions of one number.

    ``values[i]`` is the chosen quantile of repetition ``labels[i]`` (run, repetition), in the key's unit;
    with ``bounded[i]`` it is a lower bound. ``p90`` and ``p99`` are taken over all raw samples together.
    ``uncertainty``: each value is true within ``±`` so much, by the samples' own (the median of it) or by the step in
    which the metric is read; ``uncertainties[i]`` is that of ``values[i]`` alone, where samples have one.
    """

    key: Key
    labels: tuple[tuple[str, int], ...]
    values: FloatArray
    bounded: BoolArray
    samples: int
    censored: int
    p90: float
    p99: float
    uncertainty: float = 0.0
    uncertainties: tuple[float, ...] = ()

    def by_label(self) -> dict[tuple[str, int], float]:
        """Return each repetition's value."""
        return dict(zip(self.labels, self.values.tolist(), strict=True))

    def unsure(self) -> Mapping[tuple[str, int], float]:
        """Return what each repetition's value is uncertain by."""
        each = self.uncertainties or (self.uncertainty,) * len(self.labels)
        return dict(zip(self.labels, each, strict=True))


def collect(frame: pd.DataFrame, q: float = 0.5) -> list[Series]:
    """Condense the samples' table into one Series per point and metric, sorted by key.

    ``frame`` holds one sample per row (columns as in ``proxybench.results.frame``); ``q`` is the quantile
    that stands for a repetition. Nodes are pooled within a repetition. Without a column ``uncertainty``, samples are
    exact. Raises KeyError for another missing column.
    """
    if frame.empty:
        return []
    heads, lengths = _blocks(frame)
    first_rows = frame.iloc[heads]
    points, point_rows = _dense_ids(first_rows, KEY_COLUMNS)
    replicates, replicate_rows = _dense_ids(first_rows, _REPLICATE_COLUMNS)
    keys, labels = _keys(first_rows, point_rows), _labels(first_rows, replicate_rows)
    order = np.lexsort((_ranks(labels)[replicates], _ranks(keys)[points]))
    rows = _spread(heads[order], lengths[order])
    values = frame["value"].to_numpy(dtype=np.int64)[rows]
    censored = frame["censored"].to_numpy(dtype=np.bool_)[rows]
    unsure = frame["uncertainty"].to_numpy(dtype=np.int64) if "uncertainty" in frame else np.zeros(0, np.int64)
    unsure = unsure[rows] if unsure.any() else np.zeros(0, np.int64)
    ends = np.cumsum(lengths[order])
    point_of, replicate_of = points[order], replicates[order]
    new_point = np.r_[True, point_of[1:] != point_of[:-1]]
    new_cell = new_point | np.r_[True, replicate_of[1:] != replicate_of[:-1]]
    cell_heads = np.flatnonzero(new_cell)
    cell_starts = np.r_[0, ends[cell_heads[1:] - 1], ends[-1]]
    first_cells = np.flatnonzero(new_point[cell_heads])
    series = []
    for first, last in zip(first_cells, np.r_[first_cells[1:], len(cell_heads)], strict=True):
        cells = range(int(first), int(last))
        parts = [slice(cell_starts[cell], cell_starts[cell + 1]) for cell in cells]
        key = keys[point_of[cell_heads[first]]]
        about = find(key.metric)
        resolution = about.resolution if about else 0.0
        middles = [quantile(values[part], censored[part], q, resolution) for part in parts]
        whole = slice(parts[0].start, parts[-1].stop)
        series.append(
            Series(
                key,
                tuple(labels[replicate_of[cell_heads[cell]]] for cell in cells),
                np.array([middle.value for middle in middles]),
                np.array([middle.censored for middle in middles]),
                int(whole.stop - whole.start),
                int(np.count_nonzero(censored[whole])),
                exact_quantile(values[whole], 0.9),
                exact_quantile(values[whole], 0.99),
                max(exact_quantile(unsure[whole], 0.5) if unsure.size else 0.0, resolution / 2),
                tuple(max(exact_quantile(unsure[part], 0.5), resolution / 2) for part in parts) if unsure.size else (),
            )
        )
    return series


def _blocks(frame: pd.DataFrame) -> tuple[IntArray, IntArray]:
    """Return first row and length of each stretch of rows that belong to one cell.

    A prober writes thousands of samples of one cell after another; looking at stretches instead of rows is
    what makes ten million rows a matter of a second.
    """
    changes = np.zeros(len(frame), dtype=np.bool_)
    changes[0] = True
    for name in (*KEY_COLUMNS, *_REPLICATE_COLUMNS):
        column = frame[name]
        codes = _codes(column)
        changes[1:] |= codes[1:] != codes[:-1]
    heads = np.flatnonzero(changes).astype(np.int64)
    return heads, np.diff(np.r_[heads, len(frame)]).astype(np.int64)


def _codes(column: pd.Series[Any]) -> IntArray:
    """Return numbers that differ where the column's values differ."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64)
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.to_numpy(dtype=np.int64)
    return pd.factorize(column)[0].astype(np.int64)


def _spread(heads: IntArray, lengths: IntArray) -> IntArray:
    """Return the row numbers of stretches, one stretch after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(heads - before, lengths) + np.arange(int(lengths.sum()))


def _ranks(items: Sequence[Any]) -> IntArray:
    """Return the place of each item in sorted order."""
    ranks = np.empty(len(items), dtype=np.int64)
    ranks[sorted(range(len(items)), key=lambda i: items[i])] = np.arange(len(items))
    return ranks


def _dense_ids(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Return each row's number among the distinct combinations of columns, and the first row of each."""
    groups = frame.groupby(list(columns), sort=False, observed=True, dropna=False)
    first = np.flatnonzero(~frame.duplicated(list(columns)).to_numpy())
    return groups.ngroup().to_numpy().astype(np.int64), first.astype(np.int64)


def _keys(frame: pd.DataFrame, rows: NDArray[np.int64]) -> list[Key]:
    part = frame.loc[:, list(KEY_COLUMNS)].iloc[rows]
    return [
        # Fields parse their columns: numpy integers do not go into JSON.
        build(Key, dict(zip(KEY_COLUMNS, row, strict=True)))
        for row in part.itertuples(index=False, name=None)
    ]


def _labels(frame: pd.DataFrame, rows: NDArray[np.int64]) -> list[tuple[str, int]]:
    part = frame.loc[:, list(_REPLICATE_COLUMNS)].iloc[rows]
    return [(str(row[0]), int(row[1])) for row in part.itertuples(index=False, name=None)]
