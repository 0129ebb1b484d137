"""Panels as pictures: inline SVG that takes its colours from the page, and PNG files.

matplotlib draws, because it knows logarithmic axes, intervals and text in both formats; figures are made without
pyplot, so there is no global state and no backend for a screen: saving picks the SVG or the Agg canvas.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from proxybench.report.panels import (
    AGENT,
    BUILD,
    KERNEL,
    SOFTIRQ,
    SYSTEM,
    TOOL,
    USER,
    WHOLE,
    BarPanel,
    CurvePanel,
    LinePanel,
)
from proxybench.report.words import DIRECT, LOOKS, Look, human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from proxybench.report.panels import Line, Panel

INK, MUTED, GRID, GROUND = "#1b1f24", "#59636e", "#dde2e8", "#fefefe"
OPACITY = {USER: 1.0, WHOLE: 1.0, SYSTEM: 0.62, SOFTIRQ: 0.3, AGENT: 1.0, BUILD: 1.0, TOOL: 0.62, KERNEL: 0.3}
"""Parts of a stack are shades of its mode's colour; our agent is grey."""

_UNKNOWN = Look("", "#8a6d3b", "#c9a86a", "v")
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 1, 1, 1)))
_WIDTH, _HEIGHT = 4.1, 3.0  # inches of 72 SVG units
_HEAD, _FOOT = 0.5, 0.3
_BARS_TOP, _BARS_GAP = 0.5, 0.46
_LEAST_SPAN = 3.0
_STYLE: dict[Any, Any] = {  # matplotlib types each key as a literal of its own
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "proxybench",
}
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    GROUND: "var(--ground)",
    **{look.light: f"var(--mode-{mode})" for mode, look in LOOKS.items()},
}


def look_of(mode: str) -> Look:
    """Return a mode's look, one of its own for modes we do not know."""
    return LOOKS.get(mode, _UNKNOWN)


def panel_svg(panel: Panel, among: Sequence[Panel], prefix: str) -> str:
    """Draw one panel as an ``<svg>`` element.

    ``among`` are the panels that it shares its y range with. Every id begins with ``prefix``, since the page holds
    many drawings; colours are CSS variables, so that the page can turn dark.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_size(panel))
        figure.patch.set_alpha(0)
        draw(figure, _size(panel), panel, among)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), prefix)


def panels_png(panels: Sequence[Panel], heading: str, footer: str) -> bytes:
    """Draw all panels of a figure side by side on white, with legend, heading and footer (the clock)."""
    columns = min(len(panels), 3 if len(panels) != 4 else 2)  # noqa: PLR2004 - four stand best as two by two
    rows = math.ceil(len(panels) / columns)
    width, height = columns * _WIDTH, rows * max(_size(panel)[1] for panel in panels)
    whole = height + _HEAD + _FOOT
    size = 12 if columns > 1 else 10  # a narrow picture cuts a large heading off
    with mpl.rc_context({**_STYLE, "savefig.facecolor": "white"}):
        figure = Figure(figsize=(width, whole), dpi=160)
        figure.text(_FOOT / width, 1 - 0.5 * _HEAD / whole, heading, va="center", fontsize=size, fontweight="bold")
        figure.text(_FOOT / width, 0.4 * _FOOT / whole, footer, va="center", color=MUTED, fontsize=size - 4)
        # Sub-figures heed a grid's ratios but not its margins, so heading and footer are rows of it.
        grid = figure.add_gridspec(rows + 2, columns, height_ratios=[_HEAD, *([height / rows] * rows), _FOOT], hspace=0)
        for index, panel in enumerate(panels):
            part = figure.add_subfigure(grid[1 + index // columns, index % columns])
            draw(part, (_WIDTH, height / rows), panel, panels)
            _legend(part, panel)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def draw(figure: Figure | SubFigure, size: tuple[float, float], panel: Panel, among: Sequence[Panel]) -> None:
    """Draw a panel onto an empty figure of that size (inches).

    Margins are fixed: matplotlib's own layout draws everything twice and takes as long again.
    """
    if isinstance(panel, BarPanel):
        _draw_bars(figure, size, panel)
        return
    axes = figure.add_subplot()
    figure.subplots_adjust(**_margins(size))
    if isinstance(panel, LinePanel):
        others = [each for each in among if isinstance(each, LinePanel) and each.y_label == panel.y_label]
        _draw_lines(axes, panel, others)
    else:
        _draw_curves(axes, panel)


def _margins(size: tuple[float, float], top: float = 0.26) -> dict[str, float]:
    width, height = size
    return {"left": 0.84 / width, "right": 1 - 0.14 / width, "bottom": 0.44 / height, "top": 1 - top / height}


def _bar_heights(panel: BarPanel) -> list[float]:
    return [0.18 + 0.17 * len(bars) for _, bars in panel.groups]


def _size(panel: Panel) -> tuple[float, float]:
    if not isinstance(panel, BarPanel):
        return _WIDTH, _HEIGHT
    return _WIDTH, _BARS_TOP + 0.44 + sum(_bar_heights(panel)) + _BARS_GAP * (len(panel.groups) - 1)


def _draw_lines(axes: Axes, panel: LinePanel, among: Sequence[LinePanel]) -> None:
    axes.set_title(panel.title)
    for number, line in enumerate(panel.lines):
        _draw_line(axes, line, number)
    for mark in panel.marks:
        middle = math.sqrt(mark.after * mark.before)
        axes.axvline(middle, color=look_of(mark.look).light, linewidth=1.2, linestyle=":", zorder=1.5)
    if panel.log:
        _name_zeros(axes, panel)
    axes.set_xscale("log")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(visible=True, which="major")
    xs = sorted({spot.x for line in panel.lines for spot in line.spots})
    axes.xaxis.set_major_locator(FixedLocator(xs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlim(min(xs) / 1.35, max(xs) * 1.35)
    low, high = _range(among)
    if any(spot.bounded for each in among for line in each.lines for spot in line.spots):
        high *= 1.4  # room for the sign
    formatter = FuncFormatter(lambda y, _: "0" if y == 0 else human(y, panel.unit))
    if panel.log and low > 0:
        axes.set_yscale("log")
        widen = max(1.0, math.sqrt(_LEAST_SPAN * low / high))  # a flat line must not look like a mountain
        low, high = low / widen, high * widen
        axes.set_ylim(low / 1.25, high * 1.25)
        decades = math.log10(high / low)
        subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.5 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # noqa: PLR2004 - as many labels as fit
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * ((high - low) or 1)
        axes.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
        axes.yaxis.set_major_locator(_nice(panel.unit))
        axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.yaxis.set_major_formatter(formatter)


def _name_zeros(axes: Axes, panel: LinePanel) -> None:
    for line in panel.lines:
        for spot in line.spots:
            if spot.y <= 0:
                axes.annotate(
                    "0 ↓",
                    (spot.x, 0.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 4),
                    textcoords="offset points",
                    ha="center",
                    color=look_of(line.look).light,
                    fontweight="bold",
                )


def _nice(unit: str) -> MaxNLocator:
    steps = [1, 2, 5, 10]
    return MaxNLocator(nbins=6, steps=steps, integer=unit == "ns")


def _draw_line(axes: Axes, line: Line, number: int) -> None:
    look = look_of(line.look)
    xs, ys = [spot.x for spot in line.spots], [spot.y for spot in line.spots]
    bounded = [spot for spot in line.spots if spot.bounded]
    reference = line.look == DIRECT
    axes.plot(
        xs,
        ys,
        color=look.light,
        linestyle=(0, (2, 2)) if reference else _DASHES[line.style % len(_DASHES)],
        linewidth=1.2 if reference else 1.7,
        marker=look.marker,
        markersize=4.5,
        markeredgecolor=look.light if reference else GROUND,
        markeredgewidth=0.9 if reference else 0.6,
        zorder=3 - number * 0.01,
        label=line.label,
    )
    spots = [spot for spot in line.spots if spot.low is not None and spot.high is not None]
    if spots:
        lows = [max(0.0, spot.y - (spot.low or 0.0)) for spot in spots]
        highs = [max(0.0, (spot.high or 0.0) - spot.y) for spot in spots]
        axes.errorbar(
            [spot.x for spot in spots],
            [spot.y for spot in spots],
            yerr=[lows, highs],
            fmt="none",
            color=look.light,
            elinewidth=1.1,
            capsize=2.6,
            capthick=1.1,
            zorder=2.5,
        )
    for spot in bounded:
        axes.annotate(
            "≥",
            (spot.x, spot.y),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            color=look.light,
            fontweight="bold",
            fontsize=10,
        )


_MOST_ROOM = 10.0  # times that a bar may reach beyond all medians before the panel's edge cuts it


def _range(panels: Sequence[LinePanel]) -> tuple[float, float]:
    spots = [spot for panel in panels for line in panel.lines for spot in line.spots]
    lows = [spot.y if spot.low is None else min(spot.low, spot.y) for spot in spots]
    if any(panel.log for panel in panels):
        # Nothing at or below zero has a place on a logarithmic scale: it is drawn at its lower edge, and named.
        lows = [low for low in (*lows, *(spot.y for spot in spots)) if low > 0] or [0.0]
    highs = [spot.y if spot.high is None else max(spot.high, spot.y) for spot in spots]
    low, high = min(lows), max(highs)
    middles = [spot.y for spot in spots if spot.y > 0]
    if middles and any(panel.log for panel in panels):
        # Two repetitions that differ have an interval of many decades: the medians must stay legible beside it.
        low, high = max(low, min(middles) / _MOST_ROOM), min(high, max(middles) * _MOST_ROOM)
    return low, high


def _draw_curves(axes: Axes, panel: CurvePanel) -> None:
    axes.set_title(panel.title)
    for look, label, xs, ys in panel.curves:
        shown = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and x > 0]
        axes.step(
            [x for x, _ in shown],
            [y for _, y in shown],
            where="post",
            color=look_of(look).light,
            linewidth=1.7,
            label=label,
            marker=look_of(look).marker,
            markevery=(20, 60),
            markersize=4.5,
            markeredgecolor=GROUND,
            markeredgewidth=0.6,
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel("share of connections")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)  # noqa: PLR2004 - as many labels as fit
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: human(x, "ns")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
    axes.grid(visible=True, which="major")


def _draw_bars(figure: Figure | SubFigure, size: tuple[float, float], panel: BarPanel) -> None:
    heights = _bar_heights(panel)
    grid: dict[str, Any] = {
        "height_ratios": heights,
        "hspace": _BARS_GAP * len(heights) / sum(heights),
        **_margins(size, _BARS_TOP),
    }
    # A shorter panel beside taller ones keeps its bars' height and leaves the rest white.
    grid["bottom"] += max(0.0, 1 - _size(panel)[1] / size[1])
    axes = figure.subplots(len(panel.groups), 1, squeeze=False, gridspec_kw=grid)[:, 0]
    for ax, (label, bars) in zip(axes, panel.groups, strict=True):
        longest = max(bar.total for bar in bars) or 1.0
        for row, bar in enumerate(bars):
            left = 0.0
            for part, value in bar.parts:
                colour = LOOKS[DIRECT].light if part == AGENT else look_of(bar.look).light
                ax.barh(row, value, left=left, height=0.78, color=colour, alpha=OPACITY[part], linewidth=0)
                left += value
            ax.text(left + longest * 0.015, row, human(bar.total, "ns"), va="center", ha="left", fontsize=7.5)
        ax.set_xlim(0, longest * 1.2)
        ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == 0 else human(x, "ns")))
        ax.grid(visible=True, axis="x")
        ax.spines["left"].set_visible(False)
        ax.set_title(label, fontsize=8, fontweight="normal", color=MUTED, pad=3)
    figure.text(0.02, 1 - 0.13 / size[1], panel.title, va="center", fontsize=9, fontweight="bold")
    axes[-1].set_xlabel(panel.x_label)


def _legend(part: SubFigure, panel: Panel) -> None:
    """Name the lines in a PNG; bars carry their modes' names already, and the shades stand in the footer."""
    if not isinstance(panel, BarPanel):
        part.axes[0].legend(frameon=False, fontsize=7.5, loc="best")


_FONT = re.compile(r"font: (?:(\d+) )?([\d.]+)px [^;\"]*")
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
_REFERENCE = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def _inline(text: str, prefix: str) -> str:
    """Strip what only a file of its own needs, make ids unique and colours the page's."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = _REFERENCE.sub(lambda match: f"{match[1]}{prefix}-", body)
    body = _COLOUR.sub(lambda match: _VARIABLES[match[0]], body)
    body = _FONT.sub(
        lambda match: f"font-size: {match[2]}px" + (f"; font-weight: {match[1]}" if match[1] else ""), body
    )
    body = re.sub(r' (?:xmlns:xlink|xmlns|version)="[^"]*"', "", body, count=3)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return body.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()
