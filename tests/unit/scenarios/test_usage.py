from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import MeasurementError
from proxybench.model import Scenario
from proxybench.nodes.answers import GroupFigures, NodeFigures, Usage
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskUsage
from proxybench.scenarios.usage import Reading, Window, before_birth, read_nodes, record_usage
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor
from tests.factories import make_node
from tests.unit.scenarios.rows import rows

if TYPE_CHECKING:
    from proxybench.scenarios.recorder import Recorder

GROUP = "/sys/fs/cgroup/pb/loop"


def reading(at: int, scale: int, *, group: GroupFigures | None, agents: int = 0) -> Reading:
    stat = NodeFigures(busy_ns=11_111 * scale, softirq_ns=10_000 * scale)
    groups = {GROUP: group} if group else {}
    return Reading(Usage(at, groups, stat, self_ns=0), agents)


BEFORE = reading(50, 1, group=GroupFigures(1000, 600, 400, 5000, 4000), agents=70)
AFTER = reading(250, 3, group=GroupFigures(1900, 1100, 800, 9000, 3000), agents=100)
SPENT = [
    ("cpu.control_loop", 900),
    ("cpu.control_loop.user", 500),
    ("cpu.control_loop.system", 400),
    ("cpu.softirq", 20_000),
    ("cpu.node", 2 * 11_111),
    ("cpu.agent", 30),
    ("cpu.window", 200),
]


def test_the_usage_is_the_difference_of_two_readings_and_the_peak_of_memory(recorder: Recorder) -> None:
    record_usage(recorder, Scenario.IDLE, GROUP, Window(BEFORE, AFTER))
    found = rows(recorder)
    assert [(row[0], row[4]) for row in found] == [*SPENT, ("memory.control_loop", 9000)]
    assert {row[1:4] for row in found} == {("idle", "none", "none")}
    assert {row[5] for row in found[:-1]} == {"ns"}
    assert found[-1][5] == "bytes"


def test_of_a_control_loop_without_a_cgroup_nothing_is_told_but_of_the_node(recorder: Recorder) -> None:
    before, after = replace(BEFORE, usage=replace(BEFORE.usage, groups={})), AFTER
    record_usage(recorder, Scenario.IDLE, None, Window(before, after))
    assert [(row[0], row[4]) for row in rows(recorder)] == SPENT[3:]
    assert before_birth(before, None) == before


def test_what_is_counted_in_ticks_is_uncertain_by_one(recorder: Recorder) -> None:
    record_usage(recorder, Scenario.IDLE, GROUP, Window(BEFORE, AFTER))
    unsure = {str(sample.metric) for sample in recorder.samples if sample.uncertainty}
    assert unsure == {"cpu.control_loop.user", "cpu.control_loop.system", "cpu.softirq", "cpu.node"}
    assert {sample.uncertainty for sample in recorder.samples} == {0, 10_000_000}


@pytest.mark.parametrize(
    ("peak", "current", "recorded"),
    [(None, 3000, [("memory.control_loop", 3000)]), (0, 3000, [("memory.control_loop", 0)]), (None, None, [])],
)
def test_memory_is_what_the_kernel_tells(
    recorder: Recorder, peak: int | None, current: int | None, recorded: list[tuple[str, int]]
) -> None:
    after = reading(250, 3, group=GroupFigures(1900, 1100, 800, peak, current), agents=100)
    record_usage(recorder, Scenario.LOAD, GROUP, Window(BEFORE, after))
    assert [(row[0], row[4]) for row in rows(recorder)] == [*SPENT, *recorded]


def test_before_its_birth_a_control_loop_had_spent_nothing(recorder: Recorder) -> None:
    record_usage(recorder, Scenario.COLD_START, GROUP, Window(before_birth(reading(50, 1, group=None), GROUP), AFTER))
    assert [row[4] for row in rows(recorder)][:3] == [1900, 1100, 800]


def test_relaying_is_a_row_of_its_own_and_not_the_loops(recorder: Recorder) -> None:
    record_usage(recorder, Scenario.LOAD, GROUP, Window(BEFORE, AFTER, relay_ns=700))
    assert [(row[0], row[4]) for row in rows(recorder)][:4] == [
        ("cpu.control_loop", 200),
        ("cpu.relay", 700),
        ("cpu.control_loop.user", 500),
        ("cpu.control_loop.system", 400),
    ]


def test_a_relay_that_was_read_later_than_the_usage_has_spent_no_more_than_the_cgroup(recorder: Recorder) -> None:
    record_usage(recorder, Scenario.IDLE, GROUP, Window(BEFORE, AFTER, relay_ns=950))
    assert [(row[0], row[4]) for row in rows(recorder)][:2] == [("cpu.control_loop", 0), ("cpu.relay", 900)]


def test_birth_changes_nothing_else() -> None:
    born = before_birth(BEFORE, "/other")
    assert born.usage.groups[GROUP] == BEFORE.usage.groups[GROUP]
    assert (born.usage.at_ns, born.usage.stat, born.agents_ns) == (50, BEFORE.usage.stat, 70)
    assert list(BEFORE.usage.groups) == [GROUP]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_reading_without_the_cgroup_is_an_error(recorder: Recorder, missing: int) -> None:
    pair = [BEFORE, AFTER]
    pair[missing] = reading(1, 1, group=None)
    with pytest.raises(MeasurementError) as raised:
        record_usage(recorder, Scenario.IDLE, GROUP, Window(pair[0], pair[1]))
    assert str(raised.value) == "the control loop's cgroup /sys/fs/cgroup/pb/loop is missing from what was read"
    assert recorder.samples == []


@pytest.mark.parametrize(("cgroup", "asked"), [("/g", ("/g",)), (None, ())])
def test_a_reading_is_the_measured_nodes_and_all_agents_own_cost(cgroup: str | None, asked: tuple[str, ...]) -> None:
    def node(groups: tuple[str, ...], cost: int) -> NodeHandle:
        answer = replace(BEFORE.usage, self_ns=cost)
        agent = FakeAgent([(AskUsage(groups), answer)])
        agents.append(agent)
        return NodeHandle(make_node(), FakeExecutor("node1"), agent)

    agents: list[FakeAgent] = []
    found = read_nodes(node(asked, 70), [node((), 5), node((), 900)], cgroup)
    assert (found.usage.self_ns, found.agents_ns) == (70, 975)
    for agent in agents:
        agent.verify()
