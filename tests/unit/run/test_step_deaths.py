"""What kills one of our own programs, or the measured one, in the middle of a step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import AgentError, ProxierError, ProxierLostError
from proxybench.model import ClockKind
from proxybench.nodes.answers import AwaitAllResult
from proxybench.nodes.requests import AwaitAll, Change, Established
from tests.unit.run.world import FakeNode, World, changed, established, seen

CPU = {"idle": "4s"}
FORWARDING = {"connections": 20, "established": 3}


def refusing(*errors: str) -> object:
    raise AgentError("; ".join(errors))


def end_agent(world: World, name: str) -> None:
    agent = world.bench.handles[name].agent
    assert isinstance(agent, FakeNode)
    agent.ended = f"{name}: the agent was ended by SIGKILL"


@pytest.mark.parametrize("name", ["client", "node1", "node2"])
def test_a_scenario_in_which_an_agent_was_killed_brings_nothing_whoever_was_asked(name: str) -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING})

    def kill(request: Established) -> object:
        end_agent(world, name)
        return established(world, request)

    world.answers[Established] = kill
    result = world.take()
    assert result.problems == [f"established connections: {name}: the agent was ended by SIGKILL"]
    assert result.lost
    assert "idle" not in world.said
    kept = {str(sample.metric) for sample in result.samples}
    assert {"forwarding.connect", "forwarding.direct"} <= kept  # measured while all were alive
    assert "forwarding.established" not in kept


def test_a_death_for_want_of_memory_is_told_by_the_kernel_s_own_word() -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING})

    def kill(request: Established) -> object:
        end_agent(world, "node2")
        world.oom_kills["node2"] = 1
        return established(world, request)

    world.answers[Established] = kill
    killed = "node2: the agent was ended by SIGKILL, for want of memory: oom_kill of node2's kernel went from 0 to 1"
    assert world.take().problems == [f"established connections: {killed}"]


def test_a_program_that_the_kernel_killed_while_the_agents_live_is_told_likewise_and_once() -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING})
    told = "established connections: client: its process 7 was ended by SIGKILL"
    world.oom_kills["client"] = 4
    world.bench.client.agent.oom_kills = 3

    def lose(request: Established) -> object:
        raise AgentError("client: its process 7 was ended by SIGKILL")

    world.answers[Established] = lose
    assert world.take().problems == [f"{told}, for want of memory: oom_kill of client's kernel went from 3 to 4"]
    assert world.take().problems == [told]


def test_what_a_death_brought_about_is_not_told_as_the_cause() -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING})

    def kill(request: Established) -> object:
        end_agent(world, "node2")
        raise AgentError("client: established: Connection refused")

    world.answers[Established] = kill
    world.running["node1"].fails["stop"] = AgentError("node1: the agent cannot be asked any more")
    assert world.take().problems == ["established connections: node2: the agent was ended by SIGKILL"]


KILLED = "node1: kube-proxy was ended by SIGKILL: one | two"


def fall(world: World, node: str = "node1") -> None:
    world.running[node].fails["check"] = ProxierLostError(KILLED)


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_control_loop_that_ended_or_stood_still_fails_the_step_though_no_scenario_missed_it(node: str) -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING, "sync": {"scenarios": ["add-one"]}}, nodes="all")

    def kill(request: Established) -> object:
        fall(world, node)
        return established(world, request)

    world.answers[Established] = kill
    result = world.take()
    assert result.problems == [f"established connections: {KILLED}"]
    assert not result.lost
    assert {"forwarding.connect", "forwarding.direct"} <= {str(one.metric) for one in result.samples}  # it lived then
    assert "forwarding.established" not in {str(one.metric) for one in result.samples}
    assert "idle" not in world.said
    assert world.log[-1] == "node1 stop"


def test_a_dead_control_loop_is_the_cause_of_what_failed_for_want_of_it() -> None:
    world = World({"sync": {"scenarios": ["cold-start", "add-one", "delete-one"]}})

    def kill(request: Change) -> object:
        fall(world)
        raise ProxierError("node1: /metrics of kube-proxy: Connection refused")

    world.answers[Change] = kill
    result = world.take()
    assert result.problems == [f"add-one: {KILLED}"]
    assert {str(sample.point.scenario) for sample in result.samples} == {"cold-start"}


def test_a_start_that_nobody_answered_is_no_sample_of_a_control_loop_that_was_killed() -> None:
    world = World({"sync": {"scenarios": ["cold-start"]}})

    def kill(request: AwaitAll) -> object:
        fall(world)
        return AwaitAllResult(tuple(seen(world, probe, censored=True) for probe in request.probes))

    world.answers[AwaitAll] = kill
    result = world.take()
    assert (result.problems, result.samples) == ([f"cold start: {KILLED}"], [])


def test_by_the_instruction_clock_it_is_asked_where_something_failed_and_at_the_end() -> None:
    world = World({"sync": {"scenarios": ["cold-start", "add-one"]}})
    cluster = replace(world.bench.cluster, clock=ClockKind.INSTRUCTIONS)
    world.running["node1"].fails["stop"] = ProxierLostError(KILLED)
    fall(world)
    result = world.take(bench=replace(world.bench, cluster=cluster))
    assert (result.problems, result.samples) == ([f"stopping on node1: {KILLED}"], [])  # nobody knows since when
    world = World({"sync": {"scenarios": ["cold-start", "add-one"]}})
    fall(world)
    world.answers[Change] = lambda request: refusing("no such thing")
    result = world.take(bench=replace(world.bench, cluster=cluster))
    assert (result.problems, result.samples) == ([f"add-one: {KILLED}"], [])


def test_a_node_that_cannot_say_whether_its_control_loop_lives_does_not_hide_what_failed() -> None:
    world = World({"sync": {"scenarios": ["add-one"]}})

    def refuse(_: Change) -> object:
        world.running["node1"].fails["check"] = AgentError("node1: the agent cannot be asked any more")
        return refusing("no such thing")

    world.answers[Change] = refuse
    assert world.take().problems == ["add-one: no such thing"]


def test_what_holds_the_cluster_up_is_asked_after_each_scenario() -> None:
    world = World({"sync": {"scenarios": ["add-one", "delete-one"]}})
    told: list[str] = []

    def kill(request: Change) -> object:
        told.append("the lab's API server (process 7 of this machine) was ended by SIGKILL")
        return replace(changed(world, request), probes=(seen(world, request.probes[0], censored=True),))

    world.answers[Change] = kill
    cluster = replace(world.bench.cluster, trouble=lambda: told[0] if told else "")
    result = world.take(bench=replace(world.bench, cluster=cluster))
    assert result.problems == [f"add-one: {told[0]}"]
    assert world.metrics(result, "add-one") == {}  # not "more than 120 s"
    assert "delete-one" not in world.said


def test_no_step_is_begun_when_something_has_ended_already() -> None:
    world = World({"cpu": CPU})
    end_agent(world, "node2")
    result = world.take()
    assert (result.problems, result.lost) == (["step: node2: the agent was ended by SIGKILL"], True)
    assert world.log == []
