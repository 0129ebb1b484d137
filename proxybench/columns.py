"""A dataclass as columns: the one place where tables, JSON and baselines get their columns from.

A field is a column of its name; a field that is itself a dataclass is replaced by its own columns. So a new field of
``model.Point`` is a new column of the samples, of the summary and of each baseline, and part of every series' key.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import StrEnum
from functools import lru_cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import DataclassInstance

_T = TypeVar("_T")

TEXT = "proxybench.text"
"""Key of a field's metadata: the two functions by which a value that is no word and no number becomes text and back."""

NONE = -1
"""What stands in a column of numbers for None."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its kind is str (words), int or bool. ``default`` is MISSING where a row must have it."""

    name: str
    kind: type
    get: Callable[[Any], Any]
    parse: Callable[[Any], Any]
    default: Any = dataclasses.MISSING


@lru_cache
def columns_of(cls: type[DataclassInstance]) -> tuple[Column, ...]:
    """Return the columns of a dataclass in the order of its fields. Raises TypeError for two of one name."""
    found = tuple(column for path, column in _columns(cls, ()) if path)
    names = [column.name for column in found]
    if len(set(names)) < len(names):
        raise TypeError(f"{cls.__name__}: two of its columns have one name")
    return found


def names_of(cls: type[DataclassInstance]) -> tuple[str, ...]:
    """Return the names of a dataclass's columns."""
    return tuple(column.name for column in columns_of(cls))


def flat(instance: DataclassInstance) -> dict[str, Any]:
    """Return plain words and numbers by column; None stays None."""
    found = ((column, column.get(instance)) for column in columns_of(type(instance)))
    return {column.name: str(value) if isinstance(value, StrEnum) else value for column, value in found}


def build(cls: type[_T], row: Mapping[str, Any]) -> _T:
    """Make an instance from its columns; others in ``row`` are passed over.

    Raises KeyError for a column that is missing, ValueError for a word that is none of the field's.
    """
    return typing.cast("_T", _build(typing.cast("Any", cls), row))


def _build(cls: Any, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any dataclass
    return cls(**{name: read(row) for name, needed, read in _plan(cls) if needed or name in row})


@lru_cache
def _plan(
    cls: Any,  # noqa: ANN401 - any dataclass
) -> tuple[tuple[str, bool, Callable[[Mapping[str, Any]], Any]], ...]:
    """Return each field's name, whether a row must have it, and how it is read from one."""
    found: list[tuple[str, bool, Callable[[Mapping[str, Any]], Any]]] = []
    for field, kind in _fields(cls):
        if dataclasses.is_dataclass(kind):
            found.append((field.name, True, partial(_build, kind)))
        else:
            needed = field.default is dataclasses.MISSING
            found.append((field.name, needed, partial(_read, field.name, _parser(field, kind))))
    return tuple(found)


def _read(name: str, parse: Callable[[Any], Any], row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a field
    return parse(row[name])


@lru_cache
def _fields(cls: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:  # noqa: ANN401 - any dataclass
    hints = typing.get_type_hints(cls)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(cls))


def _columns(
    cls: Any,  # noqa: ANN401 - any dataclass
    before: tuple[str, ...],
) -> list[tuple[tuple[str, ...], Column]]:
    found = []
    for field, kind in _fields(cls):
        path = (*before, field.name)
        if dataclasses.is_dataclass(kind):
            found += _columns(kind, path)
            continue
        get = attrgetter(".".join(path))
        write = field.metadata.get(TEXT, (None,))[0]
        reader = get if write is None else _through(write, get)
        found.append((path, Column(field.name, _kind(field, kind), reader, _parser(field, kind), field.default)))
    return found


def _through(write: Callable[[Any], str], get: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda instance: write(get(instance))


def _kind(field: dataclasses.Field[Any], kind: Any) -> type:  # noqa: ANN401 - a type or a union
    if TEXT in field.metadata:
        return str
    plain = _plain(kind)
    for one in (bool, int, float, str):
        if isinstance(plain, type) and issubclass(plain, one):  # one with parameters is no class
            return one
    raise TypeError(f"{field.name}: {kind} is neither word nor number; give it {TEXT!r} in its metadata")


def _plain(kind: Any) -> Any:  # noqa: ANN401 - a type or a union
    """Return the type beside None."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _parser(field: dataclasses.Field[Any], kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - a type or a union
    if TEXT in field.metadata:
        parse: Callable[[Any], Any] = field.metadata[TEXT][1]
        return parse
    plain = _plain(kind)
    if plain is kind:
        return typing.cast("Callable[[Any], Any]", plain)
    return lambda value: None if value is None else plain(value)
