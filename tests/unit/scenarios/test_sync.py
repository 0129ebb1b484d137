from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.clocks import ClockDomain, Instant, Span
from proxybench.model import Scenario
from proxybench.scenarios import sync
from proxybench.scenarios.observe import Observation
from proxybench.subjects.driver import ProxyMetrics
from tests.unit.scenarios.probes import seen
from tests.unit.scenarios.rows import rows

if TYPE_CHECKING:
    from proxybench.nodes.answers import AwaitResult
    from proxybench.scenarios.recorder import Recorder

S = 1_000_000_000


def metrics(total: float, count: int, **more: Any) -> ProxyMetrics:
    return ProxyMetrics(total, count, **more)


@pytest.mark.parametrize(("probe", "ended"), [(seen(350), 350), (seen(None, end=800), 800)])
def test_a_probe_ends_with_its_answer_or_when_it_is_given_up(probe: AwaitResult, ended: int) -> None:
    assert sync.ended(probe) == ended


@pytest.mark.parametrize(
    ("took", "probe", "value", "censored"),
    [(250, seen(350), 250, False), (0, seen(100), 0, False), (-60, seen(40), 0, False), (700, seen(None), 700, True)],
)
def test_a_data_plane_that_was_faster_than_the_acknowledgement_took_no_time(
    recorder: Recorder, took: int, probe: AwaitResult, value: int, censored: bool
) -> None:
    sync.record_end(recorder, Scenario.ADD_ONE, Span(took, 0), probe)
    assert rows(recorder) == [("sync.end_to_end", "add-one", "cluster_ip", "last", value, "ns", censored)]


def test_a_latency_is_uncertain_by_the_attempts_that_enclose_it_and_by_the_clocks(recorder: Recorder) -> None:
    sync.record_end(recorder, Scenario.ADD_ONE, Span(100, 0), seen(350, gap=12))
    sync.record_end(recorder, Scenario.ADD_ONE, Span(100, 30), seen(350, gap=12), rank=633)
    sync.record_end(recorder, Scenario.ADD_ONE, Span(100, 0), seen(350, gap=12, took=7))
    sync.record_end(recorder, Scenario.ADD_ONE, Span(100, 0), seen(350, took=7))
    sync.record_end(recorder, Scenario.ADD_ONE, Span(900, 30), seen(None))
    assert [(sample.uncertainty, sample.rank) for sample in recorder.samples] == [
        *((12, None), (42, 633)),
        *((19, None), (7, None), (30, None)),
    ]


@pytest.mark.parametrize(("other", "stale"), [(180, [80]), (60, [0]), (None, [])])
def test_stale_answers_of_a_moved_endpoint_are_recorded(
    recorder: Recorder, other: int | None, stale: list[int]
) -> None:
    change = Observation(Instant(100, ClockDomain("client's")), (), uncertainty_ns=3)
    sync.record_stale(recorder, change, seen(350, other=other, gap=12))
    assert [sample.uncertainty for sample in recorder.samples] == [15] * len(stale)
    assert rows(recorder) == [
        ("sync.stale", "change-endpoint", "cluster_ip", "last", value, "ns", False) for value in stale
    ]


def test_the_loops_own_word_is_the_difference_of_its_metrics(recorder: Recorder) -> None:
    before = metrics(1.5, 3, programming_sum=2.0, programming_count=4, build=0.5, tool=0.25, kernel=0.125, wait=0.0)
    after = metrics(2.0, 5, programming_sum=5.0, programming_count=6, build=0.625, tool=0.5, kernel=0.125, wait=1.0)
    sync.record_loop(recorder, Scenario.ADD_BATCH, before, after)
    assert [(row[0], row[4]) for row in rows(recorder)] == [
        ("sync.control_loop", S // 2),
        ("sync.build", S // 8),
        ("sync.tool", S // 4),
        ("sync.kernel", 0),
        ("sync.wait", S),
        ("sync.count", 2),
        ("sync.network_programming", 3 * S // 2),
    ]
    assert {row[1:4] for row in rows(recorder)} == {("add-batch", "none", "none")}


def test_a_loop_that_does_not_split_its_syncs_and_programmed_nothing_says_one_thing(recorder: Recorder) -> None:
    sync.record_loop(recorder, Scenario.DELETE_ONE, metrics(1.0, 1), metrics(1.25, 2))
    assert [(row[0], row[4]) for row in rows(recorder)] == [("sync.control_loop", S // 4), ("sync.count", 1)]


def test_what_counts_no_syncs_has_no_number_of_them(recorder: Recorder) -> None:
    sync.record_loop(recorder, Scenario.DELETE_ONE, metrics(0.0, 0), metrics(0.0, 0))
    assert [(row[0], row[4]) for row in rows(recorder)] == [("sync.control_loop", 0)]


def test_full_and_partial_syncs_are_told_apart_where_the_proxy_does(recorder: Recorder) -> None:
    before = metrics(1.0, 2, full_sync_sum=1.0, full_sync_count=2, partial_sync_sum=0.0, partial_sync_count=0)
    after = metrics(1.5, 5, full_sync_sum=1.25, full_sync_count=3, partial_sync_sum=0.25, partial_sync_count=2)
    sync.record_loop(recorder, Scenario.ADD_ONE, before, after)
    assert [(row[0], row[4], row[5]) for row in rows(recorder)] == [
        ("sync.control_loop", S // 2, "ns"),
        ("sync.full", S // 4, "ns"),
        ("sync.partial", S // 4, "ns"),
        ("sync.count", 3, "syncs"),
        ("sync.full.count", 1, "syncs"),
        ("sync.partial.count", 2, "syncs"),
    ]


def test_a_kind_of_sync_that_came_up_with_the_change_counts_from_nothing(recorder: Recorder) -> None:
    sync.record_loop(
        recorder,
        Scenario.ADD_ONE,
        metrics(1.0, 2, full_sync_sum=1.0, full_sync_count=2),
        metrics(1.25, 3, full_sync_sum=1.0, full_sync_count=2, partial_sync_sum=0.25, partial_sync_count=1),
    )
    assert [(row[0], row[4]) for row in rows(recorder)] == [
        ("sync.control_loop", S // 4),
        ("sync.full", 0),
        ("sync.partial", S // 4),
        ("sync.count", 1),
        ("sync.full.count", 0),
        ("sync.partial.count", 1),
    ]
