from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.model import ClockKind
from proxybench.report.alt import describe
from proxybench.report.data import Curve
from proxybench.report.panels import curve_panels, line_panels
from proxybench.report.stacks import bar_panels
from tests.unit.report.conftest import make_record

if TYPE_CHECKING:
    from proxybench.stats.summary import SummaryRecord

BELOW = "The table below holds the numbers."


def test_lines_say_who_is_lowest_at_the_largest_size_and_how_far_apart() -> None:
    medians = {"iptables": 590e3, "ipvs": 81.7e3, "userspace": 315e3}
    records = [
        make_record(mode=mode, services=size, median=median)
        for size in (10, 10_000)
        for mode, median in medians.items()
    ]
    panels = line_panels(records, "time to connect", reference=[make_record(services=10_000, median=55e3)])
    assert describe(panels, below=BELOW) == (
        "Lines of time to connect (wall clock), logarithmic, over Services, 1 panel. One Service added to N, "
        "10,000 Services: lowest IPVS 81.7 µs, then userspace 315 µs, then iptables 590 µs "
        "(7.2\N{MULTIPLICATION SIGN}). The table below holds the numbers."
    )


def test_neither_work_nor_the_reference_is_ranked() -> None:
    def told(*records: SummaryRecord) -> str:
        return describe(bar_panels(records), below="").partition("1,000 Services: ")[2]

    how = {"metric": "cpu.control_loop", "position": "none"}
    reference = make_record(kind="reference", version="0.1.0", mode="userspace", median=1e6, **how)
    own = [make_record(mode=mode, median=median, **how) for mode, median in (("iptables", 4e6), ("ipvs", 2e6))]
    assert told(*own, reference) == (
        "lowest IPVS 2 ms, then iptables 4 ms (2.0\N{MULTIPLICATION SIGN}); reference userspace 1 ms. "
    )
    assert told(own[0], reference) == "iptables 4 ms; reference userspace 1 ms. "
    counted = [replace(record, clock=ClockKind.INSTRUCTIONS) for record in own]
    assert told(*counted) == "iptables 4 M, IPVS 2 M. "


def test_time_outs_are_at_least() -> None:
    records = [
        make_record(services=size, mode=mode, median=median, censored=censored)
        for size in (10, 100)
        for mode, median, censored in (("iptables", 20e9, 5), ("ipvs", 1e9, 0))
    ]
    text = describe(line_panels(records, "sync latency"), below="")
    assert "100 Services: lowest IPVS 1 s, then iptables at least 20 s (at least 20\N{MULTIPLICATION SIGN})." in text


def test_below_zero_there_is_no_ratio() -> None:
    records = [
        make_record(services=size, mode=mode, median=median)
        for size in (10, 100)
        for mode, median in (("iptables", 15e3), ("userspace", -300.0))
    ]
    text = describe(line_panels(records, "added latency", log=False), below="")
    assert text.startswith("Lines of added latency (wall clock), linear, over Services, 1 panel.")
    assert "lowest userspace \N{MINUS SIGN}300 ns, then iptables 15 µs." in text


def test_bars_say_whose_stack_is_shortest() -> None:
    records = [
        make_record(mode=mode, metric="cpu.control_loop", position="none", median=median)
        for mode, median in (("iptables", 2e9), ("ipvs", 5e6))
    ]
    assert describe(bar_panels(records), below=BELOW) == (
        "Stacked bars of CPU time (wall clock), 1 panel. One Service added to N, 1,000 Services: lowest IPVS 5 ms, then"
        " iptables 2 s (400\N{MULTIPLICATION SIGN}). The table below holds the numbers."
    )


def test_curves_say_what_half_of_the_connections_took() -> None:
    shares = (0.0, 0.5, 1.0)
    curves = [
        Curve(make_record(mode=mode, services=100), shares, (1e3, middle, math.inf))
        for mode, middle in (("ipvs", 2e3), ("iptables", 3e3), ("userspace", math.inf))
    ]
    assert describe(curve_panels(curves), below="") == (
        "Share of connections over time per connection (wall clock), a rising curve for each mode, 1 panel. "
        "100 Services, what half of the connections took at most: lowest IPVS 2 µs, then iptables 3 µs, then userspace"
        " timed out. "
    )


def test_what_is_not_resolved_is_told_as_what_it_is_less_than() -> None:
    records = [
        make_record(services=size, mode=mode, median=median, uncertainty=2e6)
        for size in (10, 100)
        for mode, median in (("iptables", 30e6), ("ipvs", 1e6))
    ]
    assert "lowest IPVS ≤ 3 ms, then iptables 30 ms. " in describe(line_panels(records, "sync latency"), below="")
