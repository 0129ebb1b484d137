"""The clocks of all nodes, before and after a step: what is asked, of whom, and what a dead node costs."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.clocks import ClockDomain, Offset
from proxybench.errors import AgentError
from proxybench.nodes.answers import ClockReading
from proxybench.nodes.requests import AskClocks
from proxybench.run.offsets import all_offsets, offsets_table
from tests.factories import make_node
from tests.unit.run.world import FakeNode, World

if TYPE_CHECKING:
    from proxybench.nodes.client import Pending
    from proxybench.nodes.node import NodeHandle
    from proxybench.nodes.requests import Request
    from tests.unit.run.world import T


class Dead(FakeNode):
    """An agent that cannot be asked any more."""

    def begin(self, request: Request[T]) -> Pending[T]:
        raise AgentError(f"{self.name}: the agent cannot be asked any more:\n{request.op} got no answer")


class Silent(FakeNode):
    """An agent that does not answer before it is let go."""

    gone = threading.Event()

    def begin(self, request: Request[T]) -> Pending[T]:
        self.gone.wait(20)
        raise AgentError(f"{self.name}: {request.op} got no answer")


def apart(world: World, **agents: type[FakeNode]) -> list[NodeHandle]:
    """Return a world's nodes, each with a kernel of its own; some with other agents."""
    return [
        replace(handle, node=make_node(name, clock=ClockDomain(name)), agent=agents.get(name, FakeNode)(world, name))
        for name, handle in world.bench.handles.items()
    ]


def asked(world: World) -> dict[str, int]:
    """Return how often each node was asked for its time."""
    lines = [line.removesuffix(" clocks") for line in world.log if line.endswith(" clocks")]
    return {name: lines.count(name) for name in lines}


def test_nothing_is_asked_where_all_share_a_kernel() -> None:
    world, notes = World({"cpu": True}), list[str]()
    assert all_offsets(world.bench.handles.values(), world.clock, notes) == {}
    assert (world.log, notes) == ([], [])


def test_every_clock_is_asked_four_times_and_a_shared_one_by_one_node() -> None:
    world, notes = World({"cpu": True}), list[str]()
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now + 7, 0)
    client, node1, node2 = apart(world)
    shared = replace(node2, node=make_node("node2", clock=ClockDomain("node1")))
    assert all_offsets((client, node1, shared), world.clock, notes) == {"client": Offset(7, 0), "node1": Offset(7, 0)}
    assert (asked(world), notes) == ({"client": 4, "node1": 4}, [])


def test_a_node_that_is_dead_is_noted_and_no_other_is_lost_for_it() -> None:
    world, notes = World({"cpu": True}), list[str]()
    assert all_offsets(apart(world, node2=Dead), world.clock, notes) == {"client": Offset(0, 0), "node1": Offset(0, 0)}
    why = "the agent cannot be asked any more: clocks got no answer"
    assert notes == [f"the clock of node2 is not known: node2: {why}"]
    assert list(all_offsets(apart(world, node1=Dead, node2=Dead), world.clock, notes)) == ["client"]
    assert notes[1:] == [f"the clock of node1 is not known, nor those of 1 more: node1: {why}"]


def test_nobody_is_waited_for_beyond_the_limit() -> None:
    world, notes = World({"cpu": True}), list[str]()
    try:
        assert list(all_offsets(apart(world, node1=Silent), world.clock, notes, 0.3)) == ["client", "node2"]
    finally:
        Silent.gone.set()
    assert notes == ["the clock of node1 is not known: no answer within 0.3 s"]


def test_what_was_found_is_a_table_with_gaps() -> None:
    before, after = {"a": Offset(5, 1), "b": Offset(-7, 2)}, {"b": Offset(-6, 3), "c": Offset(0, 0)}
    assert offsets_table(before, after) == (
        "node,before_ns,before_bound_ns,after_ns,after_bound_ns\na,5,1,,\nb,-7,2,-6,3\nc,,,0,0\n"
    )
