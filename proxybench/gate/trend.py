"""Many runs in order of time: a line per number, and where its level moved for good."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from proxybench.errors import ResultsError
from proxybench.gate import words
from proxybench.gate.side import differences, fingerprint
from proxybench.results.folder import open_run
from proxybench.stats.changes import ChangePoint, change_points
from proxybench.stats.series import SeriesKey, collect

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.results.folder import RunFolder
    from proxybench.stats.quantiles import FloatArray

TESTED_FROM = 10  # runs: fewer have too few orders for any split to reach the chosen 1 %


@dataclass(frozen=True)
class Trend:
    """One number over the runs that have it: ``values[i]`` is the median of repetitions in ``runs[i]``.

    ``breaks`` are places at which the fingerprint changed: levels on either side are not compared.
    """

    key: SeriesKey
    runs: tuple[str, ...]
    times: tuple[str, ...]
    values: FloatArray
    breaks: tuple[int, ...]
    changes: tuple[ChangePoint, ...]


def find_runs(folder: Path) -> list[RunFolder]:
    """Return all ended runs below a folder, oldest first. Raises ResultsError when there is none."""
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder")
    # A link ("latest") names a run that is listed anyway.
    paths = {path.parent.resolve() for path in folder.rglob("manifest.json") if not path.parent.is_symlink()}
    runs = [open_run(path) for path in sorted(paths)]
    ended = [run for run in runs if run.manifest.state == "complete"]
    if not ended:
        raise ResultsError(f"{folder}: no complete run in it")
    return sorted(ended, key=lambda run: (run.manifest.created, run.run))


def trends(folders: list[RunFolder]) -> list[Trend]:
    """Condense the runs to one Trend per point and metric."""
    gathered: dict[SeriesKey, list[tuple[int, float]]] = {}
    for place, folder in enumerate(folders):
        for series in collect(folder.samples()):
            gathered.setdefault(series.key, []).append((place, float(np.median(series.values))))
    prints = [fingerprint(folder.manifest) for folder in folders]
    result = []
    for key, found in sorted(gathered.items()):
        places = [place for place, _ in found]
        breaks = tuple(i for i in range(1, len(places)) if differences(prints[places[i - 1]], prints[places[i]]))
        values = np.array([value for _, value in found])
        result.append(
            Trend(
                key,
                tuple(folders[place].run for place in places),
                tuple(folders[place].manifest.created for place in places),
                values,
                breaks,
                _changes(values, breaks),
            )
        )
    return result


def _changes(values: FloatArray, breaks: tuple[int, ...]) -> tuple[ChangePoint, ...]:
    """Search between breaks only: a new kernel moves every level, and that is no news about the code."""
    found: list[ChangePoint] = []
    edges = [0, *breaks, len(values)]
    for start, stop in pairwise(edges):
        part = values[start:stop]
        if part.size >= TESTED_FROM and np.all(part > 0):
            found += [
                ChangePoint(start + change.index, change.before, change.after, change.p)
                for change in change_points(part)
            ]
    return tuple(found)


def trend_table(found: list[Trend]) -> Table:
    """Return the table for the terminal: first, last and the changes in between."""
    table = Table(title="Trends")
    for name in ("Metric", "Point", "Runs", "First", "Last", "Changes"):
        table.add_column(name, overflow="fold")
    for trend in found:
        key = trend.key
        moves = [
            f"{trend.runs[change.index]}: {words.share(change.relative)} (p {change.p:.2g})" for change in trend.changes
        ]
        moves += [f"{trend.runs[place]}: fingerprint changed" for place in trend.breaks]
        table.add_row(
            key.metric,
            escape(key.place()),
            str(len(trend.runs)),
            words.value(float(trend.values[0]), key.unit),
            words.value(float(trend.values[-1]), key.unit),
            escape("\n".join(moves)) or ("none" if len(trend.runs) >= TESTED_FROM else "too few runs to tell"),
        )
    return table


def to_csv(found: list[Trend]) -> str:
    """Return a table for Apache Otava's CSV importer: a row per run, a column per number.

    Its configuration names the column ``time`` (ISO 8601), the attribute ``run`` and the columns to watch.
    """
    names = [column_name(trend.key) for trend in found]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for trend, name in zip(found, names, strict=True):
        for run, time, value in zip(trend.runs, trend.times, trend.values, strict=True):
            rows.setdefault((time, run), {"time": time, "run": run})[name] = f"{value:.10g}"
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["time", "run", *names], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    return text.getvalue()


def column_name(key: SeriesKey) -> str:
    """Return a name of letters, digits, '.', '_' and '-' that is a column's and a file's name alike."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{key.label()} {key.clock} {key.unit}")


def plot(trend: Trend, path: Path) -> None:
    """Draw one trend to a PNG or SVG file, as its name says. Raises ResultsError."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- half a second that only plots should cost

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(trend.runs))
    axes.plot(places, trend.values, marker="o", color="#0072B2", linewidth=1)
    for change in trend.changes:
        axes.axvline(change.index - 0.5, color="#D55E00", linestyle="--")
        axes.annotate(
            words.share(change.relative),
            (change.index - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            color="#D55E00",
            va="bottom",
            ha="center",
        )
    for place in trend.breaks:
        axes.axvline(place - 0.5, color="#555555", linestyle=":")
    axes.set_xticks(places, trend.times, rotation=45, ha="right", fontsize="x-small")
    axes.set_ylabel(f"{trend.key.unit} ({trend.key.clock} clock)")
    axes.set_ylim(bottom=0)
    figure.suptitle(trend.key.label(), fontsize="small")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None
