from __future__ import annotations

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ConnectionLostError, ProxierError
from proxybench.model import Mode
from proxybench.scenarios.warmup import warm_up
from tests.unit.run.world import World

PERIODS = (1.0, 30.0)


@pytest.fixture
def world() -> World:
    return World({"cpu": True}, nodes="all")


def run(world: World) -> tuple[str, ...]:
    return warm_up([Mode.IPTABLES], PERIODS, lambda: world.proxiers, Deadline(world.clock, 300, "the run"))


def test_every_node_starts_and_stops_once(world: World) -> None:
    assert run(world) == ()
    assert world.log == [f"{node} {what}" for what in ("start", "ready", "stop") for node in ("node1", "node2")]


def test_a_mode_that_fails_is_told_and_stopped(world: World) -> None:
    world.proxiers[1].fails["start"] = ProxierError("node2: no such module")
    assert run(world) == ("iptables: the warm-up failed: node2: no such module",)
    assert world.log == ["node1 start", "node2 start", "node1 stop", "node2 stop"]


def test_a_lost_connection_ends_it(world: World) -> None:
    world.proxiers[0].fails["ready"] = ConnectionLostError("node1: the connection is lost")
    with pytest.raises(ConnectionLostError):
        run(world)
