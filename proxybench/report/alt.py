"""Figures in words, for those who cannot see them: what is drawn, who is lowest at the largest size, by how much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxybench.report.shapes import BarPanel, CurvePanel, LinePanel
from proxybench.report.words import DIRECT, REFERENCE, count, distance, join, short
from proxybench.units import INSTRUCTIONS, resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.shapes import Panel

_Found = list[tuple[float, float, bool, str]]
"""Value, what it is uncertain by, whether it is only a lower bound, and whose it is."""


def describe(panels: Sequence[Panel], *, below: str) -> str:
    """Return the alternative text of a figure; ``below`` says what its tables hold."""
    kind = _kind(panels)
    return " ".join([kind, *(_sentence(panel) for panel in panels), below])


def _kind(panels: Sequence[Panel]) -> str:
    first = panels[0]
    many = count(len(panels), "panel")
    if isinstance(first, BarPanel):
        return f"Stacked bars of {first.x_label}, {many}."
    if isinstance(first, CurvePanel):
        return f"Share of connections over {first.x_label}, a rising curve for each mode, {many}."
    scale = "logarithmic" if first.log else "linear"
    over = sorted({panel.x_label for panel in panels if isinstance(panel, LinePanel)}, reverse=True)
    return f"Lines of {first.y_label}, {scale}, over {join(over)}, {many}."


def _sentence(panel: Panel) -> str:
    if isinstance(panel, LinePanel):
        return _lines(panel)
    if isinstance(panel, CurvePanel):
        return f"{panel.title}, what half of the connections took at most: {_ranking(_middles(panel), panel.unit)}."
    size, bars = panel.groups[-1]
    found = [(bar.shown, bar.uncertainty, bar.bounded, bar.label) for bar in bars]
    return f"{panel.title}, {size}: {_ranking(found, panel.unit)}."


def _lines(panel: LinePanel) -> str:
    own = [(line, point) for line in panel.lines if line.mode != DIRECT for point in line.points]
    largest = max(point.x for _, point in own)
    found = [(point.y, point.uncertainty, point.bounded, line.label) for line, point in own if point.x == largest]
    noun = "Service" if panel.x_label == "Services" else "endpoint"
    return f"{panel.title}, {count(round(largest), noun)}: {_ranking(found, panel.unit)}."


def _middles(panel: CurvePanel) -> _Found:
    found = []
    for curve in panel.curves:
        places = sorted((abs(share - 0.5), place) for place, share in enumerate(curve.shares))
        found.append((curve.values[places[0][1]], 0.0, False, curve.label))
    return found


def _ranking(found: _Found, unit: str) -> str:
    """Name the lowest, the others after it, and how far the highest is above the lowest.

    Counted instructions are no time, and the reference is nobody's proxy: neither is ranked.
    """
    if unit == INSTRUCTIONS:
        return ", ".join(_text(each, unit) for each in found)
    ordered = sorted(found, key=lambda each: (not math.isfinite(each[0]), each[2], each[0]))
    apart = [each for each in ordered if each[3].startswith(REFERENCE)]
    ranked = [each for each in ordered if each not in apart]
    return "; ".join(filter(None, (_ranked(ranked, unit), *(_text(each, unit) for each in apart))))


def _ranked(ordered: _Found, unit: str) -> str:
    texts = [_text(each, unit) for each in ordered]
    if len(ordered) < 2:  # noqa: PLR2004 - no order
        return "".join(texts)
    (low, unsure, low_bounded, _), (high, _, bounded, _) = ordered[0], ordered[-1]
    apart = ""
    if low > unsure and math.isfinite(high) and not low_bounded:
        apart = f" ({'at least ' if bounded else ''}{distance(high / low)})"
    return f"lowest {', then '.join(texts)}{apart}"


def _text(found: tuple[float, float, bool, str], unit: str) -> str:
    value, unsure, bounded, label = found
    return f"{label} {_value(value, unit, unsure, bounded=bounded)}"


def _value(value: float, unit: str, unsure: float, *, bounded: bool) -> str:
    if not math.isfinite(value):
        return "timed out"
    return f"at least {short(value, unit)}" if bounded else resolved(value, unit, unsure, short)
