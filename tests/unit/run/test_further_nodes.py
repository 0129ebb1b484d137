"""Nodes of a cluster that others use, on which no number rests: they may end as they like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.clocks import ClockDomain
from proxybench.nodes.answers import ClockReading
from proxybench.nodes.cluster import Traits
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskClocks, Established
from tests.factories import make_cluster, make_node
from tests.unit.run.world import FakeHost, FakeNode, World, established

if TYPE_CHECKING:
    from proxybench.run.testbed import Testbed

OTHERS = Traits(exclusive=False)


def end_agent(world: World, name: str) -> None:
    agent = world.bench.handles[name].agent
    assert isinstance(agent, FakeNode)
    agent.ended = f"{name}: the agent was ended by SIGKILL"


def shared(world: World, **changes: Any) -> Testbed:
    """Return a world's nodes as a cluster that others use, too."""
    return replace(world.bench, cluster=make_cluster(traits=OTHERS, **changes))


def test_a_further_node_whose_agent_ends_costs_no_number() -> None:
    world = World({"cpu": {"idle": "4s"}, "forwarding": {"connections": 20, "established": 3}})

    def kill(request: Established) -> object:
        end_agent(world, "node2")
        return established(world, request)

    world.answers[Established] = kill
    bench = shared(world)
    result = world.take(bench=bench)
    assert (result.problems, result.lost, bench.broken) == ([], False, False)
    assert {"forwarding.established", "cpu.node"} <= {str(sample.metric) for sample in result.samples}
    assert not any(line.startswith("node2 ") for line in world.log)


@pytest.mark.parametrize(
    ("nodes", "changes"),
    [("all", {}), ("measured", {"endpoints": (("node2", "198.18.1.101"), ("node2", "198.18.1.102"))})],
    ids=["runs a proxy", "has endpoints"],
)
def test_one_on_which_numbers_rest_is_missed(nodes: str, changes: dict[str, Any]) -> None:
    world = World({"cpu": {"idle": "4s"}}, nodes=nodes)
    end_agent(world, "node2")
    bench = shared(world, **changes)
    assert (bench.broken, bench.lost()) == (True, "node2: the agent was ended by SIGKILL")


def test_only_agents_of_nodes_on_which_numbers_rest_are_accounted_for() -> None:
    """Each has spent 1 % of the time."""
    of_three, of_two = World({"cpu": {"idle": "4s"}}), World({"cpu": {"idle": "4s"}})
    whole = of_three.metrics(of_three.take(), "idle")["cpu.agent"][0]
    few = of_two.metrics(of_two.take(bench=shared(of_two)), "idle")["cpu.agent"][0]
    assert (whole, few) == (12_000_000, 8_000_000)


def test_the_clocks_of_all_nodes_lie_with_the_step() -> None:
    world = World({"cpu": {"idle": "4s"}})
    world.answers[AskClocks] = lambda _: ClockReading(2 * world.clock.now, 0)
    handles = {
        name: replace(handle, node=make_node(name, clock=ClockDomain("far" if name == "node2" else "near")))
        for name, handle in world.bench.handles.items()
    }
    result = world.take(bench=replace(shared(world), handles=handles))
    lines = [line.split(",") for line in result.logs["004-clocks.csv"].splitlines()]
    assert [line[0] for line in lines] == ["node", "client", "node2"]
    spent = [int(after) - int(before) for _, before, _, after, _ in lines[1:]]
    assert (spent, result.notes) == ([4_500_000_000] * 2, [])  # a start of 0.5 s, and the window


class Loaded:
    """Locust on the clients, which nobody asks to make a load here."""

    broken = False
    ended = ""


@pytest.mark.parametrize(("load", "asked"), [(None, 4 + 4), (Loaded(), 16 + 4 + 4)])
def test_a_further_client_s_clock_is_bounded_as_closely_where_it_makes_a_load(load: Any, asked: int) -> None:
    """Before the step, with the first client's; and with all others' before and after it."""
    world = World({"cpu": {"idle": "4s"}}, load={"rate": 10, "at": [1000]})
    node = make_node("client2", clock=ClockDomain("its own"))
    client2 = NodeHandle(node, FakeHost(world, "client2"), FakeNode(world, "client2"))
    bench = shared(world, more_clients=(node,))
    result = world.take(bench=replace(bench, handles={**bench.handles, "client2": client2}, load=load))
    assert (result.problems, result.notes) == ([], [])
    assert world.log.count("client2 clocks") == asked
