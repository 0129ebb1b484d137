"""A drawing as a PNG file, on white: matplotlib's Agg canvas and the letters that come with it.

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

from proxybench.report.colours import LIGHT
from proxybench.report.drawing import Label, Polyline, Rect
from proxybench.report.words import style_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from proxybench.report.drawing import Drawing, Item

DPI = 160
_STYLE: dict[Any, Any] = {  # matplotlib types each key as a literal of its own
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "savefig.facecolor": "white",
}
_SIDES: dict[str, Any] = {"start": "left", "middle": "center", "end": "right"}
_INCH = 72.0


def png(drawing: Drawing) -> bytes:
    """Write a drawing."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc does not reach a picture, nor its LaTeX a run
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(drawing.width / _INCH, drawing.height / _INCH), dpi=DPI)
        for number, item in enumerate(drawing.items, 1):
            artist = _artist(item, drawing.height / _INCH)
            artist.set_zorder(number)  # what comes later lies on top, whatever it is
            artist.set_transform(figure.dpi_scale_trans)
            figure.add_artist(artist)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _artist(item: Item, height: float) -> Artist:
    """Return the artist in inches, y upwards from the figure's lower edge."""
    if isinstance(item, Polyline):
        across = [each / _INCH for each, _ in item.points]
        up = [height - each / _INCH for _, each in item.points]
        # matplotlib counts dashes in widths of the line
        style: Any = (0, tuple(part / item.width for part in item.dash)) if item.dash else "-"
        return Line2D(across, up, color=_colour(item.colour), linewidth=item.width, linestyle=style)
    place = (item.x / _INCH, height - item.y / _INCH)
    if isinstance(item, Label):
        return _text(item, place)
    if isinstance(item, Rect):
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


def _text(item: Label, place: tuple[float, float]) -> Artist:
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
    return LIGHT.get(name) or style_of(name).light
