from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.nodes.answers import Done
from proxybench.nodes.kernel import netlink
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Change, ReadFiles
from proxybench.nodes.watch import FillConntrack
from proxybench.testing.hosts import FakeExecutor, Run
from tests.unit.run.world import World, changed

if TYPE_CHECKING:
    from proxybench.nodes.answers import ChangeResult

FOLDER = "/proc/sys/net/netfilter/nf_conntrack_"
LONGER = Run(["sh", "-c", f"echo 3600 > {FOLDER}udp_timeout"])
USUAL = Run(["sh", "-c", f"echo 30 > {FOLDER}udp_timeout"])
FORGET = Run(["/python", "-c", inspect.getsource(netlink), "conntrack"])


class Full(World):
    """A world whose measured node has a table for ``most`` connections, of which it tracks ``found`` in the end."""

    def __init__(self, *script: Run, most: str, found: str = "1000\n") -> None:
        super().__init__({"events": {"scenarios": ["change-udp-tracked"], "tracked": 1000}})
        node = self.bench.measured
        self.executor = FakeExecutor("node1", script)
        handle = NodeHandle(node.node, self.executor, node.agent)
        self.bench = replace(self.bench, handles={**self.bench.handles, "node1": handle})
        self.order: list[object] = []
        known = {f"{FOLDER}max": most, f"{FOLDER}count": found, f"{FOLDER}udp_timeout": "30\n"}
        self.answers[ReadFiles] = lambda request: {one: known.get(one, "1\n") for one in request.paths}
        self.answers[FillConntrack] = self.fill
        self.answers[Change] = self.write

    def fill(self, request: FillConntrack) -> Done:
        self.order.append(request)
        return Done()

    def write(self, request: Change) -> ChangeResult:
        self.order.append("change")
        return changed(self, request)


def test_the_table_is_filled_before_the_change_and_forgotten_after_it() -> None:
    made = Full(LONGER, USUAL, FORGET, most="262144\n", found="987\n")
    result = made.take()
    assert result.problems == []
    request, *changes = made.order
    assert isinstance(request, FillConntrack)
    assert (len(set(request.hosts)), request.port, request.count) == (50, 8080, 1000)
    assert changes == ["change"]
    assert result.notes == ["987 connections were tracked, of 1,000 that were made for it"]
    made.executor.assert_done()


def test_a_kernel_that_takes_fewer_is_named_before_anything_is_made() -> None:
    made = Full(most="999\n")
    result = made.take()
    (problem,) = result.problems
    assert problem == (
        "change-udp-tracked: 1,000 tracked connections are more than node1's kernel takes, which is 999: raise"
        " net.netfilter.nf_conntrack_max (in network namespaces this machine's own) or write"
        " measure.events.tracked: 999"
    )
    assert made.order == []
    assert not made.metrics(result, "change-udp-tracked")


def test_one_without_a_limit_takes_all() -> None:
    assert Full(LONGER, USUAL, FORGET, most="0\n").take().problems == []


def test_what_was_not_tracked_after_all_is_not_measured() -> None:
    made = Full(LONGER, USUAL, FORGET, most="1000\n", found="899\n")
    result = made.take()
    assert result.problems == ["change-udp-tracked: of 1,000 connections that were made for it node1 tracks 899"]
    assert not made.metrics(result, "change-udp-tracked")
    made.executor.assert_done()


def test_a_million_connections_are_given_their_time() -> None:
    assert FillConntrack(("10.0.0.1",), 8080, 100_000).limit_s == 110
    assert FillConntrack(("10.0.0.1",), 8080, 2_000_000).limit_s == 1060
