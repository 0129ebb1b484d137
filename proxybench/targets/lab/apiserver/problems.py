"""What is wrong with an object, collected field by field, in the words of the Kubernetes API (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from proxybench.targets.lab.apiserver.status import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS: Final = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


class Problems:
    """Collects causes; a field that is fine costs nothing."""

    __slots__ = ("causes",)

    def __init__(self) -> None:
        """Start with none."""
        self.causes: list[Cause] = []

    def required(self, field: str, why: str = "") -> None:
        """Note that a field must be set."""
        self.note("FieldValueRequired", "Required value" + (f": {why}" if why else ""), field)

    def invalid(self, field: str, value: Any, why: str) -> None:  # noqa: ANN401 - any JSON value
        """Note that a value cannot be."""
        self.note("FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}", field)

    def unsupported(self, field: str, value: Any, supported: Iterable[str]) -> None:  # noqa: ANN401 - any JSON value
        """Note that a value is none of those there are."""
        words = ", ".join(f'"{word}"' for word in sorted(supported))
        self.note("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {words}", field)

    def duplicate(self, field: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Note that a value is there twice."""
        self.note("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)

    def forbidden(self, field: str, why: str) -> None:
        """Note that a field must not be set here."""
        self.note("FieldValueForbidden", f"Forbidden: {why}", field)

    def too_many(self, field: str, number: int, most: int) -> None:
        """Note that a list is too long."""
        self.note("FieldValueTooMany", f"Too many: {number}: must have at most {most} items", field)

    def too_long(self, field: str, most: int) -> None:
        """Note that a text, or all of a map, is too long; ``most`` in bytes."""
        self.note("FieldValueTooLong", f"Too long: may not be more than {most} bytes", field)

    def wrong_type(self, field: str, value: Any, wanted: str) -> None:  # noqa: ANN401 - any JSON value
        """Note that a value is of another JSON type than the field."""
        found = _KINDS.get(type(value), "null")
        self.note("FieldValueTypeInvalid", f'Invalid value: "{found}": must be of type {wanted}', field)

    def note(self, reason: str, message: str, field: str) -> None:
        """Note a cause in words of its own."""
        self.causes.append(Cause(reason, message, field))


def type_name(kind: type) -> str:
    """Return the JSON name of a Python type."""
    return _KINDS[kind]


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value).decode()
