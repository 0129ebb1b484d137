"""From a panel to its drawing: scales, marks, lines, bars and words at their places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.report.breakdown import (
    AFTER,
    APPLYING,
    BEFORE,
    BUILD,
    KERNEL,
    MAKING,
    TOOL,
    UNEXPLAINED,
    UNSPLIT,
    WAIT,
)
from proxybench.report.drawing import (
    GRID,
    GROUND,
    INK,
    LARGE,
    MUTED,
    SMALL,
    Drawing,
    Label,
    Marker,
    Polyline,
    Rect,
    text_width,
)
from proxybench.report.event_sections import LOST, OUTAGE, REFUSED
from proxybench.report.shapes import MEDIAN, BarPanel, CurvePanel, LinePanel
from proxybench.report.stacks import AGENT, RELAY, SOFTIRQ, SYSTEM, USER, WHOLE
from proxybench.report.ticks import linear_ticks, log_ticks, without_overlap
from proxybench.report.words import DIRECT, ODD, short, style_of
from proxybench.units import resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.drawing import Item
    from proxybench.report.shapes import Bar, DataPoint, Line, Panel

OPACITY = {
    USER: 1.0,
    WHOLE: 0.84,
    SYSTEM: 0.66,
    RELAY: 0.42,
    SOFTIRQ: 0.22,
    BEFORE: 1.0,
    WAIT: 1.0,
    MAKING: 1.0,
    BUILD: 1.0,
    UNSPLIT: 0.84,
    APPLYING: 0.55,
    TOOL: 0.55,
    KERNEL: 0.36,
    AFTER: 0.2,
    UNEXPLAINED: 1.0,
    AGENT: 1.0,
    MEDIAN: 1.0,
    OUTAGE: 0.84,
    LOST: 0.84,
    REFUSED: 0.42,
}
"""Parts of a stack are shades of its mode's colour, in the order of a legend."""

_COLOURS = {AGENT: DIRECT, WAIT: DIRECT, BEFORE: DIRECT, UNEXPLAINED: ODD}
"""What is no work of the mode has a colour of its own."""

WIDTH, HEIGHT = 262.0, 214.0
_DASHES: tuple[tuple[float, ...], ...] = ((), (6.0, 3.0), (1.7, 2.4), (6.0, 2.0, 1.7, 2.0))
_TOP, _BOTTOM, _RIGHT = 34.0, 34.0, 12.0
_LEAST_SPAN = 3.0  # a flat line must not look like a mountain
_MOST_ROOM = 10.0  # times that a bar may reach beyond all medians before the panel's edge cuts it
_BAR, _BAR_STEP = 10.0, 13.0
_GROUP_HEAD, _GROUP_FOOT, _GROUP_GAP = 14.0, 13.0, 6.0
_LONGEST = 0.78  # of the room, since the number stands behind the bar


@dataclass(frozen=True)
class _Scale:
    """From values to points, straight or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def within(self, value: float) -> float:
        """Return the place of a value, at the nearer edge if it lies beyond."""
        return self(min(self.high, max(self.low, value)))


def draw(panel: Panel, among: Sequence[Panel]) -> Drawing:
    """Return a panel's drawing. ``among`` are the panels that it shares its range with."""
    if isinstance(panel, BarPanel):
        return _bars(panel)
    if isinstance(panel, LinePanel):
        return _lines(panel, [each for each in among if isinstance(each, LinePanel) and each.y_label == panel.y_label])
    return _curves(panel, [each for each in among if isinstance(each, CurvePanel) and each.x_label == panel.x_label])


def line_dash(mode: str, style: int) -> tuple[float, ...]:
    """Return how lines of the first, second … proxier are dashed, and the reference."""
    return (2.5, 2.5) if mode == DIRECT else _DASHES[style % len(_DASHES)]


def part_colour(part: str, mode: str) -> str:
    """Return the colour of a part of a stack: its mode's, but for what is no work of the mode."""
    return _COLOURS.get(part, mode)


def _lines(panel: LinePanel, among: Sequence[LinePanel]) -> Drawing:
    y_low, y_high, log = _y_range(panel, among)
    marks = log_ticks(y_low, y_high, panel.unit, most=7) if log else linear_ticks(y_low, y_high, panel.unit)
    labels = ["0" if mark == 0 else short(mark, panel.unit) for mark in marks]
    left = 8 + max((text_width(label, SMALL) for label in labels), default=0.0)
    xs = sorted({point.x for line in panel.lines for point in line.points})
    x = _Scale(xs[0] / 1.35, xs[-1] * 1.35, left, WIDTH - _RIGHT, log=True)
    y = _Scale(y_low, y_high, HEIGHT - _BOTTOM, _TOP, log)
    items: list[Item] = [*_heads(panel.title, panel.y_label), *_y_axis(x, y, [y(mark) for mark in marks], labels)]
    items += _x_axis(x, y.start, xs, [f"{size:,.0f}" for size in xs], panel.x_label)
    items += [
        Polyline(_both(x(math.sqrt(mark.after * mark.before)), y), mark.mode, 1.2, (1.4, 2.2)) for mark in panel.marks
    ]
    if not log:
        items.append(Polyline(((x.start, y(0)), (x.end, y(0))), MUTED, 0.9))
    for line in reversed(panel.lines):  # the first one lies on top
        items += _line(line, x, y)
    return Drawing(WIDTH, HEIGHT, (*items, *_faint(panel, x, y)))


def _faint(panel: LinePanel, x: _Scale, y: _Scale) -> list[Item]:
    """Name what lies below a logarithmic scale, beside its marker: of several at one size, one above the other."""
    items: list[Item] = []
    below: dict[float, int] = {}
    points = [(line.mode, point) for line in panel.lines for point in line.points if y.log and point.y <= 0]
    for mode, point in points:
        text = f"{resolved(point.y, panel.unit, point.uncertainty, short)} ↓"
        wide, row = text_width(text, SMALL), below.setdefault(point.x, 0)
        below[point.x] += 1
        right = x(point.x) + 6 + wide <= WIDTH
        left = x(point.x) + 6 if right else x(point.x) - 6 - wide
        base = y.start - 5 - 10 * row
        items.append(Rect(left - 1, base - 8, wide + 2, 10, GROUND, 0.8))
        items.append(Label(left, base, text, colour=mode, bold=True))
    return items


def _y_range(panel: LinePanel, among: Sequence[LinePanel]) -> tuple[float, float, bool]:
    """Return lowest and highest value of the axis, and whether it is logarithmic."""
    low, high = _range(among)
    if any(point.bounded for each in among for line in each.lines for point in line.points):
        high *= 1.4  # room for the sign
    if panel.log and low > 0:
        widen = max(1.0, math.sqrt(_LEAST_SPAN * low / high))
        return low / widen / 1.25, high * widen * 1.25, True
    margin = 0.06 * ((high - low) or 1)
    return min(low, 0) - margin, max(high, 0) + margin, False


def _range(panels: Sequence[LinePanel]) -> tuple[float, float]:
    points = [point for panel in panels for line in panel.lines for point in line.points]
    lows = [point.y if point.low is None else min(point.low, point.y) for point in points]
    log = any(panel.log for panel in panels)
    if log:
        # Nothing at or below zero has a place on a logarithmic scale: it is drawn at its lower edge, and named.
        lows = [low for low in (*lows, *(point.y for point in points)) if low > 0] or [0.0]
    highs = [point.y if point.high is None else max(point.high, point.y) for point in points]
    low, high = min(lows), max(highs)
    middles = [point.y for point in points if point.y > 0]
    if middles and log:
        # Two repetitions that differ have an interval of many decades: the medians must stay legible beside it.
        low, high = max(low, min(middles) / _MOST_ROOM), min(high, max(middles) * _MOST_ROOM)
    return low, high


def _line(line: Line, x: _Scale, y: _Scale) -> list[Item]:
    style = style_of(line.mode)
    reference = line.mode == DIRECT
    points = tuple((x(point.x), y.within(point.y)) for point in line.points)
    items: list[Item] = [part for point in line.points for part in _interval(point, line.mode, x, y)]
    items.append(Polyline(points, line.mode, 1.2 if reference else 1.8, line_dash(line.mode, line.style)))
    items += [Marker(*point, style.marker, line.mode) for point in points]
    for point, (across, height) in zip(line.points, points, strict=True):
        if point.bounded and not (y.log and point.y <= 0):
            items.append(Label(across, height - 5, "≥", LARGE, line.mode, "middle", bold=True))
    return items


def _interval(point: DataPoint, colour: str, x: _Scale, y: _Scale) -> list[Item]:
    """Draw the interval as a bar, cut at the panel's edge; only an end that is inside has a cap."""
    if point.low is None or point.high is None:
        return []
    across = x(point.x)
    points: list[tuple[float, float]] = []
    for end in (point.low, point.high):
        height = y.within(end)
        cap = [(across - 3, height), (across + 3, height)] if y.low <= end <= y.high else []
        points += [*cap, (across, height)] if end == point.low else [(across, height), *cap]
    return [Polyline(tuple(points), colour, 1.1)]


def _curves(panel: CurvePanel, among: Sequence[CurvePanel]) -> Drawing:
    values = [value for each in among for curve in each.curves for value in curve.values if _drawable(value)]
    low, high = (min(values) / 1.1, max(values) * 1.1) if values else (1.0, 10.0)
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    labels = [f"{100 * share:.0f} %" for share in shares]
    x = _Scale(low, high, 8 + text_width("100 %", SMALL), WIDTH - _RIGHT, log=True)
    y = _Scale(0.0, 1.02, HEIGHT - _BOTTOM, _TOP, log=False)
    items: list[Item] = [
        *_heads(panel.title, "share of connections"),
        *_y_axis(x, y, [y(each) for each in shares], labels),
    ]
    marks = log_ticks(low, high, panel.unit, most=5)
    items += _x_axis(x, y.start, marks, [short(mark, panel.unit) for mark in marks], panel.x_label)
    for curve in panel.curves:
        points: list[tuple[float, float]] = []
        for value, share in zip(curve.values, curve.shares, strict=True):
            if _drawable(value):
                points += [(x(value), points[-1][1])] if points else []
                points.append((x(value), y(share)))
        items.append(Polyline(tuple(points), curve.mode, 1.8, line_dash(curve.mode, curve.style)))
        marker = style_of(curve.mode).marker
        items += [Marker(*points[place], marker, curve.mode) for place in range(60, len(points), 120)]
    return Drawing(WIDTH, HEIGHT, tuple(items))


def _drawable(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _bars(panel: BarPanel) -> Drawing:
    left = 10 + max(text_width(bar.label, SMALL) for _, bars in panel.groups for bar in bars)
    items: list[Item] = [_title(panel.title)]
    top = 18.0
    most = max(bar.total for _, bars in panel.groups for bar in bars)
    for label, bars in panel.groups:
        items.append(Label(left, top + 10, label, SMALL, MUTED))
        top += _GROUP_HEAD
        bottom = top + _BAR_STEP * len(bars)
        longest = (most if panel.common else max(bar.total for bar in bars)) or 1.0
        x = _Scale(0.0, longest, left, left + _LONGEST * (WIDTH - _RIGHT - left), log=False)
        marks = linear_ticks(0.0, longest * 1.15, panel.unit, most=4)
        items += [Polyline(((x(mark), top), (x(mark), bottom)), MUTED if mark == 0 else GRID, 0.8) for mark in marks]
        for row, bar in enumerate(bars):
            items += _bar(bar, top + row * _BAR_STEP, x, panel.unit)
        texts = ["0" if mark == 0 else short(mark, panel.unit) for mark in marks]
        items += _labels([x(mark) for mark in marks], texts, bottom + 9)
        top = bottom + _GROUP_FOOT + _GROUP_GAP
    items.append(_axis_name(panel.x_label, (left + WIDTH - _RIGHT) / 2, top + 8))
    return Drawing(WIDTH, top + 14, tuple(items))


def _bar(bar: Bar, top: float, x: _Scale, unit: str) -> list[Item]:
    upper = top + (_BAR_STEP - _BAR) / 2
    base = upper + _BAR - 2
    items: list[Item] = [Label(x.start - 5, base, bar.label, SMALL, MUTED, "end")]
    begun = 0.0
    for part, value in bar.parts:
        colour = part_colour(part, bar.mode)
        items.append(Rect(x(begun), upper, x(begun + value) - x(begun), _BAR, colour, OPACITY[part]))
        begun += value
        if begun < bar.total:  # neighbours of like shades are told apart by a gap
            items.append(Rect(x(begun) - 0.3, upper, 0.6, _BAR, GROUND))
    shown = f"≥ {short(bar.shown, unit)}" if bar.bounded else resolved(bar.shown, unit, bar.uncertainty, short)
    items.append(Label(x(bar.total) + 4, base, shown, SMALL, INK))
    return items


def _heads(title: str, y_label: str) -> list[Item]:
    return [_title(title), Label(2, 24, y_label, SMALL, MUTED)]


def _title(title: str) -> Label:
    """Write a title, a long one smaller, so that it does not reach into its neighbour's."""
    return Label(2, 11, title, min(LARGE, LARGE * WIDTH / text_width(title, LARGE)), INK, bold=True)


def _y_axis(x: _Scale, y: _Scale, places: Sequence[float], labels: Sequence[str]) -> list[Item]:
    grid = [Polyline(((x.start, place), (x.end, place)), GRID, 0.7) for place in places]
    words = [
        Label(x.start - 4, place + 3, label, SMALL, MUTED, "end") for place, label in zip(places, labels, strict=True)
    ]
    return [*grid, *words, Polyline(_both(x.start, y), MUTED, 0.8)]


def _x_axis(x: _Scale, bottom: float, values: Sequence[float], labels: Sequence[str], name: str) -> list[Item]:
    places = [x(value) for value in values]
    return [
        *(Polyline(((place, bottom), (place, bottom + 3)), MUTED, 0.8) for place in places),
        *_labels(places, labels, bottom + 13),
        Polyline(((x.start, bottom), (x.end, bottom)), MUTED, 0.8),
        _axis_name(name, (x.start + x.end) / 2, bottom + 27),
    ]


def _axis_name(name: str, middle: float, base: float) -> Label:
    """Put a name below the middle of its axis, a long one below the middle of the panel."""
    fits = middle + text_width(name, SMALL) / 2 <= WIDTH
    return Label(middle if fits else WIDTH / 2, base, name, SMALL, MUTED, "middle")


def _labels(places: Sequence[float], labels: Sequence[str], base: float) -> list[Item]:
    kept = without_overlap(places, [text_width(label, SMALL) for label in labels], 4.0)
    return [Label(places[number], base, labels[number], SMALL, MUTED, "middle") for number in kept]


def _both(across: float, y: _Scale) -> tuple[tuple[float, float], tuple[float, float]]:
    return (across, y.start), (across, y.end)
