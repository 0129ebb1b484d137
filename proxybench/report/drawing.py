"""A drawing as data: lines, boxes, markers and words at places in points (1/72 inch), y downwards.

Both pictures of a panel, the page's SVG and the PNG file, are written from the same drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

INK, MUTED, GRID, GROUND = "ink", "muted", "grid", "ground"
"""Colours are names: these, or a mode's."""

SMALL, LARGE = 8.8, 10.2
"""Sizes of letters; a telephone shows a panel 1.3 times as large."""


@dataclass(frozen=True)
class Polyline:
    """A line through ``points``; ``dash`` as in SVG, in points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rect:
    """A filled rectangle from its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Marker:
    """A mode's sign (``o s ^ v D P x``) around a place."""

    x: float
    y: float
    shape: str
    colour: str


@dataclass(frozen=True)
class Label:
    """Text whose ``anchor`` (start, middle, end) is at x, and whose base line is at y."""

    x: float
    y: float
    text: str
    size: float = SMALL
    colour: str = MUTED
    anchor: str = "start"
    bold: bool = False


Item = Polyline | Rect | Marker | Label


@dataclass(frozen=True)
class Drawing:
    """Items in the order in which they are drawn."""

    width: float
    height: float
    items: tuple[Item, ...]


def shifted(items: Iterable[Item], right: float, down: float) -> list[Item]:
    """Return items at another place."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, Polyline):
            found.append(replace(item, points=tuple((x + right, y + down) for x, y in item.points)))
        else:
            found.append(replace(item, x=item.x + right, y=item.y + down))
    return found


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in points: rather too wide, as for DejaVu Sans."""
    return 0.6 * size * len(text)
