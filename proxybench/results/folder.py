"""A run's folder: made once, written atomically, never overwritten, readable at every moment.

    DIR/NAME/20261123T083000Z-4f2a9c/
        manifest.json      what was asked for, on what, and what became of it
        samples.parquet    all raw samples, once the run has ended
        summary.json, .csv one record per point and metric
        report.html, figures/, logs/
        parts/             samples so far, one file per ``add``, and checkpoint.json
    DIR/NAME/latest        link to the newest run that has ended

The parts are removed once they are merged, except when the run is not complete: they are what it is resumed
from. A step of which a part failed keeps what its other parts brought, also in the end of a run that stays
incomplete; when it is taken again, none of that counts any more.
"""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from proxybench.columns import flat
from proxybench.errors import ResultsError
from proxybench.results.atomic import (
    point_link,
    refusal,
    remove_unfinished,
    sync_folder,
    unfinished,
    write_bytes,
    writing,
)
from proxybench.results.checkpoint import Checkpoint, read_checkpoint
from proxybench.results.frame import ARROW_SCHEMA, COLUMNS, frame_to_table, samples_to_frame
from proxybench.results.manifest import Manifest, manifest_from_dict, manifest_to_dict
from proxybench.results.reading import read_json, read_samples, read_table
from proxybench.results.schema import Upgrade, migrate_manifest, version_of
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from _typeshed import DataclassInstance

    from proxybench.model import Sample
    from proxybench.units import Clock

LATEST = "latest"
_MANIFEST = "manifest.json"
_SAMPLES = "samples.parquet"
_SUMMARY = "summary.json"
_PARTS = "parts"
_CHECKPOINT = "checkpoint.json"
_ABANDONED = "abandoned"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ROWS_PER_GROUP = 262_144
_LONGEST_NAME = 200  # of the 255 bytes that a file's name may have; what copies a folder may add to them


class RunFolder:
    """One run on disk. Make a new one with ``create``, find an old one with ``open_run``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = 0  # parts that ``resume`` put aside
        self.lost: tuple[str, ...] = ()  # what it could not read, one line each
        self._added: dict[int, list[str]] = {}  # names of parts, by step
        self._next = 1 + max((_number(part) for part in self._parts()), default=0)

    @classmethod
    def create(cls, base: Path, name: str, clock: Clock) -> RunFolder:
        """Make ``base/name/UTC-ID/`` with its sub-folders; an existing run is never touched.

        Raises ResultsError for a name that is no plain folder name, RunError when the disk refuses.
        """
        if not _NAME.fullmatch(name) or name == LATEST:
            raise ResultsError(
                f"{name!r}: not usable as a folder's name (letters, digits, '.', '_' and '-', not 'latest')"
            )
        started = datetime.fromtimestamp(clock.utc_ns() // NS_PER_S, tz=UTC)
        path = base / name / f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        try:
            path.mkdir(parents=True)
            for sub in (_PARTS, "logs", "figures"):
                (path / sub).mkdir()
            sync_folder(path.parent)
        except OSError as error:
            raise refusal(path, error) from error
        return cls(path)

    @property
    def run(self) -> str:
        """The run's id: its folder's name."""
        return self.path.name

    def add(self, samples: Iterable[Sample], step: int | None = None) -> int:
        """Write samples to a part file, on the disk when this returns, and say how many they were.

        A resumed run keeps them if ``checkpoint`` notes later that their ``step`` of the matrix is done.
        Raises RunError when the disk refuses; earlier samples are then still whole and readable.
        """
        if (self.path / _SAMPLES).exists():
            raise ResultsError(f"{self.path}: this run has ended; make a new one, or resume it")
        frame = samples_to_frame(samples)
        if frame.empty:
            return 0
        name = f"part-{self._next:06d}.parquet"
        with writing(self.path / _PARTS / name) as file:
            pq.write_table(frame_to_table(frame), file, compression="zstd")
        self._next += 1
        if step is not None:
            self._added.setdefault(step, []).append(name)
        return len(frame)

    def checkpoint(self, step_index: int) -> None:
        """Note that a step of the matrix is done, together with the samples that were added for it. Raises RunError."""
        noted = self._checkpoint().also(step_index, self._added.get(step_index, ()))
        write_bytes(self.path / _PARTS / _CHECKPOINT, noted.to_json())

    def completed_steps(self) -> tuple[int, ...]:
        """Return the indices of the steps that need not be repeated, ascending. Raises ResultsError."""
        return self._checkpoint().completed

    def resume(self) -> tuple[int, ...]:
        """Make an unfinished run ready for its missing steps and return the completed ones.

        Samples of a step that failed or was cut short are put aside into ``parts/abandoned/``, since that step
        will be taken again and must not count twice; ``aside`` then counts these parts. They go with the other
        parts once the run is complete. So does a step of which a part is gone or cannot be read any more; ``lost`` then
        has a line of it. Raises ResultsError when the run is complete, RunError when the disk refuses.
        """
        parts = self.path / _PARTS
        if not parts.is_dir():
            why = "is complete" if self.manifest.state == "complete" else "has lost its parts"
            raise ResultsError(f"{self.path}: this run {why}; there is nothing to resume")
        kept = self._without_lost(self._checkpoint()).parts
        try:
            for part in self._parts():
                if part.name not in kept:
                    (parts / _ABANDONED).mkdir(exist_ok=True)
                    part.rename(parts / _ABANDONED / f"{secrets.token_hex(3)}-{part.name}")
                    self.aside += 1
            (self.path / _SAMPLES).unlink(missing_ok=True)  # merged from the parts, and will be again
            remove_unfinished(self.path)
            sync_folder(parts)
        except OSError as error:
            raise refusal(parts, error) from error
        return self.completed_steps()

    def write_manifest(self, manifest: Manifest | Mapping[str, Any]) -> None:
        """Write ``manifest.json`` in place of the former one; keys unknown to ``Manifest`` are kept.

        Raises ResultsError when it could not be read again, RunError when the disk refuses.
        """
        data = manifest_to_dict(manifest) if isinstance(manifest, Manifest) else dict(manifest)
        manifest_from_dict(data, str(self.path / _MANIFEST))
        write_bytes(self.path / _MANIFEST, orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")

    def write_log(self, name: str, text: str) -> Path:
        """Write ``logs/NAME``; '/' and the like in the name become '_', a long one is cut. Raises RunError."""
        path = self.path / "logs" / _file_name(name)
        write_bytes(path, text.encode(errors="replace"))
        return path

    def finish(self, records: Sequence[Mapping[str, Any] | DataclassInstance]) -> None:
        """Merge the parts into ``samples.parquet``, write the summary and let ``latest`` name this run.

        Call it after the last ``write_manifest``. Raises RunError when the disk refuses; nothing is lost
        then, and it may be called again.
        """
        if not (self.path / _SAMPLES).exists():
            self._merge()
        self.write_summary(records)
        if self.manifest.state == "complete":
            self._remove_parts()
        point_link(self.path.parent / LATEST, self.path.name)

    def write_summary(self, records: Sequence[Mapping[str, Any] | DataclassInstance]) -> None:
        """Write ``summary.json`` (a list of records) and ``summary.csv``, same fields in the same order."""
        rows = [dict(record) if not dataclasses.is_dataclass(record) else flat(record) for record in records]
        write_bytes(self.path / _SUMMARY, orjson.dumps(rows, option=_JSON_OPTIONS) + b"\n")
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / "summary.csv", text.getvalue().encode())

    @property
    def manifest(self) -> Manifest:
        """The manifest, migrated to this program's schema. Raises ResultsError."""
        return manifest_from_dict(read_json(self.path / _MANIFEST), str(self.path / _MANIFEST))

    def samples(self, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
        """Return all raw samples, of an unfinished run those so far; ``columns`` saves memory.

        Raises ResultsError for a damaged file, and where they are gone, or were not copied.
        """
        return read_samples(self._sources(), columns, self._upgrade())

    def summary(self) -> list[dict[str, Any]]:
        """Return the records of ``summary.json``, with the fields of today. Raises ResultsError."""
        records = read_json(self.path / _SUMMARY)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ResultsError(f"{self.path / _SUMMARY}: not a list of records")
        manifest = self.path / _MANIFEST
        version, upgrade = version_of(read_json(manifest), str(manifest)), self._upgrade()
        return [upgrade.record(record, version) for record in records]

    def _upgrade(self) -> Upgrade:
        manifest = self.path / _MANIFEST
        return Upgrade(migrate_manifest(read_json(manifest), str(manifest)), str(self.path))

    def _sources(self) -> list[Path]:
        merged = self.path / _SAMPLES
        if merged.exists():
            return [merged]
        if not (self.path / _PARTS).is_dir():  # that is there until all is in the one file
            raise ResultsError(f"{merged}: missing, and so are the parts that it is made of; copy it, too")
        return self._parts()

    def _parts(self) -> list[Path]:
        found = (self.path / _PARTS).glob("part-*.parquet")
        return sorted(path for path in found if path.stem.removeprefix("part-").isdecimal())  # no copy of a user's

    def _checkpoint(self) -> Checkpoint:
        return read_checkpoint(self.path / _PARTS / _CHECKPOINT)

    def _without_lost(self, noted: Checkpoint) -> Checkpoint:
        """Read every part that counts, and note what is left: at the end of the run it would be too late."""
        lost: dict[str, str] = {}
        upgrade = self._upgrade()
        for name in noted.parts:
            try:
                read_table(self.path / _PARTS / name, upgrade)
            except ResultsError as error:
                lost[name] = str(error)
        if lost:
            path = self.path / _PARTS / _CHECKPOINT
            noted = noted.without(lost, path)
            write_bytes(path, noted.to_json())
            self.lost = tuple(f"{line}; its step is measured again" for line in lost.values())
        return noted

    def _merge(self) -> None:
        """Copy the parts into one file, one part in memory at a time; those of an older version as of today."""
        upgrade = self._upgrade() if self._parts() else None
        with (
            writing(self.path / _SAMPLES) as file,
            pq.ParquetWriter(file, ARROW_SCHEMA, compression="zstd") as out,
        ):
            group: list[Any] = []
            for part in self._parts():
                group.append(read_table(part, upgrade))
                if sum(table.num_rows for table in group) >= _ROWS_PER_GROUP:
                    out.write_table(pa.concat_tables(group).unify_dictionaries(), row_group_size=_ROWS_PER_GROUP)
                    group = []
            if group:
                out.write_table(pa.concat_tables(group).unify_dictionaries(), row_group_size=_ROWS_PER_GROUP)

    def _remove_parts(self) -> None:
        """Remove the parts: all at once by their folder's name, since of some of them a run would seem unfinished."""
        parts = self.path / _PARTS
        try:
            if parts.is_dir():
                shutil.rmtree(parts.rename(unfinished(parts)))
        except OSError as error:
            raise refusal(parts, error) from error


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep other processes from writing to a run's folder meanwhile. Raises ResultsError where one does already.

    The kernel lets the folder go however its holder ends: one that was killed keeps nobody out.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # a disk that knows no locks has nobody to protect
            folder = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"{run}: another proxybench is measuring into it; wait until that has ended"
                ) from None
        yield


def open_run(path: Path) -> RunFolder:
    """Find a run by its folder, by the link ``latest`` or by its experiment's folder (its newest ended run).

    Raises ResultsError when there is none, or when a newer proxybench wrote it.
    """
    try:
        folder = RunFolder(_found(path))
    except OSError as error:  # of somebody else's, or a name that no disk takes
        raise ResultsError(f"{path}: cannot be read ({error.strerror})") from None
    _ = folder.manifest  # a folder that cannot be read is better found out here than half-way through a report
    return folder


def _found(path: Path) -> Path:
    if not path.exists():
        hint = " (a link to a run that is gone)" if path.is_symlink() else ""
        raise ResultsError(f"{path}: no such run folder{hint}")
    if not path.is_dir():
        raise ResultsError(f"{path}: not a run folder but a file; name the folder it lies in")
    found = path.resolve()
    if not (found / _MANIFEST).exists() and (found / LATEST).is_dir():
        found = (found / LATEST).resolve()
    if not (found / _MANIFEST).exists():
        unfinished = sorted(manifest.parent.name for manifest in found.glob(f"*/{_MANIFEST}"))
        if unfinished:
            raise ResultsError(
                f"{path}: no run in it has ended; name an unfinished one, such as {path / unfinished[-1]}"
            )
        raise ResultsError(f"{path}: not a run folder (no {_MANIFEST} in it, and no link '{LATEST}' to a run)")
    return found


_JSON_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY


def _file_name(name: str) -> str:
    """Return a name that every disk takes: nodes' names alone may be as long as a file's name can be."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "log"
    if len(plain) <= _LONGEST_NAME:
        return plain
    mark = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:12]
    return f"{plain[: _LONGEST_NAME - 40]}-{mark}-{plain[-26:]}"  # what tells two of them apart may have been cut


def _number(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
