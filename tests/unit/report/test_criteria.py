from __future__ import annotations

import math

import pytest

from proxybench.model import Mode, Subject
from proxybench.report.criteria import TAX, WAITING, WORK, Figure, Row, ratio, rows_of
from tests.unit.report.made import SUBJECT, series

USERSPACE = Subject("reference", "0.1.0", Mode.USERSPACE)
MS = 1e6


def table(rows: list[Row]) -> dict[str, list[float]]:
    return {row.title: list(row.found[SUBJECT].values.values()) for row in rows}


def test_a_latency_is_split_into_what_was_waiting_and_what_was_work() -> None:
    found = rows_of(
        [
            series("sync.end_to_end", "new-service", 1000 * MS, 1100 * MS, position="last"),
            series("sync.before", "new-service", 950 * MS, 1200 * MS),
        ]
    )
    assert [(row.title, row.part) for row in found] == [("New Service", False), (WAITING, True), (WORK, True)]
    assert {row.waits for row in found} == {True}  # a sync waits for files and for the kernel as well
    assert table(found)[WORK] == [50 * MS, 0]  # it was answered before the log says that its sync began


def test_a_cold_start_is_told_by_its_first_answer_and_by_its_first_full_sync() -> None:
    found = rows_of(
        [
            series("sync.end_to_end", "cold-start", 750 * MS, position="last"),
            series("sync.programmed", "cold-start", 7900 * MS),
        ]
    )
    assert [(row.title, row.part, row.waits, list(row.found[SUBJECT].values.values())) for row in found] == [
        ("Cold start", False, True, [750 * MS]),
        ("Cold start, all written", False, True, [7900 * MS]),
    ]


def test_a_removed_endpoint_is_told_by_its_last_answer() -> None:
    found = rows_of(
        [
            series("sync.end_to_end", "change-endpoint", 30 * MS, position="last"),
            series("sync.stale", "change-endpoint", 20 * MS, position="last"),
            series("sync.end_to_end", "remove-endpoint", 10 * MS, position="last"),
        ]
    )
    assert [(row.title, row.waits, list(row.found[SUBJECT].values.values())) for row in found] == [
        ("One endpoint changed", True, [30 * MS]),
        ("Removed endpoint", True, [20 * MS]),
        ("Removed endpoint", True, [10 * MS]),
    ]


def test_the_references_own_word_for_waiting_is_taken_where_there_is_no_log() -> None:
    found = rows_of(
        [
            series("sync.end_to_end", "add-one", 30 * MS, position="last"),
            series("sync.wait", "add-one", 10 * MS),
        ]
    )
    assert table(found)[WAITING] == [10 * MS]


def test_a_time_out_has_no_parts() -> None:
    late = series("sync.end_to_end", "add-one", 30 * MS, position="last")
    late.bounded[:] = True
    assert [row.title for row in rows_of([late, series("sync.before", "add-one", 10 * MS)])] == ["One Service added"]


def test_a_connection_is_told_against_a_node_without_rules() -> None:
    found = rows_of(
        [
            series("forwarding.connect", "steady", 30_000, 28_000, position="last"),
            series("forwarding.direct", "steady", 20_000, 14_000),
            series("forwarding.bare", "steady", 10_000, 14_000),
        ]
    )
    assert [row.title for row in found] == [
        "New connection, Service",
        TAX,
        "New connection, endpoint",
        TAX,
        "New connection, no rules",
    ]
    assert [list(row.found[SUBJECT].values.values()) for row in found if row.title == TAX] == [[3.0, 2.0], [2.0, 1.0]]
    assert [row.control for row in found] == [False, False, False, False, True]


def test_userspaces_connect_ends_at_its_relay_and_is_no_connection_to_an_endpoint() -> None:
    assert not rows_of([series("forwarding.connect", "steady", 1.0, subject=USERSPACE, position="last")])


def test_idle_cpu_is_told_per_second() -> None:
    found = rows_of(
        [series("cpu.control_loop", "idle", 4 * MS), series("cpu.window", "idle", 2e9), series("cpu.window", "load", 1)]
    )
    assert table(found) == {"Idle, CPU per second": [2 * MS]}


@pytest.mark.parametrize(("values", "told"), [((4 * MS,), None), ((4 * MS, 6 * MS), 2.0)])
def test_what_fell_into_a_single_window_tells_no_ratio(values: tuple[float, ...], told: float | None) -> None:
    windows = [series("cpu.window", "idle", *[2e9] * len(values), subject=one) for one in (SUBJECT, USERSPACE)]
    twice = [2 * value for value in values]
    idle = [series("cpu.control_loop", "idle", *values), series("cpu.control_loop", "idle", *twice, subject=USERSPACE)]
    (row,) = rows_of([*idle, *windows])
    found = ratio(row.found[SUBJECT], row.found[USERSPACE])
    assert (found and found[0]) == told


@pytest.mark.parametrize(
    ("uncertainty", "low", "high"), [(0.0, 2.0, 2.0), (10.0, 190 / 110, 210 / 90), (99.0, 101 / 199, 299.0)]
)
def test_a_ratio_is_never_surer_than_its_numbers(uncertainty: float, low: float, high: float) -> None:
    one, two = (
        Figure({("run", number): value for number in range(5)}, "ns", bounded=False, uncertainty=uncertainty)
        for value in (100.0, 200.0)
    )
    found = ratio(one, two)
    assert found is not None
    assert found[1] is not None
    assert (found[0], found[1].low, found[1].high) == pytest.approx((2.0, low, high))


def test_what_is_derived_from_two_numbers_is_uncertain_by_both() -> None:
    found = rows_of(
        [
            series("sync.end_to_end", "add-one", 30 * MS, 34 * MS, position="last", uncertainty=2 * MS),
            series("sync.before", "add-one", 10 * MS, 10 * MS, uncertainty=MS),
            series("forwarding.connect", "steady", 30_000, 30_000, position="last", uncertainty=3_000),
            series("forwarding.bare", "steady", 10_000, 10_000, uncertainty=1_000),
            series("cpu.control_loop", "idle", 0, 0, uncertainty=1_000),
            series("cpu.window", "idle", 2e9, 2e9),
        ]
    )
    unsure = {row.title: row.found[SUBJECT].uncertainty for row in found}
    assert (unsure["One Service added"], unsure[WAITING], unsure[WORK]) == (2 * MS, MS, 3 * MS)
    assert unsure[TAX] == pytest.approx(33 / 9 - 3)
    assert unsure["Idle, CPU per second"] == 500


def test_what_a_number_is_uncertain_by_as_a_share_of_it() -> None:
    shares = [
        Figure({("run", 0): value}, "ns", bounded=False, uncertainty=unsure).share
        for value, unsure in ((100.0, 10.0), (0.0, 0.0), (0.0, 10.0))
    ]
    assert shares == [0.1, 0.0, math.inf]
