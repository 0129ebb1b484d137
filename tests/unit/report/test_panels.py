from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.report.data import Curve
from proxybench.report.panels import curve_panels, line_panels
from proxybench.report.shapes import LegendEntry, legend_entries
from proxybench.report.stacks import AGENT, RELAY, SOFTIRQ, SYSTEM, USER, WHOLE, bar_panels
from tests.unit.report.conftest import make_record

if TYPE_CHECKING:
    from proxybench.report.data import ReportData


def test_scenarios_have_panels_in_the_order_of_reading(data: ReportData) -> None:
    panels = line_panels(data.of("sync.end_to_end"), "sync latency")
    assert [panel.title for panel in panels] == [
        "Cold start with N Services",
        "One Service added to N",
        "One endpoint changed",
        "One Service deleted",
    ]
    assert {panel.y_label for panel in panels} == {"sync latency, in instructions (no time)"}
    assert [line.label for line in panels[0].lines] == ["iptables", "IPVS", "userspace"]
    assert [point.bounded for point in panels[0].lines[2].points] == [False, False, False, True]


def test_clocks_never_share_a_panel() -> None:
    records = [make_record(services=size, clock=clock) for clock in ("wall", "instructions") for size in (10, 100)]
    panels = line_panels(records, "sync latency")
    assert [panel.y_label for panel in panels] == [
        "sync latency, in instructions (no time)",
        "sync latency (wall clock)",
    ]


def test_one_service_with_many_endpoints_has_a_panel_of_its_own() -> None:
    scale = [make_record(services=size) for size in (10, 100)]
    wide = [make_record(services=1, endpoints_per_service=width) for width in (10, 100, 1000)]
    panels = line_panels([*scale, *wide], "sync latency")
    assert [(panel.title, panel.x_label) for panel in panels] == [
        ("One Service added to N, 2 endpoints each", "Services"),
        ("1 Service: One Service added to N", "Endpoints of each Service"),
    ]
    assert [point.x for point in panels[1].lines[0].points] == [10, 100, 1000]


def test_a_run_of_one_size_shows_dots() -> None:
    (panel,) = line_panels([make_record()], "sync latency")
    assert len(panel.lines[0].points) == 1


def test_proxiers_are_told_apart() -> None:
    records = [make_record(services=size, kind=name) for name in ("reference", "kube-proxy") for size in (10, 100)]
    (panel,) = line_panels(records, "sync latency")
    assert [(line.label, line.style) for line in panel.lines] == [
        ("iptables", 0),
        ("reference iptables", 1),
    ]


def test_cpu_by_path_is_left_to_the_table() -> None:
    whole = make_record(metric="cpu.control_loop", scenario="add-paths", path="none", median=3.0)
    alone = make_record(metric="cpu.control_loop", scenario="add-paths", path="node_port", median=2.0)
    (panel,) = bar_panels([whole, alone])
    assert [[bar.parts for bar in bars] for _, bars in panel.groups] == [[((WHOLE, 3.0),)]]
    assert bar_panels([alone]) == []
    assert len(bar_panels([make_record(metric="cpu.control_loop", scenario="add-one", path="cluster_ip")])) == 1


def test_bars_split_the_loop_where_the_parts_are_known() -> None:
    parts = {"cpu.control_loop": 10.0, "cpu.control_loop.user": 4.0, "cpu.control_loop.system": 6.0, "cpu.agent": 1.0}
    records = [make_record(metric=metric, median=value) for metric, value in parts.items()]
    (panel,) = bar_panels(records)
    assert panel.groups[0][0] == "1,000 Services"
    assert panel.groups[0][1][0].parts == ((USER, 4.0), (SYSTEM, 6.0), (AGENT, 1.0))
    assert (panel.groups[0][1][0].total, panel.groups[0][1][0].shown) == (11.0, 10.0)  # our agent is no cost of it
    (whole,) = bar_panels([records[0], make_record(metric="cpu.softirq", median=3.0)])
    assert whole.groups[0][1][0].parts == ((WHOLE, 10.0), (SOFTIRQ, 3.0))


def test_user_and_system_add_up_to_the_control_loop() -> None:
    ticks = {"cpu.control_loop": 12.0, "cpu.control_loop.user": 10.0, "cpu.control_loop.system": 30.0}
    (panel,) = bar_panels([make_record(metric=metric, median=value) for metric, value in ticks.items()])
    assert panel.groups[0][1][0].parts == ((USER, 3.0), (SYSTEM, 9.0))
    none = {**ticks, "cpu.control_loop.user": 0.0, "cpu.control_loop.system": 0.0}
    (panel,) = bar_panels([make_record(metric=metric, median=value) for metric, value in none.items()])
    assert panel.groups[0][1][0].parts == ((WHOLE, 12.0),)


def test_the_relay_stands_beside_the_control_loop() -> None:
    parts = {"cpu.control_loop": 10.0, "cpu.relay": 50.0, "cpu.softirq": 2.0, "cpu.agent": 1.0}
    (panel,) = bar_panels(
        [make_record(mode="userspace", metric=metric, median=value) for metric, value in parts.items()]
    )
    assert panel.groups[0][1][0].parts == ((WHOLE, 10.0), (RELAY, 50.0), (SOFTIRQ, 2.0), (AGENT, 1.0))
    assert panel.groups[0][1][0].shown == 10.0


def test_a_loop_that_is_not_resolved_says_so_behind_its_bar() -> None:
    idle = make_record(metric="cpu.control_loop", scenario="idle", median=0.0, uncertainty=5e6)
    (panel,) = bar_panels([idle, make_record(metric="cpu.agent", scenario="idle", median=1e6)])
    bar = panel.groups[0][1][0]
    assert (bar.total, bar.shown, bar.uncertainty) == (1e6, 0.0, 5e6)


def test_curves_have_a_panel_per_size(data: ReportData) -> None:
    panels = curve_panels(data.curves)
    assert [panel.title for panel in panels] == ["10 Services", "100 Services", "1,000 Services", "10,000 Services"]
    curve = panels[0].curves[0]
    assert (curve.mode, curve.label, curve.style) == ("iptables", "iptables", 0)
    assert list(curve.values) == sorted(curve.values)
    assert (curve.shares[0], curve.shares[-1]) == (0.0, 1.0)


def test_two_of_one_mode_have_curves_that_differ() -> None:
    """Both backends of iptables were drawn as one and the same blue line."""
    curves = [Curve(make_record(settings=f"iptables={backend}"), (0.0,), (1.0,)) for backend in ("nft", "legacy")]
    (panel,) = curve_panels(curves)
    assert [(curve.label, curve.mode, curve.style) for curve in panel.curves] == [
        ("iptables (nft)", "iptables-nft", 0),
        ("iptables (legacy)", "iptables", 0),
    ]
    curves = [Curve(make_record(version=version), (0.0,), (1.0,)) for version in ("v1.37.2", "v1.30.14")]
    (panel,) = curve_panels(curves)
    assert [(curve.mode, curve.style) for curve in panel.curves] == [("iptables", 1), ("iptables", 0)]


def test_bytes_have_no_clock() -> None:
    records = [make_record(services=size, metric="memory.control_loop", unit="bytes") for size in (10, 100)]
    (panel,) = line_panels(records, "peak memory")
    assert panel.y_label == "peak memory"


def test_no_position_beside_others_is_the_endpoint_directly() -> None:
    records = [
        make_record(services=size, scenario="steady", position=position)
        for size in (10, 100)
        for position in ("last", "none")
    ]
    assert [panel.title for panel in line_panels(records, "round trip")] == ["Last rule", "Endpoint directly"]


def test_a_legend_names_each_line_once_and_the_reference_last() -> None:
    records = [make_record(services=size, mode=mode) for size in (10, 100) for mode in ("userspace", "iptables")]
    panels = line_panels(records, "time", reference=[make_record(services=10), make_record(services=100)])
    assert legend_entries([*panels, *panels]) == (
        LegendEntry("iptables", "iptables"),
        LegendEntry("userspace", "userspace"),
        LegendEntry("direct", "endpoint, no rules"),
    )
    assert legend_entries(bar_panels([make_record(metric="cpu.agent", mode="ipvs")])) == ()  # bars carry their names


def test_families_of_addresses_never_share_a_line() -> None:
    records = [make_record(services=size, family=family) for family in ("ipv4", "ipv6") for size in (10, 100)]
    assert [(panel.title, len(panel.lines[0].points)) for panel in line_panels(records, "sync latency")] == [
        ("One Service added to N, ClusterIP", 2),
        ("One Service added to N, ClusterIP, IPv6", 2),
    ]


def test_bars_of_other_widths_are_groups_of_the_same_panel() -> None:
    cells = ((10, 2), (100, 2), (1, 50), (1, 500))
    records = [
        make_record(metric="cpu.agent", services=size, endpoints_per_service=width, median=1.0) for size, width in cells
    ]
    (panel,) = bar_panels(records)
    assert panel.title == "One Service added to N"
    assert [label for label, _ in panel.groups] == [
        "10 Services, 2 endpoints each",
        "100 Services, 2 endpoints each",
        "1 Service, 50 endpoints each",
        "1 Service, 500 endpoints each",
    ]
    assert [len(bars) for _, bars in panel.groups] == [1, 1, 1, 1]


def test_curves_of_other_widths_are_told_apart() -> None:
    cells = ((1, 10), (1, 100), (50, 2))
    curves = [
        Curve(make_record(services=size, endpoints_per_service=width), (0.0, 1.0), (1.0, 2.0)) for size, width in cells
    ]
    assert [panel.title for panel in curve_panels(curves)] == [
        "50 Services, 2 endpoints each",
        "1 Service, 10 endpoints each",
        "1 Service, 100 endpoints each",
    ]


def test_panels_over_endpoints_are_in_the_order_of_reading() -> None:
    records = [
        make_record(services=1, endpoints_per_service=width, scenario=scenario)
        for width in (10, 100)
        for scenario in ("delete-one", "add-one", "cold-start")
    ]
    assert [panel.title for panel in line_panels(records, "sync latency")] == [
        "1 Service: Cold start with N Services",
        "1 Service: One Service added to N",
        "1 Service: One Service deleted",
    ]
