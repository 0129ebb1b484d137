from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxybench.report.costs import PER_ENDPOINT, PER_POSITION, PER_SERVICE, cost_table, costs, per_unit
from proxybench.stats.series import Series
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from proxybench.report.data import ReportData


def make_series(values: list[float], **changes: Any) -> Series:
    labels = tuple(("run", repetition) for repetition in range(len(values)))
    key = make_key(**{"clock": "wall", **changes})
    return Series(key, labels, np.array(values), np.zeros(len(values), bool), 9, 0, 1.0, 1.0)


def texts(series: list[Series]) -> list[list[tuple[str, str]]]:
    table = cost_table(costs(series), "wall clock")
    assert table is not None
    return [[(cell.text, cell.detail) for cell in row] for row in table.rows]


def test_slope_per_service_with_its_interval() -> None:
    # Slopes of 50, 52 and 54 ns: mean 52, standard error 2 / sqrt(3), t(2 degrees) = 4.3027, so 52 ± 4.97.
    series = [
        make_series([70_000.0 + slope * services for slope in (50, 52, 54)], services=services)
        for services in (10, 100, 1000)
    ]
    (cost,) = (each for each in costs(series) if each.per == PER_SERVICE)
    assert cost.slope.per_unit == pytest.approx(52.0)
    assert cost.slope.interval is not None
    assert cost.slope.interval.low == pytest.approx(52 - 4.30265 * 2 / 3**0.5, abs=1e-4)
    assert texts(series) == [[("one Service", ""), ("Time to connect", ""), ("52 ns", "47 to 57 ns")]]


def test_a_slope_is_uncertain_by_what_its_points_are() -> None:
    """Each slope of 100 to 1,000 Services by 2 x 4.5 µs over 900 Services, 10 ns; the interval reaches beyond 0."""
    sizes = (100, 1000)
    series = [
        replace(make_series([70_000.0 + slope * size for slope in (8, 8, 8)], services=size), uncertainty=4_500.0)
        for size in sizes
    ]
    assert texts(series)[0][2] == ("flat", "8 ns: \N{MINUS SIGN}2 to 18 ns")
    own = [replace(each, uncertainty=0.0, uncertainties=(450.0, 900.0, 1_350.0)) for each in series]
    assert texts(own)[0][2] == ("8 ns", "6 to 10 ns")


def test_a_slope_whose_interval_holds_zero_is_flat() -> None:
    series = [
        make_series([80_000.0 + slope * services for slope in (-1, 0, 2)], mode="ipvs", services=services)
        for services in (10, 1000)
    ]
    # Mean 1/3, standard error sqrt(7/3) / sqrt(3) = 0.882, times 4.3027 = 3.795.
    assert texts(series)[0][2] == ("flat", "0.333 ns: \N{MINUS SIGN}3.46 to 4.13 ns")


def test_one_repetition_has_no_interval() -> None:
    series = [make_series([1e6 + 3000.0 * services], services=services) for services in (10, 1000)]
    assert texts(series)[0][2] == ("3 µs", "one repetition")


def test_slope_per_endpoint_of_the_one_service() -> None:
    series = [
        make_series(
            [1e6 + 2500.0 * width] * 3,
            scenario="add-one",
            position="none",
            metric="sync.control_loop",
            services=1,
            endpoints_per_service=width,
        )
        for width in (10, 100, 1000)
    ]
    (cost,) = costs(series)
    assert (cost.per, cost.slope.per_unit) == (PER_ENDPOINT, 2500.0)
    assert texts(series) == [
        [
            ("one endpoint of the one Service", ""),
            ("Sync, one Service added (control loop's own word)", ""),
            ("2.5 µs", "2.5 to 2.5 µs"),
        ]
    ]


def test_the_slope_of_a_sync_in_instructions_says_that_it_holds_waits() -> None:
    point: dict[str, Any] = {"scenario": "add-one", "position": "none", "clock": "instructions"}
    series = [
        make_series([1e6 + 2500.0 * services] * 3, **point, services=services, metric=metric)
        for metric in ("sync.control_loop", "cpu.control_loop")
        for services in (10, 100, 1000)
    ]
    assert [row[1][0] for row in texts(series)] == [
        "Sync, one Service added (control loop's own word), in instructions, waiting counted",
        "CPU of the control loop, one Service added, in instructions",
    ]


def test_slope_per_position_counts_the_rules_before_at_the_largest_size() -> None:
    # 40 ns for each rule before: none, 500 and 999 of them. The smaller size would give another slope.
    series = [
        make_series([70_000.0 + ns * before] * 2, position=position, services=services)
        for services, ns, places in ((1000, 40.0, (0, 500, 999)), (10, 7.0, (0, 5, 9)))
        for position, before in zip(("first", "middle", "last"), places, strict=True)
    ]
    (cost,) = (each for each in costs(series) if each.per == PER_POSITION)
    assert cost.slope.per_unit == pytest.approx(40.0)


def test_the_last_rule_has_all_others_before_it() -> None:
    values = (("first", 0.0), ("last", 999 * 40.0))
    series = [make_series([7e4 + ns], position=position, services=1000) for position, ns in values]
    (cost,) = (each for each in costs(series) if each.per == PER_POSITION)
    assert cost.slope.per_unit == pytest.approx(40.0)


def test_userspace_has_no_slope_of_connect_and_one_of_the_first_byte() -> None:
    series = [
        make_series([1e6 + services] * 2, mode="userspace", services=services, metric=metric)
        for metric in ("forwarding.connect", "forwarding.first_byte")
        for services in (10, 100)
    ]
    assert [cost.title for cost in costs(series)] == ["Time to the first byte"]


def test_a_time_out_has_no_slope() -> None:
    late = make_series([1e9, 1e9], services=100)
    late.bounded[:] = True
    assert costs([make_series([1.0, 1.0]), late]) == ()
    assert cost_table((), "wall clock") is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.2361, "ns", "0.236 ns"),
        (-52.04, "ns", "\N{MINUS SIGN}52 ns"),
        (193_400.0, "ns", "193 µs"),
        (0.2361, "instructions", "0.236"),
        (-193_400.0, "instructions", "\N{MINUS SIGN}193 k"),
        (9_216.0, "bytes", "9 KiB"),
        (-3.0, "bytes", "\N{MINUS SIGN}3 bytes"),
    ],
)
def test_slopes_are_written_in_humane_units(value: float, unit: str, text: str) -> None:
    assert per_unit(value, unit) == text


def test_the_slope_of_iptables_holds_the_truth(data: ReportData) -> None:
    found = {(cost.title, str(cost.subject.mode), cost.per): cost.slope for cost in costs(data.series)}
    truth = found["Time to connect", "iptables", PER_SERVICE].interval
    assert truth is not None
    assert truth.low <= 26.5 <= truth.high
    flat = found["Time to connect", "ipvs", PER_SERVICE].interval
    assert flat is not None
    assert flat.low <= 0 <= flat.high
    rule = found["Time to connect", "iptables", PER_POSITION].interval
    assert rule is not None
    assert rule.low <= 26.5 <= rule.high
