"""Scenes as a PNG file, on white: matplotlib's Agg canvas and the letters that come with it.

Figures are made without pyplot, so there is no global state and no backend for a screen.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from proxybench.report.layout import line_dash
from proxybench.report.panels import BarPanel, names
from proxybench.report.scene import INK, MUTED, SMALL, Box, Marker, Stroke, Words, text_width
from proxybench.report.words import look_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist

    from proxybench.report.panels import Panel
    from proxybench.report.scene import Item, Scene

DPI = 160
_PAGE = {"ink": "#1b1f24", "muted": "#59636e", "grid": "#dde2e8", "ground": "#ffffff"}
_STYLE: dict[Any, Any] = {  # matplotlib types each key as a literal of its own
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "savefig.facecolor": "white",
}
_SIDES: dict[str, Any] = {"start": "left", "middle": "center", "end": "right"}
_INCH = 72.0
_HEAD, _LEGEND, _FOOT, _GAP = 30.0, 18.0, 22.0, 14.0


def figure_png(panels: Sequence[Panel], scenes: Sequence[Scene], heading: str, footer: str) -> bytes:
    """Draw all panels of a figure side by side, with heading, legend and footer (the clock)."""
    columns = min(len(scenes), 3 if len(scenes) != 4 else 2)  # noqa: PLR2004 - four stand best as two by two
    rows = [scenes[first : first + columns] for first in range(0, len(scenes), columns)]
    key = _legend(panels)
    width = columns * (scenes[0].width + _GAP) + _GAP
    top = _HEAD + (_LEGEND if key else 0.0)
    height = top + sum(max(each.height for each in row) + _GAP for row in rows) + _FOOT
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc does not reach a picture, nor its LaTeX a run
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / _INCH, height / _INCH), dpi=DPI)
        size = min(13.0, 13.0 * (width - 2 * _GAP) / text_width(heading, 13.0))  # a narrow picture has little room
        _put(figure, [Words(_GAP, 20, heading, size, INK, bold=True)], 0.0, 0.0)
        _put(figure, key, _GAP, _HEAD)
        for row in rows:
            for column, each in enumerate(row):
                _put(figure, each.items, _GAP + column * (each.width + _GAP), top)
            top += max(each.height for each in row) + _GAP
        small = min(SMALL, SMALL * (width - 2 * _GAP) / text_width(footer, SMALL))
        _put(figure, [Words(_GAP, height - 8, footer, small, MUTED)], 0.0, 0.0)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _legend(panels: Sequence[Panel]) -> list[Item]:
    """Name the lines; bars carry their modes' names already, and the shades stand in the footer."""
    items: list[Item] = []
    at = 0.0
    for name in () if isinstance(panels[0], BarPanel) else names(panels):
        items += [
            Stroke(((at, 6), (at + 18, 6)), name.look, 1.8, line_dash(name.look, name.style)),
            Marker(at + 9, 6, look_of(name.look).marker, name.look),
            Words(at + 23, 9, name.label, SMALL, INK),
        ]
        at += 23 + text_width(name.label, SMALL) + 14
    return items


def _put(figure: Figure, items: Sequence[Item], x: float, y: float) -> None:
    height = float(figure.get_figheight())
    for item in items:
        artist = _artist(item, x, y, height)
        artist.set_zorder(1 + len(figure.get_children()))  # what comes later lies on top, whatever it is
        artist.set_transform(figure.dpi_scale_trans)
        figure.add_artist(artist)


def _artist(item: Item, x: float, y: float, height: float) -> Artist:
    """Return the artist in inches, y upwards from the figure's lower edge."""
    if isinstance(item, Stroke):
        across = [(x + each) / _INCH for each, _ in item.points]
        up = [height - (y + each) / _INCH for _, each in item.points]
        # matplotlib counts dashes in widths of the line
        style: Any = (0, tuple(part / item.width for part in item.dash)) if item.dash else "-"
        return Line2D(across, up, color=_colour(item.colour), linewidth=item.width, linestyle=style)
    place = ((x + item.x) / _INCH, height - (y + item.y) / _INCH)
    if isinstance(item, Words):
        return _text(item, place)
    if isinstance(item, Box):
        corner = (place[0], place[1] - item.height / _INCH)
        size = (item.width / _INCH, item.height / _INCH)
        return Rectangle(corner, *size, facecolor=_colour(item.colour), alpha=item.opacity, linewidth=0)
    cross = item.shape == "x"
    edge = _colour(item.colour if cross else "ground")
    return Line2D(
        [place[0]],
        [place[1]],
        color=_colour(item.colour),
        linestyle="none",
        marker=item.shape,
        markersize=5.0,
        markeredgecolor=edge,
        markeredgewidth=1.0 if cross else 0.7,
    )


def _text(item: Words, place: tuple[float, float]) -> Artist:
    return Text(
        *place,
        item.text,
        color=_colour(item.colour),
        fontsize=item.size,
        fontweight="bold" if item.bold else "normal",
        horizontalalignment=_SIDES[item.anchor],
        verticalalignment="baseline",
        parse_math=False,
    )


def _colour(name: str) -> str:
    return _PAGE.get(name) or look_of(name).light
