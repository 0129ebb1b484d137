from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.testing.clock import FakeClock
from refproxy.__main__ import _healthz as healthz
from refproxy.config import LoopConfig
from refproxy.errors import ProxierError
from refproxy.frequency import BoundedFrequency
from refproxy.loop import ControlLoop
from refproxy.metrics import LoopMetrics
from refproxy.plane import ServicePort, ServicePortKey, SyncSplit
from refproxy.state import ServiceState
from refproxy.units import SystemClock
from refproxy.web import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

S = 1_000_000_000
CONFIG = LoopConfig("iptables", "node", (), "http://127.0.0.1:1", "token", "", 1.0, 30.0, "xtables")


class FakePlane:
    """Records the syncs; each takes ``seconds``, and fails as often as ``failures`` says."""

    def __init__(self, clock: FakeClock, seconds: float = 0.25) -> None:
        self.clock = clock
        self.seconds = seconds
        self.failures = 0
        self.during: Callable[[], None] = lambda: None
        self.error: Exception = ProxierError("iptables-restore ended with code 4: busy")
        self.syncs: list[tuple[list[str], list[str] | None]] = []
        self.synced = threading.Event()

    def setup(self) -> None:
        raise AssertionError("the loop does not set up")

    def relayed_ns(self) -> int | None:
        raise AssertionError("the loop does not ask")

    def cleanup(self) -> None:
        raise AssertionError("the loop does not clean up")

    def sync(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> SyncSplit:
        self.during()
        self.clock.advance(self.seconds)
        names = None if changed is None else sorted(key.name for key in changed)
        self.syncs.append(([key.name for key in ports], names))
        self.synced.set()
        if self.failures:
            self.failures -= 1
            raise self.error
        return SyncSplit(S // 100, S // 10, S // 50)


class Watch:
    def __init__(self, path: str) -> None:
        self.path = path
        self.alive = True

    def start(self) -> None:
        raise AssertionError("it runs")

    def stop(self) -> None:
        raise AssertionError("it must not end")


class Rig:
    def __init__(self, config: LoopConfig = CONFIG) -> None:
        self.clock = FakeClock(100 * S, 1_000 * S, may_sleep=False)
        self.plane = FakePlane(self.clock)
        self.metrics = LoopMetrics()
        self.lines: list[dict[str, Any]] = []
        self.state = ServiceState("node")
        self.loop = ControlLoop(
            self.plane,
            self.state,
            config,
            self.clock,
            self.metrics,
            lambda line: self.lines.append(json.loads(line)),
            lambda: self.clock.now // 2,
        )

    def start(self, *names: str) -> None:
        self.loop.services_listed([service(name) for name in names])
        self.loop.slices_listed([])
        assert self.loop.step() == 30.0

    def add(self, name: str) -> None:
        self.loop.service_event("ADDED", service(name))


def service(name: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"clusterIP": "10.96.0.1", "type": "ClusterIP", "ports": [{"port": 80}]},
    }


def test_nothing_is_programmed_before_both_lists_came() -> None:
    rig = Rig()
    rig.loop.step()
    rig.loop.services_listed([service("a")])
    rig.add("b")
    rig.loop.step()
    assert rig.plane.syncs == []
    assert not rig.loop.healthy()
    rig.loop.slices_listed([])
    assert rig.loop.step() == 30.0
    assert rig.plane.syncs == [(["a", "b"], None)]
    assert rig.loop.healthy()


def test_two_requests_run_at_once_and_the_third_waits_for_the_minimum_interval() -> None:
    rig = Rig()
    rig.start("a")
    rig.add("b")
    rig.loop.step()
    rig.add("c")
    rig.loop.step()
    assert [changed for _, changed in rig.plane.syncs] == [None, ["b"], ["c"]]
    rig.add("d")
    rig.add("e")
    assert rig.loop.step() == 1.0
    rig.clock.advance(0.49)
    assert rig.loop.step() == 0.51
    assert len(rig.plane.syncs) == 3
    rig.clock.advance(0.51)
    rig.loop.step()
    assert rig.plane.syncs[3:] == [(["a", "b", "c", "d", "e"], ["d", "e"])]


def test_what_changes_wait_for_their_turn_is_counted_and_syncs_are_not() -> None:
    rig = Rig()
    rig.start("a")
    assert rig.metrics.wait_seconds == 0  # the first sync waits for the lists, not for a turn
    rig.add("b")
    rig.add("c")
    rig.clock.advance(0.125)
    rig.loop.step()
    assert rig.metrics.wait_seconds == 0.125
    rig.add("d")
    rig.loop.step()
    rig.add("e")
    rig.clock.advance(0.25)
    rig.add("f")
    assert rig.loop.step() == 0.75
    rig.clock.advance(0.75)
    rig.loop.step()
    assert [changed for _, changed in rig.plane.syncs[1:]] == [["b", "c"], ["d"], ["e", "f"]]
    assert rig.metrics.wait_seconds == 0.125 + 1.0


def test_what_changes_during_a_sync_waits_from_its_end_and_a_periodic_sync_waits_for_nothing() -> None:
    rig = Rig()
    rig.start("a")
    rig.clock.advance(30)
    rig.loop.step()
    assert rig.metrics.wait_seconds == 0
    rig.clock.advance(2)
    rig.add("b")
    rig.plane.during = lambda: rig.add("c")
    rig.loop.step()
    rig.plane.during = lambda: None
    rig.clock.advance(0.5)
    rig.loop.step()
    assert [changed for _, changed in rig.plane.syncs[2:]] == [["b"], ["c"]]
    assert rig.metrics.wait_seconds == 0.5


def test_without_a_minimum_every_request_runs_at_once() -> None:
    rig = Rig(LoopConfig(**{**vars(CONFIG), "min_sync_period": 0.0}))
    rig.start("a")
    for name in "bcdefg":
        rig.add(name)
        rig.loop.step()
    assert len(rig.plane.syncs) == 7


def test_an_event_that_changes_nothing_asks_for_nothing() -> None:
    rig = Rig()
    rig.start("a")
    rig.add("a")
    assert rig.loop.step() == 30.0
    assert len(rig.plane.syncs) == 1


def test_everything_is_checked_once_per_sync_period() -> None:
    rig = Rig()
    rig.start("a")
    rig.clock.advance(29.9)
    rig.loop.step()
    assert len(rig.plane.syncs) == 1
    rig.clock.advance(0.2)
    rig.loop.step()
    assert rig.plane.syncs[1:] == [(["a"], None)]


def test_a_full_sync_is_not_put_off_by_changes_that_keep_coming() -> None:
    rig = Rig()
    rig.start("a")
    for index in range(12):
        rig.clock.advance(3)
        rig.add(f"s{index}")
        rig.loop.step()
    full = [index for index, (_, changed) in enumerate(rig.plane.syncs) if changed is None]
    assert full == [0, 10]


def test_a_failed_sync_is_tried_again_in_full_and_told() -> None:
    rig = Rig()
    rig.start("a")
    rig.plane.failures = 1
    rig.add("b")
    assert rig.loop.step() == 30.0
    assert not rig.loop.healthy()
    assert rig.lines[1:] == [
        {
            "event": "sync-failed",
            "elapsed_ns": S // 4,
            "error": "iptables-restore ended with code 4: busy",
        }
    ]
    rig.add("c")
    rig.loop.step()
    assert rig.plane.syncs[2:] == [(["a", "b", "c"], None)]
    assert rig.loop.healthy()
    assert (rig.metrics.syncs_total, rig.metrics.sync_failures_total) == (2, 1)


def test_a_failed_first_sync_waits_for_the_sync_period() -> None:
    rig = Rig()
    rig.plane.failures = 1
    rig.start("a")
    assert not rig.loop.healthy()
    rig.clock.advance(30)
    rig.loop.step()
    assert [changed for _, changed in rig.plane.syncs] == [None, None]
    assert rig.loop.healthy()


def test_an_error_that_nobody_foresaw_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.start("a")
    rig.plane.failures, rig.plane.error = 1, ZeroDivisionError("division by zero")
    rig.add("b")
    assert rig.loop.step() == 30.0
    assert rig.lines[1:] == [
        {
            "event": "sync-failed",
            "elapsed_ns": S // 4,
            "error": "unexpected ZeroDivisionError: division by zero",
        }
    ]
    assert [record.message for record in caplog.records] == ["the sync failed unexpectedly"]
    assert not rig.loop.healthy()
    assert rig.metrics.sync_failures_total == 1
    rig.clock.advance(30)
    rig.loop.step()
    assert rig.plane.syncs[2:] == [(["a", "b"], None)]
    assert rig.loop.healthy()


def test_an_object_that_cannot_be_read_is_told_and_the_others_are_programmed() -> None:
    rig = Rig()
    bad = service("b")
    bad["spec"]["clusterIP"] = "10.96.0.300"
    rig.loop.services_listed([bad, service("a")])
    rig.loop.slices_listed([])
    rig.loop.step()
    assert rig.plane.syncs == [(["a"], None)]
    assert rig.lines[0] == {
        "event": "skipped",
        "error": "Service ns/b: spec.clusterIP: expected an IPv4 address, got '10.96.0.300'",
    }


def test_health_ends_two_periods_after_the_last_success() -> None:
    rig = Rig()
    rig.start("a")
    rig.clock.advance(60)
    assert rig.loop.healthy()
    rig.clock.advance(0.001)
    assert not rig.loop.healthy()


def test_figures_and_the_log_tell_of_each_sync() -> None:
    rig = Rig()
    rig.start("a")
    assert rig.lines == [
        {
            "event": "sync",
            "number": 1,
            "full": True,
            "elapsed_ns": S // 4,
            "build_ns": S // 100,
            "tool_ns": S // 10,
            "kernel_ns": S // 50,
            "service_ports": 1,
            "endpoints": 0,
            "changed": 1,
        }
    ]
    rig.add("b")
    assert (rig.metrics.service_changes_pending, rig.metrics.service_changes_total) == (1, 2)
    assert rig.metrics.last_queued_utc_s == 1000.25
    rig.loop.step()
    assert rig.metrics.service_changes_pending == 0
    assert rig.metrics.sync_duration.sum == 0.5
    assert rig.metrics.last_sync_utc_s == 1000.5
    assert (rig.metrics.build_seconds, rig.metrics.tool_seconds, rig.metrics.kernel_seconds) == (0.02, 0.2, 0.04)


def test_network_programming_counts_from_the_annotated_change_to_the_end_of_the_sync() -> None:
    rig = Rig()
    rig.start("a")
    rig.loop.slice_event(
        "ADDED",
        {
            "metadata": {
                "namespace": "ns",
                "name": "a-1",
                "labels": {"kubernetes.io/service-name": "a"},
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:16:39.75Z"},
            },
            "endpoints": [{"addresses": ["10.244.0.1"]}],
            "ports": [{"port": 8080}],
        },
    )
    rig.loop.step()
    assert rig.metrics.programming.sum == 0.75


def test_changes_during_a_sync_wake_the_running_loop_and_stop_ends_it() -> None:
    rig = Rig(LoopConfig(**{**vars(CONFIG), "min_sync_period": 0.0}))
    thread = threading.Thread(target=rig.loop.run)
    thread.start()
    try:
        rig.loop.services_listed([])
        rig.loop.slices_listed([])
        assert rig.plane.synced.wait(5)
        rig.plane.synced.clear()
        rig.add("a")
        assert rig.plane.synced.wait(5)
    finally:
        rig.loop.stop()
        thread.join(5)
    assert not thread.is_alive()
    assert rig.plane.syncs[0][0] == []
    assert rig.plane.syncs[-1][0] == ["a"]


def test_a_loop_that_ended_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.start("a")
    assert rig.loop.healthy()
    monkeypatch.setattr(rig.loop, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rig.loop.run()
    assert not rig.loop.healthy()


def test_health_needs_a_living_watch_of_each_collection() -> None:
    rig = Rig()
    services, slices = Watch("/api/v1/services"), Watch("/apis/discovery.k8s.io/v1/endpointslices")
    watches = [services, slices]
    assert healthz("/healthz", rig.loop, watches) == Answer(503, b"no sync succeeded recently\n")
    rig.start("a")
    assert healthz("/healthz", rig.loop, watches) == Answer(200, b"ok\n")
    slices.alive = False
    expected = b"nothing watches /apis/discovery.k8s.io/v1/endpointslices\n"
    assert healthz("/healthz", rig.loop, watches) == Answer(503, expected)


def test_the_bucket_holds_two_runs_and_refills_with_time() -> None:
    frequency = BoundedFrequency(S, 30 * S, 0)
    ran = []
    now = 0
    while now < 5 * S:
        frequency.request(now)
        if frequency.due(now):
            ran.append(now // (S // 10))
            frequency.ended(now)
        now += S // 10
    assert ran == [0, 1, 10, 20, 30, 40]


def test_the_maximum_interval_is_never_below_the_minimum() -> None:
    frequency = BoundedFrequency(10 * S, S, 0)
    assert not frequency.due(9 * S)
    assert frequency.due(10 * S)


def test_a_retry_does_not_put_off_an_earlier_run() -> None:
    frequency = BoundedFrequency(S, 30 * S, 0)
    frequency.retry_after(0, 60 * S)
    assert frequency.next == 30 * S
    frequency.retry_after(0, 5 * S)
    assert frequency.next == 5 * S


def test_the_system_clock_is_a_clock() -> None:
    assert SystemClock().monotonic_ns() > 0
