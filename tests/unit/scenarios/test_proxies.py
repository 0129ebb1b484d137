"""The Service proxies of one step, and what the nodes' kernels were before."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ConnectionLostError, ProxierError
from proxybench.model import Mode
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.state import Thing
from proxybench.scenarios.proxies import Launcher, NodeKernels, NoKernels, Proxies
from proxybench.scenarios.result import StepResult
from proxybench.testing.hosts import FakeExecutor, Run
from proxybench.testing.proxies import FakeProxy
from tests.unit.nodes.kernel.looks import look
from tests.unit.run.world import CLUSTER, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.nodes.node import NodeHandle

pytestmark = pytest.mark.usefixtures("known_mark")
DESTROY = ["sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"', "remove", "ipset", "restore"]


def measured(script: Sequence[Run]) -> tuple[NodeHandle, FakeExecutor]:
    executor = FakeExecutor("node1", script)
    return replace(World({"cpu": True}).bench.measured, executor=executor), executor


def deadline(world: World) -> Deadline:
    return Deadline(world.clock, 600, "the step")


@pytest.mark.parametrize("exclusive", [True, False])
def test_kernels_are_put_back_to_what_was_noted(exclusive: bool) -> None:
    tools = Tools.of(CLUSTER.measured, exclusive=exclusive)
    there = look(tools, sets="KUBE-OLD\n")
    with_more = look(tools, sets="KUBE-OLD\nKUBE-NEW\n")
    script = [there, with_more, with_more]
    handle, executor = measured([*script, Run(DESTROY, stdin="destroy KUBE-NEW\n"), there])
    kernels = NodeKernels(exclusive=exclusive)
    kernels.capture(handle)
    assert kernels.look(handle) == (Thing("ipset", "set", "KUBE-NEW"),)
    assert kernels.restore(handle) == ("ipset: set KUBE-NEW",)
    executor.assert_done()


def test_a_node_of_which_nothing_was_noted_is_left_alone() -> None:
    handle, executor = measured([])
    assert NodeKernels(exclusive=True).restore(handle) == ()
    executor.assert_done()


def test_kernels_that_are_not_ours_are_neither_looked_at_nor_changed() -> None:
    handle, executor = measured([])
    kernels = NoKernels()
    kernels.capture(handle)
    assert (kernels.look(handle), kernels.restore(handle)) == ((), ())
    executor.assert_done()


def test_what_was_left_is_a_note_and_no_problem() -> None:
    world = World({"cpu": True}, nodes="all")
    world.kernels.left = {"node1": ("ipset: set A", "ipset: set B", "link kube-ipvs0"), "node2": ("ipset: set A",)}
    result = StepResult()
    world.proxies().stop(result, "004-ipvs")
    assert result.problems == []
    assert result.notes == [
        "left on node1, and removed: ipset: set A and 2 more, see logs/004-ipvs-node1-left.log",
        "left on node2, and removed: ipset: set A",
    ]
    assert result.logs == {
        "004-ipvs-node1-left.log": "ipset: set A\nipset: set B\nlink kube-ipvs0\n",
        "004-ipvs-node2-left.log": "ipset: set A\n",
    }


def test_a_kernel_that_cannot_be_put_back_is_a_problem_and_the_next_one_is_put_back() -> None:
    world = World({"cpu": True}, nodes="all")
    world.kernels.fails["restore"] = ProxierError("it stays")
    result = StepResult()
    world.proxies().stop(result, "004-ipvs")
    assert result.problems == ["cleaning node1: it stays", "cleaning node2: it stays"]
    assert world.kernel_log == ["node1 restore", "node2 restore"]


def test_one_that_would_not_stop_leaves_its_log_and_the_others_are_stopped() -> None:
    world = World({"cpu": True}, nodes="all")
    world.running["node1"].fails["stop"] = ProxierError("it was killed")
    world.running["node1"].rendered = {"config.yaml": "a: 1\n"}
    world.running["node2"].rendered = {"config.yaml": "a: 2\n"}
    proxies, result = world.proxies(), StepResult()
    proxies.start_measured()
    proxies.start_measured()
    proxies.start_others(deadline(world))
    proxies.stop(result, "1")
    assert result.problems == ["stopping on node1: it was killed"] * 2
    assert result.logs == {
        "1-node1.log": "log of node1",
        "1-node1-config.yaml": "a: 1\n",
        "1-node1-2.log": "log of node1",
        "1-node1-2-config.yaml": "a: 1\n",
        "1-node2.log": "log of node2",
        "1-node2-config.yaml": "a: 2\n",
    }
    assert result.config == "1-node1-config.yaml"
    assert world.log[-3:] == ["node1 stop", "node1 stop", "node2 stop"]


def test_after_a_lost_connection_nothing_is_put_back() -> None:
    world = World({"cpu": True})
    world.running["node1"].fails["stop"] = ConnectionLostError("gone")
    proxies, result = world.proxies(), StepResult()
    proxies.start_measured()
    proxies.stop(result, "1")
    assert (result.lost, result.problems, world.kernel_log) == (True, ["stopping on node1: gone"], [])


class Meeting:
    """Each who comes waits for as many as there are; who is alone for five seconds fails."""

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self.barrier = threading.Barrier(len(names))
        handles = {name: replace(world.bench.measured, node=replace(CLUSTER.measured, name=name)) for name in names}
        self.log: list[str] = []
        self.proxies = Proxies(
            tuple(handles.values()),
            self.meet,
            NoKernels(),
            1.0,
            ready=lambda: self.log.append("prepared"),
            at_once=True,
        )
        self.world = world

    def meet(self, handle: NodeHandle) -> MeetingProxy:
        self.barrier.wait(5)
        return MeetingProxy(handle, self.world.clock, [], barrier=self.barrier)


@dataclass
class MeetingProxy(FakeProxy):
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def wait_ready(self, deadline: Deadline, limit_s: float) -> None:
        self.barrier.wait(5)

    def check(self) -> None:
        self.barrier.wait(5)
        super().check()

    def stop(self, limit_s: float) -> None:
        self.barrier.wait(5)
        super().stop(limit_s)


def test_hundreds_that_run_already_are_found_watched_and_left_at_once() -> None:
    world = World({"cpu": True})
    names = [f"node{number}" for number in range(100)]
    meeting, result = Meeting(world, names), StepResult()
    meeting.proxies.prepare()
    meeting.proxies.start_all(deadline(world), 10)
    meeting.proxies.check()
    meeting.proxies.stop(result, "1")
    assert (meeting.log, result.problems) == (["prepared"], [])
    assert list(result.logs) == [f"1-{name}.log" for name in names]


def test_what_is_wrong_on_some_of_hundreds_keeps_no_other_s_log() -> None:
    world = World({"cpu": True})
    meeting, result = Meeting(world, ["a", "b", "c"]), StepResult()
    meeting.proxies.start_all(deadline(world), 10)
    for proxy in meeting.proxies._started:
        if proxy.handle.name != "b":
            assert isinstance(proxy, MeetingProxy)
            proxy.fails.update({"stop": ProxierError("it was killed"), "check": ProxierError("it ended")})
    with pytest.raises(ProxierError) as caught:
        meeting.proxies.check()
    assert (str(caught.value), caught.value.__notes__) == ("it ended", ["also: it ended"])
    meeting.proxies.stop(result, "1")
    assert result.problems == ["stopping on a: it was killed", "stopping on c: it was killed"]
    assert list(result.logs) == ["1-a.log", "1-b.log", "1-c.log"]


def test_one_that_never_stops_costs_its_own_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxybench.scenarios.proxies._END_LIMIT", 0.3)
    world = World({"cpu": True})
    over = threading.Event()
    meeting, result = Meeting(world, ["a", "b"]), StepResult()
    meeting.proxies.start_all(deadline(world), 10)
    monkeypatch.setattr(MeetingProxy, "stop", lambda self, _: self.handle.name == "a" and over.wait(30))
    meeting.proxies.stop(result, "1")
    over.set()
    assert result.problems == ["stopping: no end within 0.3 s on a"]
    assert result.lost  # nobody asks over its connections any more
    assert list(result.logs) == ["1-b.log"]


def test_only_those_of_the_measured_node_are_ended_within_a_step() -> None:
    world = World({"cpu": True}, nodes="all")
    proxies = world.proxies()
    proxies.start_measured()
    proxies.start_others(deadline(world))
    proxies.stop_measured()
    assert world.log == ["node1 start", "node2 start", "node2 ready", "node1 stop"]


def test_rivals_start_on_the_measured_node_and_are_stopped_with_the_step() -> None:
    world = World({"cpu": True}, nodes="all")
    cleaned: list[str] = []
    other_log: list[str] = []
    other = FakeProxy(world.bench.measured, world.clock, other_log)
    own = Launcher(
        "own",
        Mode.IPTABLES,
        lambda handle: world.running[handle.name].start(),
        lambda handle: cleaned.append(handle.name),
    )
    to = Launcher("to", Mode.NFTABLES, lambda _: other.start(), lambda handle: cleaned.append(f"{handle.name} to"))
    world.kernels.things = [(Thing("ipset", "set", "A"),)]
    proxies = Proxies(
        world.bench.proxy_handles, lambda _: pytest.fail("not by itself"), world.kernels, 1.0, pair=(own, to)
    )
    rivals = proxies.rivals()
    assert rivals is not None
    assert rivals.other.start() is other
    rivals.other.clean()
    rivals.own.clean()
    assert (rivals.own.label, rivals.other.label, cleaned) == ("own", "to", ["node1 to", "node1"])
    assert rivals.things() == (Thing("ipset", "set", "A"),)
    proxies.stop(StepResult(), "1")
    assert other_log == ["node1 start", "node1 stop"]
