from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from proxybench.report.breakdown import BEFORE, MAKING
from proxybench.report.colours import style
from proxybench.report.drawing import Drawing, Label, Marker, Polyline, Rect, text_width
from proxybench.report.figure import compose
from proxybench.report.layout import OPACITY, draw
from proxybench.report.png import DPI, png
from proxybench.report.shapes import (
    MEDIAN,
    Bar,
    BarPanel,
    CurvePanel,
    DataPoint,
    Distribution,
    Line,
    LinePanel,
    Panel,
)
from proxybench.report.svg import svg, svg_file


def panel(*points: DataPoint, log: bool = True, unit: str = "ns") -> LinePanel:
    return LinePanel("Title", "Services", "quantity", unit, (Line("ipvs", "IPVS", 0, points),), log)


def texts(drawing: Drawing) -> list[str]:
    return [item.text for item in drawing.items if isinstance(item, Label)]


def markers(drawing: Drawing) -> list[tuple[float, float]]:
    return [(item.x, item.y) for item in drawing.items if isinstance(item, Marker)]


def test_a_logarithmic_panel_spaces_decades_evenly() -> None:
    lines = panel(*(DataPoint(x, y, None, None, bounded=False) for x, y in ((10, 1e3), (100, 1e4), (1000, 1e5))))
    drawing = draw(lines, [lines])
    names = ["1 µs", "2 µs", "5 µs", "10 µs", "20 µs", "50 µs", "100 µs", "10", "100", "1,000"]
    (x1, y1), (x2, y2), (x3, y3) = markers(drawing)
    assert (x2 - x1, y1 - y2) == pytest.approx((x3 - x2, y2 - y3))
    assert texts(drawing) == ["Title", "quantity", *names, "Services"]


def test_memory_has_binary_marks() -> None:
    lines = panel(
        *(DataPoint(x, y * 2**20, None, None, bounded=False) for x, y in ((10, 20), (100, 180))), unit="bytes"
    )
    assert texts(draw(lines, [lines]))[2:6] == ["16 MiB", "32 MiB", "64 MiB", "128 MiB"]


def test_what_is_not_resolved_is_named_at_the_lower_edge_and_a_bound_above_its_marker() -> None:
    lines = panel(
        DataPoint(10, 0.0, None, None, bounded=False, uncertainty=3e6),
        DataPoint(100, 5e6, None, None, bounded=True),
    )
    drawing = draw(lines, [lines])
    words = {item.text: item for item in drawing.items if isinstance(item, Label)}
    (_, lowest), (_, bound) = markers(drawing)
    assert words["≤ 3 ms ↓"].y == lowest - 5
    assert words["≥"].y == bound - 5


def test_two_that_are_not_resolved_at_one_size_are_named_one_above_the_other() -> None:
    """Their names lay on each other, and across the axis."""
    points = (
        DataPoint(10, 0.0, None, None, bounded=False, uncertainty=3e6),
        DataPoint(100, 5e6, None, None, bounded=False),
    )
    at_the_end = (points[1], replace(points[0], x=1000))
    two = (
        Line("ipvs", "IPVS", 0, points),
        Line("nftables", "nftables", 0, points),
        Line("iptables", "x", 0, at_the_end),
    )
    lines = LinePanel("Title", "Services", "quantity", "ns", two)
    drawing = draw(lines, [lines])
    first, second, last = [item for item in drawing.items if isinstance(item, Label) and item.text == "≤ 3 ms ↓"]
    axis = next(item.points[0][0] for item in drawing.items if isinstance(item, Polyline) and item.width == 0.8)
    assert axis < first.x == second.x
    assert (first.y - second.y, first.colour, second.colour) == (10, "ipvs", "nftables")
    assert last.x + text_width(last.text, last.size) <= drawing.width


def test_intervals_are_cut_at_the_edge_without_a_cap() -> None:
    lines = panel(DataPoint(10, 1e6, 1e6, 1e12, bounded=False), DataPoint(100, 1e6, 9e5, 2e6, bounded=False))
    bars = [item for item in draw(lines, [lines]).items if isinstance(item, Polyline) and item.width == 1.1]
    assert [len(bar.points) for bar in bars] == [4, 6]  # a cap is three points, a cut end is one
    assert min(y for bar in bars for _, y in bar.points) == 34.0  # the upper edge


def test_panels_of_a_figure_share_their_range() -> None:
    low = panel(*(DataPoint(x, 1e6, None, None, bounded=False) for x in (10, 100)))
    high = panel(*(DataPoint(x, 1e9, None, None, bounded=False) for x in (10, 100)))
    alone, shared = markers(draw(low, [low]))[0], markers(draw(low, [low, high]))[0]
    assert shared[1] > alone[1]


def test_bars_are_as_long_as_their_parts() -> None:
    parts = (("control loop, user", 30.0), ("control loop, system", 10.0))
    bars = BarPanel("Title", "CPU time", (("10 Services", (Bar("ipvs", "IPVS", parts), Bar("ipvs", "b", parts[:1]))),))
    drawing = draw(bars, [bars])
    first, second, other = (item for item in drawing.items if isinstance(item, Rect) and item.colour == "ipvs")
    assert (first.width / second.width, other.width) == pytest.approx((3.0, first.width))
    assert (first.opacity, second.opacity) == (1.0, OPACITY["control loop, system"])
    assert second.x == pytest.approx(first.x + first.width)
    assert "40 ns" in texts(drawing)
    assert "30 ns" in texts(drawing)


def test_a_curve_ends_where_the_time_outs_begin() -> None:
    curves = CurvePanel(
        "10 Services", "time", (Distribution("ipvs", "IPVS", 0, (1e3, 2e3, float("inf")), (0.0, 0.5, 1.0)),)
    )
    (curve,) = (item for item in draw(curves, [curves]).items if isinstance(item, Polyline) and item.width == 1.8)
    assert len(curve.points) == 3  # a step to the right, a step up
    half = next(item for item in draw(curves, [curves]).items if isinstance(item, Label) and item.text == "50 %")
    assert curve.points[-1][1] == pytest.approx(half.y - 3)


def test_nothing_leaves_the_panel() -> None:
    long = "instructions until the answer (no time), of all that ran"
    values = tuple(10.0 ** (place / 22) for place in range(201))
    shares = tuple(place / 200 for place in range(201))
    panels: list[Panel] = [
        panel(*(DataPoint(x, y, y / 2, y * 2, bounded=False) for x, y in ((10, 1e3), (10_000, 1e10)))),
        CurvePanel("10 Services", long, (Distribution("ipvs", "IPVS", 0, values, shares),)),
    ]
    for each in panels:
        drawing = draw(each, [each])
        for item in drawing.items:
            if isinstance(item, Label):
                # DejaVu's letters are narrower than what text_width reckons with: 0.52 of the size on the average
                width = text_width(item.text, item.size) * 0.52 / 0.6
                left = item.x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor]
                assert left >= 0
                assert left + width <= drawing.width
                assert 0 <= item.y <= drawing.height


def test_svg_escapes_words_and_takes_colours_from_the_page() -> None:
    drawing = Drawing(
        10,
        20,
        (
            Label(1, 2, "<b>&", anchor="end", bold=True),
            Polyline(((0, 0), (1.5, 2)), "ink", 1.0, (2.0, 1.0)),
            Rect(0, 0, 3, 4, "ipvs", 0.3),
            Marker(5, 5, "x", "direct"),
            Marker(5, 5, "v", "some new mode"),
        ),
    )
    assert svg(drawing) == (
        '<svg aria-hidden="true" focusable="false" viewBox="0 0 10 20">'
        '<text x="1" y="2" font-size="8.8" text-anchor="end" font-weight="650" style="fill:var(--muted)">'
        "&lt;b&gt;&amp;</text>"
        '<polyline points="0,0 1.5,2" fill="none" stroke-width="1" stroke-dasharray="2 1" style="stroke:var(--ink)"/>'
        '<rect x="0" y="0" width="3" height="4" opacity="0.3" style="fill:var(--mode-ipvs)"/>'
        '<path d="M-2.5-2.5 2.5 2.5M2.5-2.5-2.5 2.5" transform="translate(5 5)" style="stroke:var(--mode-direct)"/>'
        '<path d="M0 3.3 3.2-2.6H-3.2Z" transform="translate(5 5)" stroke-width=".7" '
        'style="fill:var(--mode-other);stroke:var(--ground)"/></svg>'
    )


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)])
def test_a_picture_has_room_for_all_panels(count: int, columns: int, rows: int) -> None:
    lines = panel(DataPoint(10, 1e3, None, None, bounded=False), DataPoint(100, 1e4, None, None, bounded=False))
    drawing = draw(lines, [lines])
    whole = compose([lines] * count, [drawing] * count, "Heading", ("the clock",))
    assert (whole.width, whole.height) == (columns * 276 + 14, 30 + 16 + rows * (214 + 14) + 12 + 7)
    width, height = struct.unpack(">II", png(whole)[16:24])
    assert (width, height) == pytest.approx((whole.width * DPI / 72, whole.height * DPI / 72), abs=1)


def test_a_file_of_its_own_holds_caption_colours_and_what_it_shows() -> None:
    lines = panel(DataPoint(10, 1e3, None, None, bounded=False), DataPoint(100, 1e4, None, None, bounded=False))
    caption = ("wall clock: real time on this machine", "proxybench, run 1; " + "a long program, " * 12)
    text = svg_file(compose([lines], [draw(lines, [lines])], "Heading", caption), "what <it> shows", style())
    root = ET.fromstring(text)  # noqa: S314 - we wrote it
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "Heading"
    assert "IPVS" in words
    assert "wall clock: real time on this machine" in words
    assert all(len(word or "") < 60 for word in words)  # the caption is broken into lines
    assert root[0].text == "what <it> shows"
    used = set(re.findall(r"var\((--[a-z-]+)\)", text))
    assert {name for name in used if f"{name}:#" not in text} == set()
    assert "prefers-color-scheme:dark" in text


def test_a_legend_breaks_where_the_figure_ends() -> None:
    points = (DataPoint(10, 1e3, None, None, bounded=False), DataPoint(100, 1e4, None, None, bounded=False))
    lines = LinePanel("T", "Services", "q", "ns", tuple(Line("ipvs", f"a long name {n}", n, points) for n in range(4)))
    whole = compose([lines], [draw(lines, [lines])], "Heading", ())
    keys = [item for item in whole.items if isinstance(item, Label) and item.text.startswith("a long")]
    assert len({key.y for key in keys}) > 1
    assert all(key.x + text_width(key.text, key.size) <= whole.width for key in keys)


def test_the_parts_of_stacks_are_named_in_the_colour_of_the_first() -> None:
    bars = BarPanel("T", "time", (("10 Services", (Bar("ipvs", "IPVS", ((BEFORE, 5.0), (MAKING, 3.0)), 7.0),)),))
    whole = compose([bars], [draw(bars, [bars])], "Heading", ())
    squares = [item.colour for item in whole.items if isinstance(item, Rect) and item.width == item.height == 10]
    assert squares == ["direct", "ipvs"]
    assert "7 ns" in texts(whole)  # not the length of the stack


def test_bars_of_one_part_have_no_legend() -> None:
    bars = BarPanel("T", "time", (("ClusterIP", (Bar("ipvs", "IPVS", ((MEDIAN, 5.0),)),)),))
    whole = compose([bars], [draw(bars, [bars])], "Heading", ())
    squares = [item.colour for item in whole.items if isinstance(item, Rect) and item.width == item.height == 10]
    assert squares == []
    assert "median" not in texts(whole)


def test_numbers_in_a_drawing_are_short() -> None:
    lines = panel(DataPoint(10, 1e3, None, None, bounded=False), DataPoint(100, 1e4, None, None, bounded=False))
    assert not re.search(r"\d\.\d{3}", svg(draw(lines, [lines])))


def test_a_long_title_is_written_smaller() -> None:
    points = (DataPoint(10, 1e3, None, None, bounded=False), DataPoint(100, 1e4, None, None, bounded=False))
    long = LinePanel(
        "1 Service: A batch of Services added to N, last rule", "Services", "q", "ns", panel(*points).lines
    )
    for each, size in ((panel(*points), 10.2), (long, 262 / (0.6 * 52))):
        title = next(item for item in draw(each, [each]).items if isinstance(item, Label))
        assert title.size == pytest.approx(size)
