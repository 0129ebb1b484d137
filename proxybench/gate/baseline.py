"""Baselines: a run condensed to what a comparison needs, small enough to be reviewed in a pull request.

One JSON file with sorted keys and one line per number that a gate judges: the repetitions' medians, run by run, from
which a gate also reads how far they move from run to run. With fingerprint and settings before them, the file can stand
wherever a run can. Files of older schemas are migrated on reading.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from proxybench.columns import build, columns_of, flat
from proxybench.errors import ResultsError
from proxybench.gate.compare import is_judged
from proxybench.gate.side import FIELDS, Replicates, Side, lacking, side_of_runs
from proxybench.model import Key
from proxybench.results.atomic import make_folder, write_bytes
from proxybench.results.folder import open_run
from proxybench.results.reading import parse_json
from proxybench.results.schema import backend_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BASELINE_SCHEMA = 4


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    values: list[list[float]]
    bounded: list[int] = []
    uncertainty: float = Field(0.0, ge=0)  # as with ``profile``: not in files from the beginning of this schema


_FIELDS: dict[str, Any] = {column.name: (column.kind, ...) for column in columns_of(Key)}
_FIELDS["profile"] = (str, "")  # this version of the schema did not have it from the beginning
_Entry = create_model("_Entry", __base__=_Values, **_FIELDS)


class _Baseline(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    baseline_schema: int
    name: str
    runs: int
    fingerprint: dict[str, str]
    settings: dict[str, str] | None
    methods: dict[str, int]
    series: list[_Entry]


def dump(side: Side) -> bytes:
    """Return the baseline file of a side: UTF-8 JSON, sorted keys, one line per number."""
    head = {
        "baseline_schema": BASELINE_SCHEMA,
        "fingerprint": dict(side.fingerprint),
        "methods": {name: side.method(name) for name in sorted({key.metric for key in side.series})},
        "name": side.name,
        "runs": side.runs,
        "settings": None if side.settings is None else dict(side.settings),
    }
    start = orjson.dumps(head, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).removesuffix(b"\n}")
    lines = [orjson.dumps(_entry(side, key), option=orjson.OPT_SORT_KEYS) for key in sorted(side.series)]
    return b'%b,\n  "series": [\n    %b\n  ]\n}\n' % (start, b",\n    ".join(lines))


def _entry(side: Side, key: Key) -> dict[str, Any]:
    replicates = side.series[key]
    entry = flat(key)
    # Half nanoseconds and bytes say nothing, and make the file's diffs longer.
    entry["values"] = [[round(float(value)) for value in run] for run in replicates.runs]
    if replicates.uncertainty:
        entry["uncertainty"] = round(replicates.uncertainty)
    if replicates.bounded.any():
        entry["bounded"] = [int(i) for i in np.flatnonzero(replicates.bounded)]
    return entry


def load(data: bytes, where: str) -> Side:
    """Read a baseline file's content; ``where`` names it. Raises ResultsError that names what is wrong."""
    parsed = parse_json(data, where)
    version = parsed.get("baseline_schema") if isinstance(parsed, dict) else None
    if not isinstance(version, int):
        raise ResultsError(f"{where}: not a baseline (no 'baseline_schema' in it)")
    if not 1 <= version <= BASELINE_SCHEMA:
        raise ResultsError(
            f"{where}: baseline schema {version}, this program reads up to {BASELINE_SCHEMA}: update proxybench"
        )
    try:
        for step in range(version, BASELINE_SCHEMA):
            parsed = _MIGRATIONS[step](parsed)
        baseline = _Baseline.model_validate(parsed)
        series = dict(_series(entry) for entry in baseline.series)
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
    return Side(baseline.name, baseline.fingerprint, series, baseline.runs, baseline.settings, baseline.methods)


def _series(entry: _Values) -> tuple[Key, Replicates]:
    key = build(Key, entry.model_dump())
    if not entry.values or not all(entry.values):
        raise ValueError(f"{key.label()} has no values")
    values = np.concatenate([np.array(run, dtype=np.float64) for run in entry.values])
    bounded = np.zeros(values.size, dtype=np.bool_)
    bounded[entry.bounded] = True
    return key, Replicates(values, bounded, tuple(len(run) for run in entry.values), entry.uncertainty)


def _without_common_noise(old: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what schema 1 had: one figure of noise per metric, which blinded the gate to quiet numbers."""
    return {name: value for name, value in old.items() if name != "noise"}


def _by_runs(old: Mapping[str, Any]) -> dict[str, Any]:
    """Part the values by runs: schema 2 had them in one list, their noise beside it, and no settings."""
    runs, series = old.get("runs"), old.get("series")
    if isinstance(series, list) and isinstance(runs, int):
        series = [_split(entry, max(runs, 1)) for entry in series]
    return {**old, "settings": None, "series": series}


def _split(entry: Any, runs: int) -> Any:  # noqa: ANN401 -- parsed JSON, checked after its migration
    """Cut the values into the runs' where all had as many; else they count as one run, whose noise is assumed."""
    values = entry.get("values") if isinstance(entry, dict) else None
    if not isinstance(values, list):
        return entry
    each, left = divmod(len(values), runs)
    parts = [values] if left or not each else [values[i : i + each] for i in range(0, len(values), each)]
    return {**{name: value for name, value in entry.items() if name != "noise"}, "values": parts}


def _with_subjects(old: Mapping[str, Any]) -> dict[str, Any]:
    """Name each number's subject, path and family: schema 3 named its kind and mode, and the version once for all."""
    series, fields = old.get("series"), old.get("fingerprint")
    known = fields if isinstance(fields, dict) else {}
    version, settings = str(known.get("proxier_version", "")), backend_setting(str(known.get("iptables_backend")))
    told = {"version": version, "settings": settings, "family": "ipv4"}
    if isinstance(series, list):
        series = [_named(entry, told) if isinstance(entry, dict) else entry for entry in series]
    if isinstance(fields, dict):
        fields = {name: value for name, value in fields.items() if name not in ("proxier_kind", "proxier_version")}
    return {**old, "fingerprint": fields, "methods": {}, "series": series}


def _named(entry: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, Any]:
    renamed = {_NEW_NAMES.get(name, name): value for name, value in entry.items()}
    if "path" in renamed:
        renamed["path"] = _PATHS.get(renamed["path"], renamed["path"])
    return {**told, **renamed}


_NEW_NAMES = {"proxier": "kind", "traffic": "path"}
_PATHS = {"tcp-clusterip": "cluster_ip"}
_MIGRATIONS: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    1: _without_common_noise,
    2: _by_runs,
    3: _with_subjects,
}


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
    folders = [open_run(path) for path in paths]
    for path, folder in zip(paths, folders, strict=True):
        if lack := lacking(folder):
            raise ResultsError(f"{path}: {lack}: no baseline; measure the rest: proxybench run --resume {folder.path}")
    whole = side_of_runs(folders)
    judged = {key: found for key, found in whole.series.items() if is_judged(key.metric, whole.clock)}
    if not judged:
        raise ResultsError(f"{paths[0]}: no samples in it that a gate could judge: nothing to save")
    side = replace(whole, series=judged)
    make_folder(out.parent)
    write_bytes(out, dump(side))
    return side
