"""When a proxy has nothing to do: by its CPU time, also where a watch's connections cost it some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.nodes.answers import ChangeResult, GroupFigures, NodeFigures, Usage
from proxybench.nodes.requests import AskUsage, Change
from proxybench.subjects.driver import ProxyMetrics
from tests.unit.run.world import CELL, World, changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.scenarios.result import StepResult

S = 1_000_000_000
USERSPACE = replace(CELL, subject=replace(CELL.subject, mode=Mode.USERSPACE))
TOO_LATE = "restart: the step took longer than its limit of 20 s"


def restarted(mode: Mode, spent: Callable[[int], int]) -> StepResult:
    """Take a step with a restart under a watch; ``spent`` is the proxy's CPU time by the clock's."""
    made = World({"events": {"scenarios": ["restart"]}})

    def usage(request: AskUsage) -> Usage:
        now, watched = made.clock.now, bool(made.watches)
        used = spent(now) if watched else now // 100
        groups = {group: GroupFigures(used, used, 0, 4096, 4096) for group in request.cgroups}
        return Usage(now, groups, NodeFigures(now // 50, now // 1000), now // 1000)

    made.answers[AskUsage] = usage
    return made.take(limit=20.0, cell=USERSPACE if mode is Mode.USERSPACE else CELL)


def test_what_relays_a_watch_is_quiet_when_it_spends_the_same_all_the_time() -> None:
    assert restarted(Mode.USERSPACE, lambda now: now // 5).late == ""


def test_without_a_relay_nothing_but_rest_is_quiet() -> None:
    assert restarted(Mode.IPTABLES, lambda now: now // 5).late == TOO_LATE


@pytest.mark.parametrize(
    "spent",
    [
        lambda now: now * 6 // 10,  # as much as it gets: it works for itself
        lambda now: now // 5 if now % S < S // 2 else now // 5 + S // 10,  # now more, now less
    ],
    ids=["a busy core", "by fits and starts"],
)
def test_a_relay_that_works_for_itself_is_waited_for(spent: Callable[[int], int]) -> None:
    assert restarted(Mode.USERSPACE, spent).late == TOO_LATE


NO_CPU = "kube-proxy runs inside k3s-server, which does other work, too"


def alone(metrics: Callable[[float], ProxyMetrics]) -> tuple[World, StepResult]:
    """Take a step of a proxy without a cgroup; ``metrics`` are those of so many seconds after its change was written.

    Before it, nothing changes.
    """
    made = World({"sync": {"scenarios": ["add-one"]}})
    cluster = made.bench.cluster
    made.bench = replace(made.bench, cluster=replace(cluster, traits=replace(cluster.traits, starts_proxies=False)))
    proxy = made.running["node1"]
    proxy.no_cpu = NO_CPU
    wrote: list[int] = []

    def note(request: Change) -> ChangeResult:
        wrote.append(made.clock.now)
        return changed(made, request)

    made.answers[Change] = note
    proxy.read = lambda: metrics((made.clock.now - wrote[0]) / S) if wrote else AT_REST
    return made, made.take(limit=100.0)


AT_REST = ProxyMetrics(40.0, 400, full_sync_sum=1.0, full_sync_count=10)


def one_sync(seconds: float, at: float) -> Callable[[float], ProxyMetrics]:
    """Return the metrics of a proxy whose change is pending for a while, and whose sync is counted at a moment."""

    def metrics(now: float) -> ProxyMetrics:
        if now < at:
            return replace(AT_REST, pending=1 if now < at - seconds else 0)
        return replace(AT_REST, sync_sum=40.0 + seconds, sync_count=401)

    return metrics


@pytest.mark.parametrize(
    ("seconds", "at", "waited"),
    [
        (0.1, 0.2, 1.0),  # its sync is seen at 0.5 s; then half a second of rest
        (0.1, 1.2, 2.0),  # seen at 1.5 s
        (2.0, 4.0, 8.0),  # seen at 4 s, then as long as two such syncs
    ],
)
def test_without_a_cgroup_it_is_at_rest_when_no_sync_was_counted_for_as_long_as_two(
    seconds: float, at: float, waited: float
) -> None:
    made, result = alone(one_sync(seconds, at))
    assert result.problems == []
    values = {str(one.metric): one.value for one in result.samples}
    assert values["cpu.window"] == pytest.approx(waited * S, abs=1)
    assert values["sync.control_loop"] == pytest.approx(seconds * S)
    assert set(values) == {
        *("cpu.softirq", "cpu.node", "cpu.agent", "cpu.window"),
        *("sync.end_to_end", "sync.control_loop", "sync.count", "sync.full", "sync.full.count"),
    }
    assert (result.cgroup, result.no_cpu, result.notes) == (None, NO_CPU, [])
    del made


def test_one_without_a_cgroup_that_never_rests_is_waited_for_until_the_step_s_end() -> None:
    _, result = alone(lambda now: replace(AT_REST, sync_count=400 + int(now * 4), sync_sum=40.0 + now))
    assert result.late == "add-one: the step took longer than its limit of 100 s"


def test_one_without_a_cgroup_that_has_ended_its_work_is_not_late() -> None:
    _, result = alone(lambda _: AT_REST)  # its change never comes to a sync
    assert result.late == ""
    assert result.problems == ["add-one: the step took longer than its limit of 100 s"]
