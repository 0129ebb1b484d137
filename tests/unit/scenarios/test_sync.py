from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.clocks import Span
from proxybench.kube import objects
from proxybench.kube.objects import TRIGGER_TIME, AddressPlan
from proxybench.model import Scenario
from proxybench.nodes.answers import AwaitResult, ChangeResult
from proxybench.nodes.requests import Await, Change, Write
from proxybench.scenarios import sync
from proxybench.subjects.base import LoopFigures
from tests.unit.scenarios.rows import rows

if TYPE_CHECKING:
    from proxybench.scenarios.recorder import Recorder

S = 1_000_000_000
PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
CANARY = sync.Canary(PLAN)
SERVICES = "/api/v1/namespaces/proxybench/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/proxybench/endpointslices"


def seen(first: int | None, *, end: int = 900, other: int | None = None) -> AwaitResult:
    return AwaitResult(
        start_ns=0,
        first_ns=first,
        sent_ns=first,
        interval_at_success_ns=None,
        last_other_ns=other,
        answered_by=None,
        attempts=9,
        answers=1,
        errors={},
        end_ns=end,
        censored=first is None,
    )


def changed(probe: AwaitResult, ack: int = 100) -> ChangeResult:
    return ChangeResult(write_start_ns=1, ack_ns=ack, acks_ns=(ack,), statuses=(200,), probes=(probe,))


def figures(total: float, count: int, **more: Any) -> LoopFigures:
    return LoopFigures(total, count, **{"programming_sum": 0.0, "programming_count": 0, **more})


def test_the_canary_lives_on_the_first_node_outside_of_the_numbered_addresses() -> None:
    assert (CANARY.vip, CANARY.old, CANARY.new) == (
        "10.96.0.16",
        ("10.244.0.16", "node1"),
        ("10.244.0.17", "node1"),
    )


def test_canaries_share_no_address() -> None:
    second = sync.Canary(PLAN, "svc-canary-1", 1)
    assert len({pod.address for canary in (CANARY, second) for pod in (canary.old, canary.new)}) == 4
    assert second.vip == "10.96.0.17"


def test_adding_is_one_post_whose_old_endpoint_must_answer() -> None:
    probe = Await("10.96.0.16", 80, "answer", 7.0, ("10.244.0.16",))
    service = objects.service("svc-canary", "10.96.0.16", 8080)
    assert sync.add(CANARY, 7.0) == Change((Write("POST", SERVICES, service),), (probe,))


def test_adding_the_last_of_a_batch_is_one_post_whose_endpoints_must_answer() -> None:
    service = objects.service("svc-00009", "10.96.1.9", 8080)
    probe = Await("10.96.1.9", 80, "answer", 3.0, ("a", "b"))
    assert sync.add_last(service, "10.96.1.9", ("a", "b"), 3.0) == Change((Write("POST", SERVICES, service),), (probe,))


def test_a_batch_begins_with_one_post_that_nothing_is_probed_for() -> None:
    service = objects.service("svc-00005", "10.96.1.5", 8080)
    assert sync.write_first(service) == Change((Write("POST", SERVICES, service),), ())


def test_moving_is_one_put_with_the_nodes_own_trigger_time_and_waits_for_stale_answers() -> None:
    change = sync.move(CANARY, 5.0)
    (write,) = change.writes
    assert (write.method, write.path) == ("PUT", f"{SLICES}/svc-canary-000")
    assert write.body is not None
    # The agent puts its own time in the place of this one.
    assert write.body["metadata"]["annotations"] == {TRIGGER_TIME: "0000-00-00T00:00:00.000000000Z"}
    assert [endpoint["addresses"] for endpoint in write.body["endpoints"]] == [["10.244.0.17"]]
    assert change.probes == (Await("10.96.0.16", 80, "answer", 5.0, ("10.244.0.17",), settle_ms=300),)


def test_deleting_is_one_delete_that_must_be_refused() -> None:
    assert sync.delete(CANARY, 5.0) == Change(
        (Write("DELETE", f"{SERVICES}/svc-canary"),), (Await("10.96.0.16", 80, "refusal", 5.0),)
    )


def test_the_slice_in_the_api_has_no_trigger_time() -> None:
    assert "annotations" not in CANARY.endpoint_slice(CANARY.old)["metadata"]


@pytest.mark.parametrize(
    ("probe", "value", "censored"),
    [(seen(350), 250, False), (seen(100), 0, False), (seen(40), 0, False), (seen(None, end=800), 700, True)],
)
def test_end_to_end_counts_from_the_acknowledgement(
    recorder: Recorder, probe: AwaitResult, value: int, censored: bool
) -> None:
    sync.record_change(recorder, Scenario.ADD_ONE, changed(probe))
    assert rows(recorder) == [("sync.end_to_end", "add-one", "cluster_ip", "last", value, "ns", censored)]


def test_a_batch_counts_from_the_acknowledgement_of_its_first_write(recorder: Recorder) -> None:
    sync.record_change(recorder, Scenario.ADD_BATCH, changed(seen(350)), 30)
    assert rows(recorder) == [("sync.end_to_end", "add-batch", "cluster_ip", "last", 320, "ns", False)]


def test_a_cold_start_counts_from_the_start_of_the_loop(recorder: Recorder) -> None:
    sync.record_cold_start(recorder, Span(150, 0), seen(350))
    sync.record_cold_start(recorder, Span(700, 0), seen(None, end=900))
    assert [row[4:] for row in rows(recorder)] == [(150, "ns", False), (700, "ns", True)]


@pytest.mark.parametrize(("other", "stale"), [(180, 80), (60, 0)])
def test_stale_answers_of_a_moved_endpoint_are_recorded(recorder: Recorder, other: int, stale: int) -> None:
    sync.record_change(recorder, Scenario.CHANGE_ENDPOINT, changed(seen(350, other=other)))
    assert rows(recorder) == [
        ("sync.end_to_end", "change-endpoint", "cluster_ip", "last", 250, "ns", False),
        ("sync.stale", "change-endpoint", "cluster_ip", "last", stale, "ns", False),
    ]


def test_only_a_moved_endpoint_can_be_stale(recorder: Recorder) -> None:
    sync.record_change(recorder, Scenario.DELETE_ONE, changed(seen(350, other=180)))
    sync.record_change(recorder, Scenario.CHANGE_ENDPOINT, changed(seen(350)))
    assert {row[0] for row in rows(recorder)} == {"sync.end_to_end"}


def test_the_loops_own_word_is_the_difference_of_its_figures(recorder: Recorder) -> None:
    before = figures(1.5, 3, programming_sum=2.0, programming_count=4, build=0.5, tool=0.25, kernel=0.125, wait=0)
    after = figures(2.0, 5, programming_sum=5.0, programming_count=6, build=0.625, tool=0.5, kernel=0.125, wait=1)
    sync.record_loop(recorder, Scenario.ADD_BATCH, before, after)
    assert [(row[0], row[4]) for row in rows(recorder)] == [
        ("sync.control_loop", S // 2),
        ("sync.build", S // 8),
        ("sync.tool", S // 4),
        ("sync.kernel", 0),
        ("sync.wait", S),
        ("sync.network_programming", 3 * S // 2),
    ]
    assert {row[1:4] for row in rows(recorder)} == {("add-batch", "none", "none")}


def test_a_loop_that_does_not_split_its_syncs_and_programmed_nothing_says_one_thing(recorder: Recorder) -> None:
    sync.record_loop(recorder, Scenario.DELETE_ONE, figures(1.0, 1), figures(1.25, 2))
    assert [(row[0], row[4]) for row in rows(recorder)] == [("sync.control_loop", S // 4)]
