"""How single values are written in an experiment file: durations, batches, words, switches.

Each ``parse_*`` takes what YAML gave and raises ValueError with what is wrong and what would be right.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import StrEnum

T = TypeVar("T", bound="StrEnum")

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_WHOLE = 100  # per cent


class Words(BaseModel):
    """A mapping of the experiment file: frozen, and no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    own_file: ClassVar[bool] = False
    """Whether these are the words of a file of their own, which an experiment only names."""


def _left_out(value: object) -> bool:
    return value is None or value in ((), {}) or (isinstance(value, Words) and value == type(value)())


LEFT_OUT = Field(exclude_if=_left_out)
"""For a word without a default of its own: when it is not written, a dump does not write it either."""


def parse_duration(value: object) -> float:
    """Return seconds from "500ms", "1s", "2m" or "1h"."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; write a duration such as {value}s or {value}ms")  # noqa: TRY004 - pydantic collects ValueErrors only
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{show(value)} is not a duration; write a number and ms, s, m or h, such as 500ms")
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def format_duration(seconds: float) -> str:
    """Write seconds as ``parse_duration`` reads them, in the largest unit that needs no fraction."""
    exact = Decimal(str(seconds)).normalize()
    for unit in ("h", "m", "s"):
        if exact and exact % _SECONDS[unit] == 0:
            return f"{int(exact / _SECONDS[unit])}{unit}"
    if exact % _SECONDS["ms"] == 0 and exact:
        return f"{int(exact / _SECONDS['ms'])}ms"
    return f"{exact:f}s"


def within(least: str, most: str) -> Callable[[float], float]:
    """Return a check that a duration (seconds) lies between two others, both included."""
    low, high = parse_duration(least), parse_duration(most)

    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise ValueError(f"{format_duration(seconds)} is out of range; write {least} to {most}")
        return seconds

    return check


@dataclass(frozen=True)
class Batch:
    """How many Services one batch adds: a count, or a share of those that are there (0.1 is 10 %)."""

    count: int | None = None
    share: float | None = None

    def of(self, services: int) -> int:
        """Return the number of Services to add to so many; at least 1."""
        if self.count is not None:
            return self.count
        return max(1, round(services * (self.share or 0.0)))

    def __str__(self) -> str:
        if self.share is None:
            return str(self.count)
        return f"{(Decimal(str(self.share)) * _WHOLE).normalize():f}%"


def parse_batch(value: object) -> Batch:
    """Return a batch from a count (20) or a share ("10%")."""
    if isinstance(value, Batch):
        return value
    right = "write a count such as 20 or a share such as 10%"
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"{value} is too small for a batch; {right}")
        return Batch(count=value)
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{show(value)} is not a batch; {right}")
    percent = Decimal(match[1])
    if not 0 < percent <= _WHOLE:
        raise ValueError(f"{value} is out of range; write more than 0% and at most 100%")
    return Batch(share=float(percent / _WHOLE))


def parser_of(kind: str, *allowed: T) -> Callable[[object], T]:
    """Return what reads one of these words; ``kind`` says what they are ("a mode")."""
    words = {str(word): word for word in allowed}

    def parse(value: object) -> T:
        found = words.get(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"{show(value)} is not {kind}; {suggest(str(value), words, 'one of')}")
        return found

    return parse


def one_of(kind: str, *allowed: StrEnum) -> BeforeValidator:
    """Accept one of these words; ``kind`` says what they are ("a mode")."""
    return BeforeValidator(parser_of(kind, *allowed), json_schema_input_type=Any)


def schema_of(*allowed: StrEnum) -> WithJsonSchema:
    """Return the JSON Schema of ``one_of``."""
    return WithJsonSchema({"type": "string", "enum": [str(word) for word in allowed]})


def many(value: object) -> object:
    """Read one word where a list of them may stand."""
    return (value,) if isinstance(value, str) else value


def switch(value: object) -> object:
    """Read a measurement that is switched off (false), on as usual (true) or on with settings (a mapping)."""
    if value is True:
        return {}
    if value is False:
        return None
    if value is None:
        raise ValueError("nothing is written here; write true, false or the settings")
    if isinstance(value, (str, int, float)):
        raise ValueError(f"{show(value)} is no switch; write true, false or the settings")  # noqa: TRY004 - as above
    return value


def distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    """Check that a list names nothing twice."""
    twice = sorted({show(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; name it once")
    return values


def uneven(users: int, clients: int) -> str:
    """Say that clients cannot share the users of a load, and how many they could."""
    least = max(1, users // clients) * clients
    return f"{users} cannot be shared evenly by {clients} clients; write a multiple of {clients}, such as {least}"


def suggest(wrong: str, right: Iterable[str], otherwise: str) -> str:
    """Return "did you mean …?", or the right words when none is near."""
    names = list(right)
    near = difflib.get_close_matches(wrong, names, n=1)
    return f'did you mean "{near[0]}"?' if near else f"{otherwise}: {', '.join(names)}"


def show(value: object) -> str:
    """Write a value as it would stand in YAML, short enough for one line."""
    limit = 60
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, dict):
        text = "a mapping"
    elif isinstance(value, list | tuple):
        text = "a list"
    else:
        text = str(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= limit else text[:limit] + "…"


def _write_batch(batch: Batch) -> int | str:
    return str(batch) if batch.count is None else batch.count


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
"""Seconds; written with a unit."""

BatchSize = Annotated[
    Batch,
    BeforeValidator(parse_batch),
    PlainSerializer(_write_batch, return_type=int | str, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}]}
    ),
]
"""A count or a share of the Services."""
