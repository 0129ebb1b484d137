"""Many runs in order of time: a line per number, and where its level moved for good.

Runs are told apart by their experiment's name: what two experiments measured is not one series.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.markup import escape
from rich.table import Table

from proxybench.columns import flat
from proxybench.errors import ResultsError
from proxybench.gate import words
from proxybench.gate.compare import NEGLIGIBLE
from proxybench.gate.settings import setting_differences, settings_of
from proxybench.gate.side import FIRST_METHOD, differences, fingerprint, replicates
from proxybench.gate.subjects import stripped
from proxybench.results.folder import open_run
from proxybench.stats.changes import ALPHA, ChangePoint, change_points, seen_after
from proxybench.stats.series import collect
from proxybench.units import INSTRUCTIONS, scale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from proxybench.model import Key
    from proxybench.results.folder import RunFolder
    from proxybench.stats.quantiles import FloatArray

TESTED_FROM = 10  # runs: fewer have too few orders for any split to reach the chosen 1 %
LEAST_SPAN = 0.04  # of the level: the height of a plot at least, so that 2 % are seen and 0.1 % are not blown up


@dataclass(frozen=True)
class Trend:
    """One number over the runs of one experiment that have it: ``values[i]`` is the median of those of ``runs[i]``.

    ``breaks`` are places at which fingerprint, settings, version or method changed: levels on either side are not
    compared. Each value is true within ``± uncertainties[i]``; a ``bounded`` one is only known to be at least that.
    """

    experiment: str
    key: Key
    runs: tuple[str, ...]
    times: tuple[str, ...]
    values: FloatArray
    breaks: tuple[int, ...]
    changes: tuple[ChangePoint, ...]
    uncertainties: tuple[float, ...] = ()
    bounded: tuple[bool, ...] = ()

    def text(self, place: int) -> str:
        """Write a value as the report does."""
        unsure = self.uncertainties[place] if self.uncertainties else 0.0
        late = bool(self.bounded) and self.bounded[place]
        return words.value(float(self.values[place]), self.key.shown_unit, unsure, bounded=late)

    def move(self, change: ChangePoint) -> str:
        """Write a move as a share, from or to 0 in its unit."""
        if change.before and change.after:
            return words.share(change.relative)
        unsure = float(np.median(self.uncertainties)) if self.uncertainties else 0.0
        before, after = (words.value(level, self.key.shown_unit, unsure) for level in (change.before, change.after))
        return f"{before} -> {after}"

    @property
    def stretches(self) -> list[int]:
        """How many runs lie between two breaks."""
        return [stop - start for start, stop in pairwise([0, *self.breaks, len(self.values)])]


def find_runs(folder: Path) -> tuple[list[RunFolder], int]:
    """Return all complete runs below a folder, oldest first, and how many others there are.

    Raises ResultsError when there is none.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder")
    # A link ("latest") names a run that is listed anyway.
    paths = {path.parent.resolve() for path in folder.rglob("manifest.json") if not path.parent.is_symlink()}
    runs = [open_run(path) for path in sorted(paths)]
    ended = [run for run in runs if run.manifest.state == "complete"]
    if not ended:
        raise ResultsError(f"{folder}: no complete run in it")
    return sorted(ended, key=lambda run: (run.manifest.created, run.run)), len(runs) - len(ended)


def trends(folders: list[RunFolder]) -> list[Trend]:
    """Condense the runs to one Trend per experiment, point and metric."""
    ordered = sorted(folders, key=lambda folder: folder.manifest.name)  # stable: each experiment stays in order of time
    result = []
    for experiment, runs in groupby(ordered, key=lambda folder: folder.manifest.name):
        result += _of_experiment(experiment, list(runs))
    return result


@dataclass(frozen=True)
class _Found:
    """A number of the run at ``place``."""

    place: int
    key: Key
    value: float
    uncertainty: float = 0.0
    bounded: bool = False


def _of_experiment(experiment: str, folders: list[RunFolder]) -> list[Trend]:
    found = [
        _Found(place, series.key, float(np.median(series.values)), one.uncertainty, one.timed_out)
        for place, folder in enumerate(folders)
        for series in collect(folder.samples())
        for one in (replicates([series]),)
    ]
    manifests = [folder.manifest for folder in folders]
    prints = [(fingerprint(manifest), settings_of(manifest), manifest.methods) for manifest in manifests]

    def unlike(old: _Found, new: _Found) -> bool:
        before, after = prints[old.place], prints[new.place]
        methods = [methods.get(old.key.metric, FIRST_METHOD) for _, _, methods in (before, after)]
        return bool(
            old.key != new.key
            or methods[0] != methods[1]
            or differences(before[0], after[0])
            or setting_differences(before[1], after[1])
        )

    result = []
    for key, line in sorted(_lines(found).items()):
        breaks = tuple(i for i in range(1, len(line)) if unlike(line[i - 1], line[i]))
        values, unsure = np.array([each.value for each in line]), np.array([each.uncertainty for each in line])
        result.append(
            Trend(
                experiment,
                key,
                tuple(folders[each.place].run for each in line),
                tuple(manifests[each.place].created for each in line),
                values,
                breaks,
                _changes(values, breaks, key.unit, unsure),
                tuple(unsure.tolist()),
                tuple(each.bounded for each in line),
            )
        )
    return result


def _lines(found: Sequence[_Found]) -> dict[Key, list[_Found]]:
    """Sort numbers into lines: a new version of a proxy goes on in that of the old one where no run holds both."""
    together: dict[Key, list[_Found]] = {}
    for each in found:
        short = replace(each.key, subject=stripped(each.key.subject, ("version",)))
        together.setdefault(short, []).append(each)
    lines: dict[Key, list[_Found]] = {}
    for short, line in together.items():
        keys, places = {each.key for each in line}, {each.place for each in line}
        if len(keys) == 1 or len(places) < len(line):
            for each in line:
                lines.setdefault(each.key, []).append(each)
        else:
            lines[short] = line
    return lines


def _changes(
    values: FloatArray, breaks: tuple[int, ...], unit: str, unsure: FloatArray | None = None
) -> tuple[ChangePoint, ...]:
    """Search between breaks only: a new kernel moves every level, and that is no news about the code."""
    found: list[ChangePoint] = []
    edges = [0, *breaks, len(values)]
    for start, stop in pairwise(edges):
        part = values[start:stop]
        if _searchable(part):
            found += [
                ChangePoint(start + change.index, change.before, change.after, change.p)
                for change in change_points(
                    part,
                    floor=0.0 if np.all(part > 0) else _least(part, unit),
                    unsure=None if unsure is None else unsure[start:stop],
                )
            ]
    return tuple(found)


def _searchable(part: FloatArray) -> bool:
    """Tell whether a stretch is long enough, and ever was anything but 0."""
    return part.size >= TESTED_FROM and bool(np.any(part > 0))


def _least(part: FloatArray, unit: str) -> float:
    """Return what counts as next to nothing in a series that was 0 once; of a unit without such, its least value."""
    return NEGLIGIBLE.get(unit, float(part[part > 0].min()))


def trend_table(found: Sequence[Trend]) -> Table:
    """Return the table for the terminal: first, last and the changes in between."""
    several = len({trend.experiment for trend in found}) > 1
    table = Table(title="Trends")
    for name in (*(("Experiment",) if several else ()), "Metric", "Point", "Runs", "First", "Last", "Changes"):
        table.add_column(name, overflow="fold")
    for trend in found:
        moves = [f"{trend.runs[change.index]}: {trend.move(change)} (p {change.p:.2g})" for change in trend.changes]
        moves += [f"{trend.runs[place]}: not like the runs before" for place in trend.breaks]
        table.add_row(
            *((trend.experiment,) if several else ()),
            trend.key.metric,
            escape(trend.key.place()),
            str(len(trend.runs)),
            trend.text(0),
            trend.text(-1),
            escape("\n".join(moves)) or ("none" if max(trend.stretches) >= TESTED_FROM else "too few runs to tell"),
        )
    return table


def tested(found: Sequence[Trend]) -> int:
    """Count the stretches of runs between two breaks that were long enough to be searched for a move."""
    return sum(_searchable(part) for trend in found for part in np.split(trend.values, trend.breaks))


def sentence(found: Sequence[Trend]) -> str:
    """Say how many marks chance would make, and how soon the latest move can be seen."""
    marks, searched = sum(len(trend.changes) for trend in found), tested(found)
    if not searched:
        return f"nothing searched for moves: it takes {TESTED_FROM} runs that are alike"
    last = max(trend.stretches[-1] for trend in found)
    late = seen_after(last)
    soon = (
        f"the latest {last} runs that are alike show a move once {late} of them are on the new level"
        if late is not None and last >= TESTED_FROM
        else f"a move among the latest {last} runs that are alike cannot be seen yet"
    )
    return (
        f"{marks} {'move' if marks == 1 else 'moves'} marked; chance alone would mark about {ALPHA * searched:.2g} "
        f"({searched} series, each tested at {100 * ALPHA:g} %); {soon}"
    )


def to_json(found: Sequence[Trend]) -> bytes:
    """Return all series and their moves for programs; ``breaks`` and ``index`` are places in ``runs``."""
    searched = tested(found)
    document = {
        "tested": searched,
        "expected_by_chance": ALPHA * searched,
        "sentence": sentence(found),
        "trends": [
            {
                "experiment": trend.experiment,
                **flat(trend.key),
                "runs": trend.runs,
                "times": trend.times,
                "values": trend.values.tolist(),
                "breaks": trend.breaks,
                "changes": [{**asdict(change), "relative": change.relative} for change in trend.changes],
            }
            for trend in found
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def to_csv(found: Sequence[Trend]) -> tuple[str, int]:
    """Return a table of one experiment for Apache Otava's CSV importer, and how many numbers are not in it.

    A row per run, a column per number. Its configuration names the column ``time`` (ISO 8601), the attribute ``run``
    and the columns to watch. The importer cannot read an empty cell, so only numbers that every run has are in it.
    """
    rows = {pair for trend in found for pair in zip(trend.times, trend.runs, strict=True)}
    whole = [trend for trend in found if len(trend.runs) == len(rows)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", "run", *(column_name(trend.key) for trend in whole)])
    for place, (time, run) in enumerate(sorted(rows)):
        writer.writerow([time, run, *(f"{trend.values[place]:.10g}" for trend in whole)])
    return text.getvalue(), len(found) - len(whole)


def column_name(key: Key) -> str:
    """Return a name of letters, digits, '.', '_' and '-' that is a column's and a file's name alike."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{key.label()} {key.clock} {key.unit}")


def limits(values: FloatArray) -> tuple[float, float]:
    """Return the ends of the axis: as near to the values as 2 % of their level can be seen, and never below 0."""
    low, high = float(values.min()), float(values.max())
    middle = (low + high) / 2
    half = max(0.6 * (high - low), LEAST_SPAN / 2 * abs(middle))
    return (max(0.0, middle - half), middle + half) if half > 0 else (0.0, 1.0)


def plot(trend: Trend, path: Path) -> None:
    """Draw one trend to a PNG or SVG file, as its name says. Raises ResultsError."""
    import matplotlib as mpl  # noqa: PLC0415 -- half a second that only plots should cost
    from matplotlib.figure import Figure  # noqa: PLC0415 -- as above

    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc does not reach a picture
        figure = Figure(figsize=(8, 3.5), layout="constrained")
        _draw(trend, figure)
        try:
            figure.savefig(path, dpi=120)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None


def _draw(trend: Trend, figure: Figure) -> None:
    axes = figure.subplots()
    places = np.arange(len(trend.runs))
    divisor, unit = scale(float(trend.values.max()), trend.key.shown_unit)
    axes.plot(places, trend.values / divisor, marker="o", color="#0072B2", linewidth=1)
    for change in trend.changes:
        axes.axvline(change.index - 0.5, color="#D55E00", linestyle="--")
        axes.annotate(
            trend.move(change),
            (change.index - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            color="#D55E00",
            va="bottom",
            ha="center",
        )
    for place in trend.breaks:
        axes.axvline(place - 0.5, color="#555555", linestyle=":")
    axes.set_xticks(places, trend.times, rotation=45, ha="right", fontsize="x-small")
    low, high = limits(trend.values / divisor)
    axes.set_ylim(low, high)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    clock = "no time" if trend.key.shown_unit == INSTRUCTIONS else words.clock_name(trend.key.clock)
    axes.set_ylabel(f"{unit}, {clock}" + ("\n(axis does not start at 0)" if low > 0 else ""))
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)
    figure.suptitle(trend.key.label(), fontsize="small")
