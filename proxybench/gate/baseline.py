"""Baselines: a run condensed to what a comparison needs, small enough to be reviewed in a pull request.

One JSON file with sorted keys and one line per number that a gate judges: the repetitions' medians of all runs, and
how far they move from run to run. With the fingerprint before it, it can stand wherever a run can.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxybench.errors import ResultsError
from proxybench.gate.compare import is_judged
from proxybench.gate.noise import RunNoise
from proxybench.gate.side import FIELDS, Replicates, Side, side_of_runs
from proxybench.results.atomic import write_bytes
from proxybench.results.folder import open_run
from proxybench.stats.series import SeriesKey

if TYPE_CHECKING:
    from pathlib import Path

BASELINE_SCHEMA = 2


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    mode: str
    proxier: str
    services: int
    endpoints_per_service: int
    scenario: str
    traffic: str
    position: str
    metric: str
    unit: str
    clock: str
    values: list[float]
    bounded: list[int] = []
    noise: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None


class _Baseline(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    baseline_schema: int
    name: str
    runs: int
    fingerprint: dict[str, str]
    series: list[_Entry]


def dump(side: Side) -> bytes:
    """Return the baseline file of a side: UTF-8 JSON, sorted keys, one line per number."""
    head = {
        "baseline_schema": BASELINE_SCHEMA,
        "fingerprint": dict(side.fingerprint),
        "name": side.name,
        "runs": side.runs,
    }
    start = orjson.dumps(head, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).removesuffix(b"\n}")
    lines = [orjson.dumps(_entry(side, key), option=orjson.OPT_SORT_KEYS) for key in sorted(side.series)]
    return b'%b,\n  "series": [\n    %b\n  ]\n}\n' % (start, b",\n    ".join(lines))


def _entry(side: Side, key: SeriesKey) -> dict[str, Any]:
    replicates = side.series[key]
    entry: dict[str, Any] = asdict(key)
    # Half nanoseconds and bytes say nothing, and make the file's diffs longer.
    entry["values"] = [round(float(value)) for value in replicates.values]
    if replicates.bounded.any():
        entry["bounded"] = [int(i) for i in np.flatnonzero(replicates.bounded)]
    if key in side.noise:
        entry["noise"] = [round(side.noise[key].share, 6), round(side.noise[key].degrees, 2)]
    return entry


def load(data: bytes, where: str) -> Side:
    """Read a baseline file's content; ``where`` names it. Raises ResultsError that names what is wrong."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ResultsError(f"{where}: not valid JSON ({error})") from None
    version = parsed.get("baseline_schema") if isinstance(parsed, dict) else None
    if not isinstance(version, int):
        raise ResultsError(f"{where}: not a baseline (no 'baseline_schema' in it)")
    if version != BASELINE_SCHEMA:
        raise ResultsError(
            f"{where}: baseline schema {version}, this program reads {BASELINE_SCHEMA}: save the baseline anew"
        )
    try:
        baseline = _Baseline.model_validate(parsed)
        series = dict(_series(entry) for entry in baseline.series)
        noise = {_key(entry): RunNoise(*entry.noise) for entry in baseline.series if entry.noise}
    except ValidationError as error:
        first = error.errors()[0]
        raise ResultsError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, IndexError) as error:
        raise ResultsError(f"{where}: series: {error}") from None
    missing = [name for name in FIELDS if name not in baseline.fingerprint]
    if missing:
        raise ResultsError(f"{where}: fingerprint: {missing[0]} is missing")
    if baseline.runs < 1:
        raise ResultsError(f"{where}: runs: must be at least 1")
    return Side(baseline.name, baseline.fingerprint, series, baseline.runs, noise)


def _series(entry: _Entry) -> tuple[SeriesKey, Replicates]:
    if not entry.values:
        raise ValueError(f"{entry.metric} of {entry.mode} at {entry.services} Services has no values")
    bounded = np.zeros(len(entry.values), dtype=np.bool_)
    bounded[entry.bounded] = True
    return _key(entry), Replicates(np.array(entry.values, dtype=np.float64), bounded)


def _key(entry: _Entry) -> SeriesKey:
    return SeriesKey(**entry.model_dump(exclude={"values", "bounded", "noise"}))


def open_side(path: Path) -> Side:
    """Read a run folder or a baseline file, whichever it is. Raises ResultsError."""
    if not path.is_file():
        return side_of_runs([open_run(path)])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror})") from None
    return load(data, str(path))


def save(paths: list[Path], out: Path) -> Side:
    """Write the baseline of one or several runs, and return it: only what a gate may judge.

    Raises ResultsError, IncomparableError or RunError.
    """
    whole = side_of_runs([open_run(path) for path in paths])
    judged = {key: found for key, found in whole.series.items() if is_judged(key.metric, whole.clock)}
    if not judged:
        raise ResultsError(f"{paths[0]}: no samples in it that a gate could judge: nothing to save")
    side = replace(whole, series=judged)
    write_bytes(out, dump(side))
    return side
