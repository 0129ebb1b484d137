"""All properties, in the order in which they are looked at: what changes Services comes last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.conformance import changes, outside, special, vips
from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.conformance.property import Property

PROPERTIES: tuple[Property[Any], ...] = (
    *vips.PROPERTIES,
    *outside.PROPERTIES,
    *special.PROPERTIES,
    *changes.PROPERTIES,
)


def chosen(names: Sequence[str]) -> tuple[Property[Any], ...]:
    """Return the properties of these names, all where there are none. Raises UsageError for a name that none has."""
    known = [one.name for one in PROPERTIES]
    for name in names:
        if name not in known:
            raise UsageError(f"{name} is no property of conformance; there are {', '.join(known)}")
    return tuple(one for one in PROPERTIES if not names or one.name in names)
