from __future__ import annotations

import pytest

from proxybench.agent.node import oom_kills
from proxybench.errors import ConnectionLostError
from proxybench.nodes.node import NodeHandle
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.factories import make_node

LOOK = ("cat", "/proc/vmstat")


@pytest.mark.parametrize(
    ("text", "count"), [("nr_free_pages 7\noom_kill 2\nswap_ra 0\n", 2), ("nr_free_pages 7\n", 0), ("", 0)]
)
def test_what_a_kernel_has_killed_is_its_own_count(text: str, count: int) -> None:
    assert oom_kills(text) == count


def test_each_kill_for_want_of_memory_is_told_once() -> None:
    looks = [Run(LOOK, done(f"oom_kill {count}\n")) for count in (1, 1, 3)]
    node = NodeHandle(make_node("node1"), FakeExecutor("node1", looks), FakeAgent([]))
    assert [node.ran_out_of_memory() for _ in looks] == [
        ", for want of memory: oom_kill of node1's kernel went from 0 to 1",
        "",
        ", for want of memory: oom_kill of node1's kernel went from 1 to 3",
    ]


def test_of_a_node_that_cannot_be_asked_nothing_is_told() -> None:
    gone = Run(LOOK, ConnectionLostError("node1: the connection broke"))
    assert NodeHandle(make_node("node1"), FakeExecutor("node1", [gone]), FakeAgent([])).ran_out_of_memory() == ""
