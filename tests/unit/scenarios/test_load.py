from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import UsageError
from proxybench.experiment.spec import LoadSpec
from proxybench.kube.objects import Population
from proxybench.load.clients import Client, LoadClients
from proxybench.load.command import Part, build_request
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import LoadResult
from proxybench.load.session import WarmLocust
from proxybench.model import ClockKind
from proxybench.scenarios.load import plan, record
from proxybench.scenarios.places import Places
from proxybench.scenarios.recorder import Recorder
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, FakeSession, Get, Line, Put, Sent, Step
from tests.unit.run.world import CELL, PLAN, World

if TYPE_CHECKING:
    from proxybench.run.testbed import Testbed

POPULATION = Population(PLAN, 2)
BY_VIP = {PLAN.vip(index): index for index in range(10_000)}


def indices(load: LoadPlan) -> list[int]:
    return [BY_VIP[target.address] for target in load.targets]


def test_a_plan_spreads_over_the_services_whose_endpoints_are_on_the_measured_node() -> None:
    load = plan(
        LoadSpec.model_validate({"rate": 200, "users": 10, "duration": "5s", "services_used": 4}),
        Places(POPULATION, 10),
    )
    assert load == LoadPlan(
        targets=(
            Target("10.96.1.0", 80, ("10.244.1.0", "10.244.1.1")),
            Target("10.96.1.3", 80, ("10.244.1.6", "10.244.1.7")),
            Target("10.96.1.6", 80, ("10.244.1.12", "10.244.1.13")),
            Target("10.96.1.9", 80, ("10.244.1.18", "10.244.1.19")),
        ),
        rate_per_user=20.0,
        users=10,
        duration_s=5.0,
        timeout_ms=2000,
    )


def test_a_cell_smaller_than_the_load_uses_all_it_has() -> None:
    load = plan(LoadSpec(rate=10, services_used=50), Places(POPULATION, 3))
    assert indices(load) == [0, 2]


def test_one_service_is_enough() -> None:
    assert indices(plan(LoadSpec(rate=10, services_used=1), Places(POPULATION, 1000))) == [0]


@given(services=st.integers(1, 10_000), used=st.integers(2, 100))
def test_first_and_last_are_always_among_them_and_none_twice(services: int, used: int) -> None:
    chosen = indices(plan(LoadSpec(rate=10, services_used=used), Places(POPULATION, services)))
    near = [index for index in range(services) if POPULATION.on_first_node(index)]
    assert (chosen[0], chosen[-1]) == (near[0], near[-1])
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(near)
    assert len(chosen) == min(used, services, len(near))


@given(services=st.integers(20, 10_000))
def test_by_default_one_of_them_is_the_middle_and_as_many_lie_before_it_as_after(services: int) -> None:
    chosen = indices(plan(LoadSpec(rate=10), Places(POPULATION, services)))
    near = [index for index in range(services) if POPULATION.on_first_node(index)]
    before, after = divmod(len(chosen), 2)
    assert after == 1
    assert chosen[before] == near[(len(near) - 1) // 2]


def test_a_load_too_short_for_its_users_is_refused() -> None:
    spec = LoadSpec.model_validate({"rate": 1, "users": 100, "duration": "1s"})
    with pytest.raises(UsageError) as raised:
        plan(spec, Places(POPULATION, 10))
    assert str(raised.value) == "the load is too short for one connection per user"


@pytest.mark.parametrize(
    ("clock", "metrics"),
    [
        (
            ClockKind.WALL,
            {"forwarding.load": [30, 40, 5000], "forwarding.load.intended": [35, 47, 5000], "load.lag": [5, 7]},
        ),
        (ClockKind.INSTRUCTIONS, {"forwarding.load": [30, 40, 5000]}),
    ],
)
def test_waiting_for_the_intended_start_counts_by_the_wall_clock_only(
    clock: ClockKind, metrics: dict[str, list[int]]
) -> None:
    recorder = recorded(clock)
    found: dict[str, list[int]] = {}
    for sample in recorder.samples:
        found.setdefault(sample.metric, []).append(sample.value)
    counts = {name: found.pop(name) for name in list(found) if name.startswith("load.") and name != "load.lag"}
    assert counts == {
        "load.offered": [3],
        "load.achieved": [2],
        "load.failure_rate": [5_000],
        "load.failed": [1],
        "load.wrong_endpoint": [0],
        "load.refused": [0],
        "load.unanswered": [1],
        "load.unserved": [0],
    }
    assert found == metrics
    assert [sample.value for sample in recorder.samples if sample.censored] == [5000] * (
        len(metrics) - ("load.lag" in metrics)
    )


def test_what_the_generator_was_late_by_is_what_the_intended_start_is_uncertain_by() -> None:
    samples = recorded(ClockKind.WALL).samples
    unsure = {
        (str(one.metric), one.uncertainty)
        for one in samples
        if one.metric.startswith("forwarding") and not one.censored
    }
    assert unsure == {("forwarding.load", 0), ("forwarding.load.intended", 6)}  # lags of 5 and 7


def test_what_the_generator_did_is_recorded_with_its_own_units() -> None:
    units = {str(sample.metric): sample.unit for sample in recorded(ClockKind.WALL).samples}
    assert units["load.lag"] == "ns"
    assert units["load.offered"] == units["load.achieved"] == "connections/s"
    assert units["load.failed"] == "connections"


def recorded(clock: ClockKind) -> Recorder:
    recorder = Recorder("run-1", CELL, 1, "node1", clock, FakeClock())
    service, intended = np.array([30, 40]), np.array([35, 47])
    lag = intended - service
    record(recorder, LoadResult(intended, service, service, lag, 200, 5000, {"timeout": 1}, 3.0, 2.0))
    return recorder


def failed(**failures: int) -> dict[str, list[int]]:
    """Return what is recorded of 1,000 connections of which these failed, by metric; of the others two had a time."""
    recorder = Recorder("run-1", CELL, 1, "node1", ClockKind.WALL, FakeClock())
    kinds = {kind.replace("_", "-"): count for kind, count in failures.items()}
    took = np.array([30, 40])
    record(recorder, LoadResult(took, took, took, np.array([5, 7]), 1000, 5000, kinds, 3.0, 2.0))
    found: dict[str, list[int]] = {}
    for sample in recorder.samples:
        found.setdefault(sample.metric, []).append(sample.value)
    return found


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("wrong_endpoint", "load.wrong_endpoint"), ("refused", "load.refused"), ("unserved", "load.unserved")],
)
def test_what_got_no_answer_of_its_own_is_an_error_in_its_own_column_and_no_latency(kind: str, metric: str) -> None:
    """Each stood among the latencies, as if it had waited for the time limit."""
    found = failed(**{kind: 10})
    assert (found[metric], found["load.failed"], found["load.failure_rate"]) == ([10], [10], [10_000])
    assert (found["forwarding.load"], found["forwarding.load.intended"]) == ([30, 40], [30, 40])


def test_other_failures_are_counted_too() -> None:
    found = failed(reset=3, timeout=2)
    assert (found["load.failed"], found["load.unanswered"], found["load.failure_rate"]) == ([5], [2], [5_000])
    assert found["forwarding.load"] == [30, 40, 5000, 5000]


def test_above_one_per_cent_a_point_is_broken_and_keeps_no_times() -> None:
    assert "forwarding.load" in failed(timeout=10)
    found = failed(timeout=9, refused=2)
    assert found == {
        "load.offered": [3],
        "load.achieved": [2],
        "load.failure_rate": [11_000],
        "load.failed": [11],
        "load.wrong_endpoint": [0],
        "load.refused": [2],
        "load.unanswered": [9],
        "load.unserved": [0],
    }


def test_a_broken_point_is_a_problem_of_the_step_and_told_by_kind() -> None:
    world = World({"cpu": {"idle": "1s"}}, load={"rate": 10, "users": 1, "duration": "1s"})
    rows = ["0,0,10,20,30,", "1,100,110,0,0,refused", "2,200,210,0,0,timeout"]
    result = world.take(bench=with_locust(world, rows))
    told = "9 of 10 connections failed: 1 x refused, 1 x timeout, 7 x unserved"
    assert result.problems == [f"load: broken, since more than 1 % of it failed: {told}"]
    assert result.notes == []
    found = world.metrics(result, "load")
    assert (found["load.failed"], found["load.failure_rate"]) == ([9], [900_000])
    assert "cpu.control_loop" in found
    assert not {"load.lag", "forwarding.load"} & found.keys()


def test_a_few_failures_are_noted_by_kind() -> None:
    world = World({"cpu": {"idle": "1s"}}, load={"rate": 10, "users": 1, "duration": "1s"})
    rows = [f"{slot},0,10,20,30," for slot in range(199)]
    result = world.take(bench=with_locust(world, [*rows, "199,0,10,0,0,refused"], slots=200))
    assert result.problems == []
    assert result.notes == ["load: 1 of 200 connections failed: 1 x refused"]
    assert world.metrics(result, "load")["load.lag"] == [10] * 199


def with_locust(world: World, records: list[str], slots: int = 10) -> Testbed:
    """Return the world's testbed with a generator on its client that brings these records."""
    head = {"format": 1, "begun": True, "users": 1, "slots": slots, "timeout_ns": 5, "duration_ns": 1_000_000_000}
    text = "\n".join([json.dumps(head), *records, json.dumps({"records": len(records)})])
    load = plan(LoadSpec.model_validate({"rate": 10, "users": 1, "duration": "1s"}), Places(POPULATION, 10))
    part = Part("/run/pb/load")
    request = build_request(load, part)
    session = FakeSession([Line('{"ready": true}'), Sent(request), Line('{"code": 0, "said": ""}')])
    files: list[Step] = [Put(part.plan, load.to_json(part.records)), Get(part.records, text.encode())]
    client = Client(world.bench.client.node, FakeExecutor("client", files), WarmLocust(session), part)
    return replace(world.bench, load=LoadClients([client], None, ExitStack()))
