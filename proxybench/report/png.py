"""A drawing as a PNG file, on white: by matplotlib's Agg renderer, and with the letters that come with it.

The renderer is asked directly: artists, which know how to move and to be picked, cost twice what drawing does. There is
no global state and no backend for a screen.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.image import imsave
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from proxybench.report.colours import LIGHT
from proxybench.report.drawing import Label, Marker, Polyline, Rect
from proxybench.report.words import style_of

if TYPE_CHECKING:
    from matplotlib.backend_bases import GraphicsContextBase

    from proxybench.report.drawing import Drawing

DPI = 160
_FAMILY = "DejaVu Sans"  # comes with matplotlib, so pictures are the same everywhere
_SHIFT = {"middle": 0.5, "end": 1.0}
_SCALE = DPI / 72
_MARKER = 5.0
_FAST: dict[str, Any] = {"compress_level": 3}  # 6, the usual one, takes a third longer for 3 % less


def png(drawing: Drawing) -> bytes:
    """Write a drawing."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc does not reach a picture, nor its LaTeX a run
        canvas = _Canvas(drawing)
        for item in drawing.items:
            canvas.draw(item)
        out = io.BytesIO()
        imsave(out, canvas.pixels(), format="png", dpi=DPI, pil_kwargs=_FAST)
    return out.getvalue()


class _Canvas:
    """White paper, on which what comes later lies on top. Places are in points, y downwards."""

    def __init__(self, drawing: Drawing) -> None:
        height = int(drawing.height * _SCALE)
        self._agg = RendererAgg(int(drawing.width * _SCALE), height, DPI)
        self._places = Affine2D().scale(_SCALE, -_SCALE).translate(0, height)
        self.draw(Rect(0, 0, drawing.width, drawing.height, "ground"))

    def pixels(self) -> Any:  # noqa: ANN401 - an array of bytes, which imsave takes as it is
        return np.asarray(self._agg.buffer_rgba())

    def draw(self, item: Polyline | Rect | Marker | Label) -> None:
        if isinstance(item, Polyline):
            self._line(item)
        elif isinstance(item, Rect):
            self._rect(item)
        elif isinstance(item, Marker):
            self._marker(item)
        else:
            self._label(item)

    def _pen(self, colour: str, width: float, opacity: float = 1.0) -> GraphicsContextBase:
        pen = self._agg.new_gc()
        pen.set_foreground((*to_rgb(_colour(colour)), opacity), isRGBA=True)
        pen.set_linewidth(width)
        return pen

    def _line(self, item: Polyline) -> None:
        pen = self._pen(item.colour, item.width)
        pen.set_joinstyle("round")
        pen.set_capstyle("butt" if item.dash else "projecting")
        if item.dash:
            pen.set_dashes(0, list(item.dash))
        self._agg.draw_path(pen, Path(np.array(item.points)), self._places)

    def _rect(self, item: Rect) -> None:
        right, bottom = item.x + item.width, item.y + item.height
        corners = [(item.x, item.y), (right, item.y), (right, bottom), (item.x, bottom), (item.x, item.y)]
        fill = (*to_rgb(_colour(item.colour)), item.opacity)
        self._agg.draw_path(self._pen(item.colour, 0), Path(np.array(corners), closed=True), self._places, fill)

    def _marker(self, item: Marker) -> None:
        style = MarkerStyle(item.shape)
        hollow = item.shape == "x"
        pen = self._pen(item.colour if hollow else "ground", 1.0 if hollow else 0.7)
        shape = Affine2D(style.get_transform().get_matrix()).scale(_MARKER * _SCALE)
        fill = None if hollow else to_rgb(_colour(item.colour))
        self._agg.draw_markers(pen, style.get_path(), shape, Path(np.array([(item.x, item.y)])), self._places, fill)

    def _label(self, item: Label) -> None:
        letters = FontProperties(family=_FAMILY, size=item.size, weight="bold" if item.bold else "normal")
        left = item.x * _SCALE
        if item.anchor != "start":
            wide = self._agg.get_text_width_height_descent(item.text, letters, ismath=False)[0]
            left -= _SHIFT[item.anchor] * wide
        self._agg.draw_text(self._pen(item.colour, 1.0), left, item.y * _SCALE, item.text, letters, 0.0)


def _colour(name: str) -> str:
    return LIGHT.get(name) or style_of(name).light
