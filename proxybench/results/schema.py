"""The version of what a run folder holds, and the way from older versions to this one.

One number covers the manifest, the columns of the samples and the fields of the summary. A change that an
older program would misread adds one to it, and one ``Migration`` here: two pure functions that turn what
version N wrote into what version N + 1 would have written. Reading applies them in order, in memory; files
are never rewritten. Version 1 is the first, so the registry is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxybench.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

SCHEMA_VERSION = 1


def _same_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@dataclass(frozen=True)
class Migration:
    """One step upwards: parsed manifest and samples as the next version would have them."""

    manifest: Callable[[dict[str, Any]], dict[str, Any]]
    samples: Callable[[pd.DataFrame], pd.DataFrame] = _same_frame


MIGRATIONS: Mapping[int, Migration] = {}
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


def migrate_samples(
    frame: pd.DataFrame,
    version: int,
    where: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> pd.DataFrame:
    """Return samples written by ``version`` with the columns of ``current``. Raises ResultsError."""
    for step in _steps(version, current, migrations, where):
        frame = step.samples(frame)
    return frame


def _steps(version: int, current: int, migrations: Mapping[int, Migration], where: str) -> list[Migration]:
    missing = [number for number in range(version, current) if number not in migrations]
    if missing:
        raise ResultsError(f"{where}: results schema {missing[0]} is no longer read by this proxybench")
    return [migrations[number] for number in range(version, current)]
