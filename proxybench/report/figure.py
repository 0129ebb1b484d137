"""A whole figure as one drawing: heading, legend, panels side by side, and a caption with the clock.

It becomes both the SVG and the PNG file: whoever puts one into a talk or a pull request has the caption in it.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from proxybench.report.drawing import INK, MUTED, SMALL, Drawing, Label, Marker, Polyline, Rect, shifted, text_width
from proxybench.report.layout import OPACITY, line_dash, part_colour
from proxybench.report.shapes import BarPanel, legend_entries
from proxybench.report.words import style_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.report.drawing import Item
    from proxybench.report.shapes import LegendEntry, Panel

_HEAD, _ROW, _GAP, _LINE = 30.0, 16.0, 14.0, 12.0
_FOUR, _MOST = 4, 3


def compose(panels: Sequence[Panel], drawings: Sequence[Drawing], heading: str, caption: Sequence[str]) -> Drawing:
    """Return the figure of some panels and their drawings; ``caption`` are paragraphs, the clock among them."""
    columns = 2 if len(drawings) == _FOUR else min(len(drawings), _MOST)  # four stand best as two by two
    width = columns * (drawings[0].width + _GAP) + _GAP
    room = width - 2 * _GAP
    size = min(13.0, 13.0 * room / text_width(heading, 13.0))  # a narrow picture has little room
    items: list[Item] = [Label(_GAP, 20, heading, size, INK, bold=True)]
    top = _HEAD
    for line in _lines(_keys(panels), room):
        items += shifted(line, _GAP, top)
        top += _ROW
    for first in range(0, len(drawings), columns):
        row = drawings[first : first + columns]
        for column, each in enumerate(row):
            items += shifted(each.items, _GAP + column * (each.width + _GAP), top)
        top += max(each.height for each in row) + _GAP
    for paragraph in caption:
        for text in textwrap.wrap(paragraph, int(room / text_width(" ", SMALL))):
            items.append(Label(_GAP, top + SMALL, text, SMALL, MUTED))
            top += _LINE
    return Drawing(width, top + _GAP / 2, tuple(items))


_Key = tuple[list["Item"], str]


def _keys(panels: Sequence[Panel]) -> list[_Key]:
    """Return what the legend names, each with a piece of it: lines as they are drawn, or the parts of stacks.

    A stack has its name beside it; its parts are shown in the colour of the first one.
    """
    stacks = [bar for panel in panels if isinstance(panel, BarPanel) for _, bars in panel.groups for bar in bars]
    if not stacks:
        return [(_piece(entry), entry.label) for entry in legend_entries(panels)]
    shown = {part for bar in stacks for part, _ in bar.parts}
    if len(shown) == 1:  # what the heading names
        return []
    mode = stacks[0].mode
    return [([Rect(6, 1, 10, 10, part_colour(part, mode), OPACITY[part])], part) for part in OPACITY if part in shown]


def _piece(entry: LegendEntry) -> list[Item]:
    line = Polyline(((0, 6), (22, 6)), entry.mode, 1.8, line_dash(entry.mode, entry.style))
    return [line, Marker(11, 6, style_of(entry.mode).marker, entry.mode)]


def legend(panels: Sequence[Panel]) -> list[tuple[Drawing, str]]:
    """Return the legend's entries one by one, for a page that breaks its lines itself."""
    return [(Drawing(22, 12, tuple(items)), text) for items, text in _keys(panels)]


def _lines(keys: Iterable[_Key], room: float) -> list[list[Item]]:
    lines: list[list[Item]] = [[]]
    at = 0.0
    for items, text in keys:
        wide = 27 + text_width(text, SMALL) + _GAP
        if at and at + wide > room:
            lines.append([])
            at = 0.0
        lines[-1] += [*shifted(items, at, 0), Label(at + 27, 9, text, SMALL, INK)]
        at += wide
    return [line for line in lines if line]
