from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.events import SLICES_EACH
from proxybench.nodes.requests import ReadFiles
from proxybench.scenarios.canary import SLICES
from proxybench.scenarios.soak import ENDPOINTS_CHURNED, SERVICES_CHURNED, churn, resident, slope
from proxybench.scenarios.workload import Workload
from proxybench.subjects.inventory import Inventory
from tests.unit.run.world import CELL as STEP_CELL
from tests.unit.run.world import PLAN, World

HOUR_NS = 3_600_000_000_000
OWN, EXTRA = Workload(PLAN, 2, 3), Workload(PLAN, protocol="UDP")
CELL = frozenset(PLAN.vip(index) for index in range(10))
CHURNED = frozenset(Workload(PLAN, 4).vip(number) for number in range(4))


def world(*inventories: Inventory) -> World:
    made = World({"soak": {"duration": "10s", "pace": "1s"}})
    made.running["node1"].inventories = list(inventories)
    made.answers[ReadFiles] = lambda request: dict.fromkeys(request.paths, "VmRSS:\t 1024 kB\n1\n")
    return made


def test_what_grew_and_what_is_left_is_told() -> None:
    strange = frozenset({"10.96.99.99"})
    made = world(Inventory(CELL | CHURNED, 30), Inventory(CELL | CHURNED | strange, 33))
    result = made.take()
    assert result.problems == []
    found = made.metrics(result, "soak")
    assert (found["soak.stale"], found["soak.drift"], found["soak.memory_slope"]) == ([3], [1], [0])
    assert 8 <= found["soak.changes"][0] <= 10
    assert found["event.attempts"] == [39]
    assert result.notes == ["soak: rules and API disagree about 10.96.99.99"]
    assert {one.interval_ms for one in made.watches[0]} == {20}


def test_of_a_proxy_without_a_cgroup_no_memory_is_told() -> None:
    made = world(Inventory(CELL | CHURNED, 30), Inventory(CELL | CHURNED, 30))
    made.running["node1"].no_cpu = "it shares its cgroup"
    result = made.take()
    assert result.problems == []
    assert {"soak.stale", "soak.changes"} <= set(made.metrics(result, "soak"))
    assert "soak.memory_slope" not in made.metrics(result, "soak")


def test_a_proxy_whose_rules_nobody_knows_is_told() -> None:
    result = world().take()
    assert result.problems == []
    assert result.notes[0].startswith("soak: what ")
    assert result.notes[0].endswith(" has in the kernel is not known")
    assert not [one for one in result.samples if one.metric in {"soak.stale", "soak.drift"}]


def test_turns_take_back_what_they_did_but_for_the_endpoints() -> None:
    turns = [churn(OWN, EXTRA, turn) for turn in range(8)]
    told = [[(one.method, one.path.rpartition("/")[2]) for one in writes] for writes in turns]
    both = [("PUT", "svc-event-tcp-000-000"), ("PUT", "svc-event-tcp-001-000")]
    gone = [("DELETE", "svc-event-udp-000"), ("DELETE", "svc-event-udp-000-000")]
    assert told[:4] == [both, [("POST", "services"), ("POST", "endpointslices")], both, gone]
    assert told[4:] == told[:4]
    counts = [len((turns[turn][0].body or {})["endpoints"]) for turn in (0, 2, 4, 6)]
    assert counts == [3, 1, 3, 1]
    first, second = ((turns[turn][0].body or {})["endpoints"][0]["addresses"] for turn in (0, 4))
    assert first != second


def test_a_change_writes_as_many_slices_as_its_pace_counts_on() -> None:
    own = Workload(PLAN, SERVICES_CHURNED, ENDPOINTS_CHURNED)
    paths = [one.path for turn in range(4) for one in churn(own, EXTRA, turn)]
    assert sum(path.startswith(SLICES) for path in paths) / 4 == SLICES_EACH


def test_what_rules_and_api_disagree_about_in_a_profile_all_along_is_no_drift() -> None:
    external, strange = frozenset({"192.0.2.9"}), frozenset({"10.96.99.99"})
    made = world(Inventory(CELL | CHURNED | external, 30), Inventory(CELL | CHURNED | external | strange, 30))
    result = made.take(cell=replace(STEP_CELL, profile="e5ff12106824"))
    assert made.metrics(result, "soak")["soak.drift"] == [1]
    assert result.notes == ["soak: rules and API disagree about 10.96.99.99"]


def test_the_slope_is_in_kib_per_hour() -> None:
    assert slope([(0, 0), (HOUR_NS // 2, 1024), (HOUR_NS, 2048)]) == 2
    assert slope([(0, 0)]) is None
    assert slope([(5, 0), (5, 9)]) is None


@given(st.integers(2, 60), st.integers(-50, 50))
def test_one_wild_reading_does_not_bend_it(count: int, growth: int) -> None:
    readings = [(index * HOUR_NS, index * growth * 1024) for index in range(count)]
    if count > 4:
        readings[count // 2] = (readings[count // 2][0], 1 << 40)
    assert slope(readings) == pytest.approx(growth, abs=1)


def test_resident_memory_is_read_from_status() -> None:
    assert resident("Name:\tkube-proxy\nVmHWM:\t  70000 kB\nVmRSS:\t   65536 kB\n") == 64 << 20
    assert resident("") == 0
