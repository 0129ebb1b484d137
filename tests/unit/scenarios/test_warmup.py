from __future__ import annotations

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ConnectionLostError, ProxierError
from proxybench.scenarios.warmup import warm_up
from tests.unit.run.world import World


@pytest.fixture
def world() -> World:
    return World({"cpu": True}, nodes="all")


def run(world: World) -> tuple[str, ...]:
    return warm_up({"reference iptables": world.proxies()}, Deadline(world.clock, 300, "the run"))


def test_every_node_starts_and_stops_once_and_is_as_it_was(world: World) -> None:
    assert run(world) == ()
    assert world.log == [f"{node} {what}" for what in ("start", "ready", "stop") for node in ("node1", "node2")]
    assert world.kernel_log == ["node1 capture", "node2 capture", "node1 restore", "node2 restore"]


def test_a_subject_that_fails_is_reported_and_stopped(world: World) -> None:
    world.running["node2"].fails["start"] = ProxierError("node2: no such module")
    assert run(world) == ("reference iptables: the warm-up failed: node2: no such module",)
    assert world.log == ["node1 start", "node2 start", "node1 stop"]


def test_what_goes_wrong_at_the_end_is_reported_too(world: World) -> None:
    world.kernels.fails["restore"] = ProxierError("could not be cleaned")
    assert run(world) == tuple(
        f"reference iptables: the warm-up failed: cleaning {node}: could not be cleaned" for node in ("node1", "node2")
    )


@pytest.mark.parametrize("moment", ["ready", "stop"])
def test_a_lost_connection_ends_it(world: World, moment: str) -> None:
    world.running["node1"].fails[moment] = ConnectionLostError("node1: the connection is lost")
    with pytest.raises(ConnectionLostError, match=r"node1: the connection is lost$"):
        run(world)
    assert "node1 restore" not in world.kernel_log
