from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxybench.report.tax import tax_panels, tax_table
from proxybench.report.words import DIRECT
from tests.unit.report.conftest import make_record
from tests.unit.report.made import series

if TYPE_CHECKING:
    from proxybench.stats.summary import SummaryRecord


def records(mode: str, **changes: Any) -> list[SummaryRecord]:
    kinds = (("bare", "none", 10e3), ("direct", "none", 20e3), ("connect", "last", 30e3))
    return [
        make_record(
            mode=mode,
            services=size,
            scenario="steady",
            metric=f"forwarding.{name}",
            position=position,
            median=median,
            **changes,
        )
        for name, position, median in kinds
        for size in (10, 100)
    ]


def test_each_subject_has_a_panel_with_its_three_kinds_of_connection() -> None:
    panels = tax_panels([*records("iptables"), *records("nftables")])
    assert [panel.title for panel in panels] == ["iptables", "nftables"]
    assert [(line.mode, line.style, line.points[0].y) for line in panels[0].lines] == [
        (DIRECT, 0, 10e3),
        ("iptables", 1, 20e3),
        ("iptables", 0, 30e3),
    ]


def test_a_legend_tells_two_of_one_mode_apart() -> None:
    both = [records("iptables", settings=f"iptables={backend}") for backend in ("legacy", "nft")]
    panels = tax_panels([*both[0], *both[1]])
    labels = [line.label for panel in panels for line in panel.lines if line.mode != DIRECT]
    assert labels == [
        "iptables (legacy), straight to a pod, rules present",
        "iptables (legacy), through the Service, last rule",
        "iptables (nft), straight to a pod, rules present",
        "iptables (nft), through the Service, last rule",
    ]


def test_userspaces_connect_is_no_way_to_the_endpoint() -> None:
    (panel,) = tax_panels(records("userspace", kind="reference"))
    assert [line.style for line in panel.lines] == [0, 1]


def test_two_clocks_never_share_a_panel() -> None:
    panels = tax_panels([*records("iptables"), *records("iptables", clock="instructions")])
    assert [panel.y_label for panel in panels] == [
        "time to connect (wall clock)",
        "instructions to connect (no time)",
    ]


def test_neither_widths_nor_ways_share_a_line() -> None:
    wide = [replace(record, endpoints_per_service=10, median=2 * record.median) for record in records("iptables")]
    outside = [replace(record, path="node_port@other", median=9e9) for record in records("iptables")]
    panels = tax_panels([*wide, *records("iptables"), *outside])
    assert [panel.title for panel in panels] == ["iptables, 2 endpoints each", "iptables, 10 endpoints each"]
    assert [[(point.x, point.y) for point in panel.lines[2].points] for panel in panels] == [
        [(10, 30e3), (100, 30e3)],
        [(10, 60e3), (100, 60e3)],
    ]


def test_the_table_tells_times_of_a_node_without_rules() -> None:
    table = tax_table(
        [
            series("forwarding.bare", "steady", 10.0, 20.0),
            series("forwarding.direct", "steady", 20.0, 40.0),
            series("forwarding.connect", "steady", 30.0, 60.0, position="last"),
            series("forwarding.connect", "steady", 25.0, 50.0, position="first"),
        ],
        "wall clock",
    )
    assert table is not None
    x = "\N{MULTIPLICATION SIGN}"
    assert [(row[1].text, row[2].text, row[2].detail) for row in table.rows] == [
        ("no rules", "15 ns", ""),
        ("straight to a pod, rules present", "30 ns", f"{x}2 (2 to 2, 2 repetitions)"),
        ("through the Service, last rule", "45 ns", f"{x}3 (3 to 3, 2 repetitions)"),
    ]
    assert tax_table([], "wall clock") is None


def test_rows_of_two_widths_are_told_apart() -> None:
    """Both were called "100"."""
    table = tax_table(
        [
            series("forwarding.bare", "steady", value, value, endpoints_per_service=width)
            for width, value in ((2, 10.0), (16, 20.0))
        ],
        "wall clock",
    )
    assert table is not None
    assert [head.text for head in table.heads] == ["Services", "Endpoints each", "Connection", "nftables"]
    assert (table.keys, [[cell.text for cell in row] for row in table.rows]) == (
        3,
        [["100", "2", "no rules", "10 ns"], ["100", "16", "no rules", "20 ns"]],
    )
