"""The version of what a run folder holds, and the way from older versions to this one.

One number covers the manifest, the columns of the samples and the fields of the summary. A change that an
older program would misread adds one to it, and one ``Migration`` here: pure functions that turn what version N
wrote into what version N + 1 would have written. Reading applies them in order, in memory; files are never
rewritten. A run that was begun by an older program and resumed by this one has parts of both versions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from proxybench.columns import NONE
from proxybench.errors import ResultsError
from proxybench.model import parse_settings, settings_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


SCHEMA_VERSION = 2

_PATHS = {"tcp-clusterip": "cluster_ip"}


@dataclass(frozen=True)
class Migration:
    """One step upwards.

    ``manifest`` makes a parsed manifest the next version's. ``samples`` does so with an Arrow table and ``record``
    with one record of the summary; both are given the manifest as this program reads it.
    """

    manifest: Callable[[dict[str, Any]], dict[str, Any]]
    samples: Callable[[Any, Mapping[str, Any]], Any] = lambda table, _: table
    record: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]] = lambda record, _: record


def _with_subjects(manifest: dict[str, Any]) -> dict[str, Any]:
    """Make subjects of the modes: version 1 had one kind and one version of a proxier for all of them."""
    proxier = dict(manifest.get("proxier", {}))
    matrix = [{**step, "cell": _cell(step["cell"], manifest)} for step in manifest.get("matrix", ())]
    modes = [step["cell"]["subject"]["mode"] for step in matrix] or manifest.get("experiment", {}).get("modes", ())
    periods = {name: proxier.get(name, 0.0) for name in ("min_sync_period", "sync_period")}
    kind = str(proxier.get("kind", ""))
    subjects = [{"subject": _subject(kind, mode, manifest), **periods} for mode in dict.fromkeys(modes)]
    return {**manifest, "matrix": matrix, "subjects": subjects, "proxy_nodes": proxier.get("nodes", ()), "methods": {}}


def _cell(cell: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {name: cell[name] for name in ("services", "endpoints_per_service")}
    return {"subject": _subject(cell["proxier"], cell["mode"], manifest), **sizes, "family": "ipv4"}


def _subject(kind: str, mode: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    version = str(manifest.get("proxier", {}).get("version", ""))
    return {"kind": kind, "version": version, "mode": mode, "settings": parse_settings(_settings(manifest))}


def _settings(manifest: Mapping[str, Any]) -> str:
    """Name the backend of iptables, which all modes of version 1 ran and its fingerprint alone told."""
    nodes = manifest.get("fingerprint", {}).get("nodes", {}).values()
    return backend_setting(", ".join(sorted({str(node.get("iptables_backend")) for node in nodes})))


def backend_setting(backend: str) -> str:
    """Return the settings of a subject of which nothing is known but its backend of iptables, as text."""
    return settings_text((("iptables", backend),)) if backend in {"legacy", "nft"} else ""


def _subjects_in_samples(table: Any, manifest: Mapping[str, Any]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Name the subject, the path and the family in full; nothing is known of uncertainty and rank."""
    count = table.num_rows
    columns = {name: table.column(name) for name in table.column_names}
    columns["kind"] = columns.pop("proxier")
    columns["path"] = _in_words(columns.pop("traffic"), _PATHS)
    for name, word in _told_once(manifest):
        columns[name] = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([word], pa.string()))
    columns["uncertainty"] = pa.array([0] * count, pa.int64())
    columns["rank"] = pa.array([NONE] * count, pa.int32())
    return pa.table(columns)


def _in_words(column: Any, words: Mapping[str, str]) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pa.array([words.get(word, word) for word in column.to_pylist()], pa.string()).dictionary_encode()


def _subject_in_record(record: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    kind, mode = record.pop("proxier"), record.pop("mode")
    record["traffic"] = _PATHS.get(record["traffic"], record["traffic"])
    told = dict(_told_once(manifest))
    found: dict[str, Any] = {"kind": kind, "version": told["version"], "mode": mode, "settings": told["settings"]}
    for name, value in record.items():
        found["path" if name == "traffic" else name] = value
        if name == "traffic":
            found["family"] = told["family"]
    return found


def _told_once(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what version 1 did not say of each sample: it was the same for all of a run."""
    versions = {str(facts["subject"]["version"]) for facts in manifest.get("subjects", ())}
    version = versions.pop() if len(versions) == 1 else ""
    return ("version", version), ("settings", _settings(manifest)), ("family", "ipv4")


MIGRATIONS: Mapping[int, Migration] = {1: Migration(_with_subjects, _subjects_in_samples, _subject_in_record)}
"""Key: the version that a migration starts from."""


def version_of(manifest: Mapping[str, Any], where: str, current: int = SCHEMA_VERSION) -> int:
    """Return the schema version a parsed manifest names.

    Raises ResultsError when there is none, or when it is newer than this program.
    """
    version = manifest.get("schema")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ResultsError(f"{where}: no results schema version in it (key 'schema')")
    if version > current:
        raise ResultsError(
            f"{where}: written by a newer proxybench (results schema {version},"
            f" this one reads up to {current}):"
            " update proxybench"
        )
    return version


def migrate_manifest(
    manifest: Mapping[str, Any],
    where: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> dict[str, Any]:
    """Return the manifest as version ``current`` would have written it. Raises ResultsError."""
    version = version_of(manifest, where, current)
    result = dict(manifest)
    for step in _steps(version, current, migrations, where):
        result = step.manifest(result)
    result["schema"] = current
    return result


@dataclass(frozen=True)
class Upgrade:
    """The way up for rows of a run: ``manifest`` is as this program reads it, ``where`` names the run in errors."""

    manifest: Mapping[str, Any]
    where: str
    migrations: Mapping[int, Migration] = field(default_factory=lambda: MIGRATIONS)
    current: int = SCHEMA_VERSION

    def samples(self, table: Any, version: int) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return an Arrow table of samples that ``version`` wrote with the columns of today. Raises ResultsError."""
        for step in _steps(version, self.current, self.migrations, self.where):
            table = step.samples(table, self.manifest)
        return table

    def record(self, record: Mapping[str, Any], version: int) -> dict[str, Any]:
        """Return a record of the summary with the fields of today. Raises ResultsError."""
        result = dict(record)
        for step in _steps(version, self.current, self.migrations, self.where):
            result = step.record(result, self.manifest)
        return result


def _steps(version: int, current: int, migrations: Mapping[int, Migration], where: str) -> Iterator[Migration]:
    for number in range(version, current):
        if number not in migrations:
            raise ResultsError(f"{where}: results schema {number} is no longer read by this proxybench")
        yield migrations[number]
