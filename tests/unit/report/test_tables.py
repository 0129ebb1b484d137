from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from proxybench.model import Scenario
from proxybench.report.tables import best_of, bounded_text, full, interval_text, median_text, pivot
from proxybench.report.words import TIMES, clock_long, count, distance, exact, human, join, span
from tests.unit.report.conftest import make_record

FAST = make_record(mode="ipvs", median=50e6, ci_low=48e6, ci_high=52e6)
SLOW = make_record()
TIED = make_record(mode="userspace", median=51e6, ci_low=49e6, ci_high=53e6)
TIMED_OUT = make_record(mode="userspace", median=20e9, ci_low=None, ci_high=None, censored=4)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (95_123_456, "ns", "95.1 ms"),
        (999, "ns", "999 ns"),
        (-41_400, "ns", "\N{MINUS SIGN}41.4 µs"),
        (3 * 2**20, "bytes", "3 MiB"),
        (1020 * 2**20, "bytes", "1020 MiB"),
        (2**31, "bytes", "2 GiB"),
        (-9216, "bytes", "\N{MINUS SIGN}9 KiB"),
        (12, "bytes", "12 bytes"),
        (2.5, "things", "2.5 things"),
    ],
)
def test_human(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


def test_exact_keeps_every_digit() -> None:
    assert exact(95_123_456.0, "ns") == "95,123,456 ns"
    assert exact(0.5, "ns") == "0.5 ns"


def test_an_interval_names_a_common_unit_once() -> None:
    assert span(225e6, 232e6, "ns") == "225 \N{EN DASH} 232 ms"
    assert span(959e6, 1.01e9, "ns") == "959 ms \N{EN DASH} 1.01 s"
    assert span(956e6, 1.01e9, "instructions") == "956 M \N{EN DASH} 1.01 G"
    assert span(-42_100, -40_300, "ns") == "\N{MINUS SIGN}42.1 to \N{MINUS SIGN}40.3 µs"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.0, "+0 %"),
        (1.089, "+8.9 %"),
        (1.49, "+49 %"),
        (1.5, "1.5{x}"),
        (17.2, "17{x}"),
        (9.94, "9.9{x}"),
        (4434, "4,430{x}"),
    ],
)
def test_distances(ratio: float, text: str) -> None:
    assert distance(ratio) == text.format(x=TIMES)


def test_words() -> None:
    assert count(1, "Service") == "1 Service"
    assert count(10_000, "Service") == "10,000 Services"
    assert join(["a", "b", "c"]) == "a, b and c"
    assert join(["a"]) == "a"
    assert clock_long("instructions") == "instruction clock: executed guest instructions, counted — work, not real time"


def test_a_censored_median_is_a_lower_bound() -> None:
    assert median_text(TIMED_OUT) == "≥ 20 s"
    assert interval_text(TIMED_OUT) == "time-outs"
    assert median_text(make_record(censored=1)) == "100 ms"
    assert bounded_text(make_record(censored=1), 120e6, 0.99) == "≥ 120 ms"


def test_one_repetition_has_no_interval() -> None:
    assert interval_text(make_record(ci_low=None, ci_high=None, repetitions=1)) == "one repetition"
    wide = make_record(median=1000.0, ci_low=0.0, ci_high=100_001.0)
    assert interval_text(wide) == "reaches over 100 times the median"
    assert interval_text(make_record(median=1000.0, ci_low=0.0, ci_high=100_000.0)) == "0 \N{EN DASH} 100 µs"


def test_one_repetition_still_tells_the_steps_in_which_it_was_read() -> None:
    alone = make_record(ci_low=None, ci_high=None, uncertainty=1_500_000)
    assert interval_text(alone) == "one repetition, ± 1.5 ms"
    heads = [head.text for head in full([alone, make_record(services=10)], "caption").heads]
    assert heads[heads.index("95 % interval") + 1] == "Read within ±"
    assert "Read within ±" not in [head.text for head in full([make_record()], "caption").heads]


def test_an_uncertainty_above_a_twentieth_of_the_number_is_marked() -> None:
    records = [make_record(median=100e6, uncertainty=unsure) for unsure in (5e6, 5.1e6)]
    table = full(records, "caption")
    place = [head.text for head in table.heads].index("Read within ±")
    assert [(row[place].text, row[place].state) for row in table.rows] == [("5 ms", ""), ("5.1 ms", "fail")]


@pytest.mark.parametrize(
    ("median", "uncertainty", "changes", "text"),
    [
        (0.0, 0.0, {}, "< 1 µs"),
        (0.0, 1_200_000.0, {}, "≤ 1.2 ms"),
        (800_000.0, 1_200_000.0, {}, "≤ 2 ms"),
        (1_200_001.0, 1_200_000.0, {}, "1.2 ms"),
        (0.0, 0.0, {"clock": "instructions"}, "< 1 k instructions"),
        (0.0, 0.0, {"unit": "connections"}, "0 connections"),
        (0.0, 1_200_000.0, {"censored": 5}, "≥ 0 ns"),
    ],
)
def test_what_is_not_resolved_is_less_than_what_is(
    median: float, uncertainty: float, changes: dict[str, Any], text: str
) -> None:
    record = make_record(median=median, uncertainty=uncertainty, **changes)
    assert median_text(record) == text
    place = [head.text for head in full([record], "caption").heads].index("Median")
    assert full([record], "caption").rows[0][place].text == text


def test_what_has_no_meaning_is_a_dash() -> None:
    assert bounded_text(SLOW, math.nan, 0.9) == "\N{EN DASH}"


def test_the_best_are_those_that_may_be_equal() -> None:
    assert best_of([SLOW, FAST]) == {FAST}
    assert best_of([SLOW, FAST, TIED]) == {FAST, TIED}
    assert best_of([SLOW, TIMED_OUT]) == {SLOW}
    assert best_of([SLOW]) == set()
    once = make_record(mode="ipvs", median=50e6, ci_low=None, ci_high=None)
    assert best_of([SLOW, once]) == set()
    assert best_of([FAST, replace(SLOW, ci_low=None, ci_high=None)]) == set()
    assert best_of([TIMED_OUT, TIMED_OUT]) == set()


def test_pivot_has_a_column_per_mode_and_merges_equal_names() -> None:
    records = [
        *(
            make_record(services=size, scenario=scenario)
            for scenario in ("add-one", "cold-start")
            for size in (10, 100)
        ),
        make_record(mode="ipvs", services=10, median=1e6, ci_low=1e6, ci_high=1e6),
    ]
    table = pivot(records, "caption")
    assert [head.text for head in table.heads] == ["Scenario", "Services", "iptables", "IPVS"]
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [
        ["Cold start with N Services", "10", "100 ms", "\N{EN DASH}"],
        ["Cold start with N Services", "100", "100 ms", "\N{EN DASH}"],
        ["One Service added to N", "10", "100 ms", "1 ms"],
        ["One Service added to N", "100", "100 ms", "\N{EN DASH}"],
    ]
    assert [row[0].rows for row in table.rows] == [2, 0, 2, 0]
    assert [row[3].best for row in table.rows] == [False, False, True, False]
    assert table.rows[2][3].title == "1,000,000 ns"


def test_sizes_are_ordered_as_numbers() -> None:
    table = pivot([make_record(services=size) for size in (10_000, 10, 1000, 100)], "caption")
    assert [row[0].text for row in table.rows] == ["10", "100", "1,000", "10,000"]


def test_an_unranked_mode_never_wins() -> None:
    table = pivot([FAST, SLOW, make_record(mode="userspace", median=1.0)], "caption", unranked=("userspace",))
    assert [cell.best for cell in table.rows[0][1:]] == [False, True, False]


def test_where_all_are_alike_nothing_is_marked() -> None:
    table = pivot([FAST, TIED], "caption")
    assert [cell.best for cell in table.rows[0][1:]] == [False, False]
    table = pivot([FAST, TIED, SLOW], "caption")
    assert [cell.best for cell in table.rows[0][1:]] == [False, True, True]


def test_an_unranked_scenario_has_no_winner() -> None:
    scenarios = (Scenario.ADD_ONE, Scenario.ADD_BATCH)
    records = [replace(record, scenario=scenario) for record in (FAST, SLOW) for scenario in scenarios]
    table = pivot(records, "caption", unranked_scenarios=("add-batch",))
    assert [[row[0].text, *(cell.best for cell in row[2:])] for row in table.rows] == [
        ["One Service added to N", False, True],
        ["A batch of Services added to N", False, False],
    ]


def test_numbers_and_their_heads_stand_to_the_right() -> None:
    table = pivot([make_record(endpoints_per_service=width) for width in (2, 50)], "caption")
    assert [(head.text, head.number) for head in table.heads] == [
        ("Endpoints each", True),
        ("Services", True),
        ("iptables", True),
    ]
    assert [cell.number for cell in table.rows[0]] == [True, True, True]


def test_a_row_without_position_is_the_endpoint_directly() -> None:
    table = pivot([make_record(position=position) for position in ("last", "none")], "caption")
    assert [row[0].text for row in table.rows] == ["Last rule", "Endpoint directly"]


def test_full_table_shows_everything() -> None:
    table = full([TIMED_OUT], "caption", metric=True)
    row = dict(zip((head.text for head in table.heads), (cell.text for cell in table.rows[0]), strict=True))
    assert row == {
        "Metric": "sync.end_to_end",
        "Scenario": "One Service added to N",
        "Position": "Last rule",
        "Path": "ClusterIP",
        "Mode": "userspace",
        "Subject": "kube-proxy v1.37.2",
        "Services": "1,000",
        "Endpoints": "2",
        "Median": "≥ 20 s",
        "95 % interval": "time-outs",
        "p90": "≥ 110 ms",
        "p99": "≥ 120 ms",
        "Samples": "5",
        "Repetitions": "5",
        "Time-outs": "4",
    }
