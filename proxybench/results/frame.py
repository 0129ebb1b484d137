"""Samples as a table: one row per sample, words stored once.

Ten million rows take about 350 MB: every word is a code of one byte into a short list of categories, and
files are read row group by row group straight into those codes.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from proxybench.columns import NONE, columns_of, names_of
from proxybench.model import Sample
from proxybench.results.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

_NARROW = {"services", "endpoints_per_service", "repetition", "rank"}  # 32 bits are enough for them

WORDS = tuple(column.name for column in columns_of(Sample) if column.kind is str)
"""Columns of words, dictionary-encoded."""

NUMBERS: dict[str, str] = {
    column.name: "bool" if column.kind is bool else "int32" if column.name in _NARROW else "int64"
    for column in columns_of(Sample)
    if column.kind is not str
}
"""Columns of numbers and their numpy types; -1 stands for None."""

COLUMNS = names_of(Sample)

VERSION_KEY = b"proxybench.schema"
_ARROW = {"int32": pa.int32(), "int64": pa.int64(), "bool": pa.bool_()}
_WORD = pa.dictionary(pa.int32(), pa.string())
ARROW_SCHEMA = pa.schema(
    [pa.field(name, _ARROW[NUMBERS[name]] if name in NUMBERS else _WORD, nullable=False) for name in COLUMNS],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)
"""How samples lie in a file; the schema version stands in its metadata."""

_CHUNK = 65_536

_LATER = {"profile": ""}
"""Columns that this version of the schema did not have from the beginning, and what each is where it is missing."""


def samples_to_frame(samples: Iterable[Sample]) -> pd.DataFrame:
    """Return one row per sample, in their order, with the columns ``COLUMNS``.

    ``value`` is in ``unit`` and ``at`` in UTC nanoseconds, both int64; words are categoricals whose
    categories are those that occur, sorted.
    """
    columns = _Columns(COLUMNS)
    iterator = iter(samples)
    while chunk := list(islice(iterator, _CHUNK)):
        columns.add_samples(chunk)
    return columns.frame()


def frame_to_table(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - pyarrow publishes no types
    """Return the frame as a pyarrow table with ``ARROW_SCHEMA``."""
    arrays = []
    for field in ARROW_SCHEMA:
        column = frame[field.name]
        if field.name in NUMBERS:
            arrays.append(pa.array(column.to_numpy(), type=field.type))
            continue
        words = column.astype("category").cat
        codes = pa.array(words.codes.to_numpy(dtype=np.int32))
        arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(list(words.categories), type=pa.string())))
    return pa.Table.from_arrays(arrays, schema=ARROW_SCHEMA)


def completed(table: Any) -> Any:  # noqa: ANN401 - pyarrow publishes no types
    """Return a table of samples of this version with the columns that it did not have from the beginning."""
    for name, word in _LATER.items():
        if name not in table.column_names:
            codes = pa.array(np.zeros(table.num_rows, np.int32))
            table = table.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([word], pa.string())))
    return table


class Upgrading(Protocol):
    """Makes a table of samples that an older version wrote today's; see ``schema.Upgrade``."""

    def samples(self, table: Any, version: int) -> Any:  # noqa: ANN401 - pyarrow publishes no types
        """Return the table with the columns of today."""
        ...


def _opened(source: Any) -> AbstractContextManager[Any]:  # noqa: ANN401 - a path or a file object
    """Open a path here: pyarrow takes none that is no UTF-8, as a path with an umlaut is not in a Latin-1 locale."""
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def read_frame(
    sources: Sequence[Any], columns: Sequence[str] = COLUMNS, upgrade: Upgrading | None = None
) -> pd.DataFrame:
    """Read Parquet files (paths or file objects) one after the other into one frame.

    Files of older versions go through ``upgrade``. Raises pyarrow's ArrowException for a damaged file and KeyError
    for a column that a file does not have.
    """
    result = _Columns(columns)
    for source in sources:
        with _opened(source) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
            version = written_by(file.schema_arrow)
            old = upgrade is not None and version < SCHEMA_VERSION
            there = [name for name in columns if name in file.schema_arrow.names]
            missing = [] if old else [name for name in columns if name not in there and name not in _LATER]
            if missing:
                raise KeyError(missing[0])
            for batch in file.iter_batches(batch_size=4 * _CHUNK, columns=None if old else there):
                table = pa.Table.from_batches([batch])
                if upgrade is not None and old:
                    table = upgrade.samples(table, version)
                for part in completed(table).to_batches():
                    result.add_batch(part)
    return result.frame()


def written_by(schema: Any) -> int:  # noqa: ANN401 - pyarrow publishes no types
    """Return the version of the results' schema that wrote an Arrow schema."""
    return int((schema.metadata or {}).get(VERSION_KEY, b"1"))


class _Columns:
    """Columns that grow chunk by chunk; words become codes at once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._chunks: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in self._names}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in self._names if name in WORDS}

    def add_samples(self, samples: Sequence[Sample]) -> None:
        for name in self._names:
            values = _column(name, samples)
            if name in NUMBERS:
                self._chunks[name].append(np.fromiter(values, dtype=NUMBERS[name], count=len(samples)))
                continue
            codes = self._codes[name]
            encoded = (codes.setdefault(str(value), len(codes)) for value in values)
            self._chunks[name].append(np.fromiter(encoded, dtype=np.int32, count=len(samples)))

    def add_batch(self, batch: Any) -> None:  # noqa: ANN401 - pyarrow publishes no types
        for name in self._names:
            array = batch.column(name)
            if name in NUMBERS:
                self._chunks[name].append(array.to_numpy(zero_copy_only=False).astype(NUMBERS[name]))
                continue
            if not pa.types.is_dictionary(array.type):
                array = array.dictionary_encode()
            codes = self._codes[name]
            words = [codes.setdefault(word, len(codes)) for word in array.dictionary.to_pylist()]
            table = np.array(words, dtype=_code_type(len(codes)))
            self._chunks[name].append(table[array.indices.to_numpy(zero_copy_only=False)])

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({name: self._take(name) for name in self._names}, copy=False)

    def _take(self, name: str) -> npt.NDArray[Any] | pd.Categorical[Any]:
        """Join a column's chunks and let go of them, so that only one column exists twice at a time."""
        chunks = self._chunks.pop(name)
        dtype = NUMBERS.get(name, "int8")
        whole = np.concatenate(chunks) if chunks else np.empty(0, dtype=dtype)
        if name in NUMBERS:
            return whole
        order = sorted(self._codes[name])
        new = np.empty(len(order), dtype=_code_type(len(order)))
        new[[self._codes[name][word] for word in order]] = np.arange(len(order))
        categories = pd.Index(order, dtype="str")
        return pd.Categorical.from_codes(new[whole], dtype=pd.CategoricalDtype(categories))


def _column(name: str, samples: Sequence[Sample]) -> Iterator[Any]:
    get = _GETTERS[name]
    if name in NUMBERS:
        return (NONE if (value := get(sample)) is None else value for sample in samples)
    return (get(sample) for sample in samples)


_GETTERS = {column.name: column.get for column in columns_of(Sample)}


def _code_type(words: int) -> npt.DTypeLike:
    return np.int8 if words <= np.iinfo(np.int8).max else np.int32
