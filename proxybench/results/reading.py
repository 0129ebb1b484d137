"""Reads what a run's folder holds; whatever is wrong with a file is one line with its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from proxybench.errors import ResultsError, decoded
from proxybench.results.frame import ARROW_SCHEMA, completed, read_frame, written_by
from proxybench.results.schema import SCHEMA_VERSION, Upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

_DAMAGE = (pa.ArrowException, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError)
"""What reading a file whose bytes have changed ends in, as tried (tests/unit/results/test_damage.py)."""


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Return what a file holds. Raises ResultsError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ResultsError(f"{path}: missing") from None
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - JSON
    """Return what the bytes of a file hold; ``where`` names it. Raises ResultsError."""
    text = decoded(data)
    if isinstance(text, str):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            why = str(error)
    else:
        why = "no UTF-8 text: line {} column {}".format(*text)
    raise ResultsError(f"{where}: not valid JSON ({why}); the file is damaged or was cut short")


def read_samples(paths: Sequence[Path], columns: Sequence[str], upgrade: Upgrade) -> pd.DataFrame:
    """Return the samples of all these files in one frame. Raises ResultsError that names the one that is damaged."""
    try:
        return read_frame(paths, columns, upgrade)
    except KeyError as error:
        raise ResultsError(f"{paths[0].parent}: samples without a column {error.args[0]!r}") from None
    except _DAMAGE as error:
        for path in paths:
            read_table(path, upgrade)  # names the file that is damaged
        raise _damaged(paths[0].parent, error) from None


def read_table(path: Path, upgrade: Upgrade | None) -> Any:  # noqa: ANN401 - pyarrow publishes no types
    """Return the samples of one file as a table with ``ARROW_SCHEMA``. Raises ResultsError."""
    try:
        with path.open("rb") as file:  # not by its path: pyarrow takes none that is no UTF-8
            table = pq.read_table(file)
        version = written_by(table.schema)
        if upgrade is not None and version < SCHEMA_VERSION:
            table = upgrade.samples(table, version)
        table.validate(full=True)
        table = completed(table)
        if set(table.column_names) >= set(ARROW_SCHEMA.names):
            table = table.select(ARROW_SCHEMA.names)
        return table.cast(ARROW_SCHEMA)
    except FileNotFoundError:
        raise ResultsError(f"{path}: missing") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ResultsError:
    reason = "".join(char if char.isprintable() else "?" for char in (str(error).splitlines() or ["no reason"])[0])
    return ResultsError(f"{path}: cannot be read as samples ({reason}); the file is damaged or was cut short")
