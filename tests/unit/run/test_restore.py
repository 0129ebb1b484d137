from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ProxierError
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.state import KernelState
from proxybench.run import restore as module
from proxybench.run.restore import kernel_states, recover
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.nodes.kernel.looks import look
from tests.unit.run.world import CLUSTER, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.run.testbed import Testbed

pytestmark = pytest.mark.usefixtures("known_mark")
BEFORE = {"node1": KernelState(sysctls=(("net.ipv4.ip_forward", "0"),))}


def members(signal: str, pids: str) -> Run:
    """Expect a look at the control loop's cgroup, with a signal to its members."""
    return Run(["sh", "-c", module._MEMBERS_SCRIPT, "members", signal, "/cgroup/node1/proxy"], done(pids))


def looked(**texts: str) -> Run:
    """Expect a look at what a control loop leaves."""
    return look(Tools.of(CLUSTER.measured), **texts)


def connected(script: Sequence[Run]) -> tuple[World, Testbed, FakeExecutor]:
    """Return a world whose measured node follows that script."""
    world = World({"cpu": True})
    executor = FakeExecutor("node1", script)
    handles = {**world.bench.handles, "node1": replace(world.bench.measured, executor=executor)}
    return world, replace(world.bench, handles=handles), executor


def recovered(script: Sequence[Run]) -> World:
    """Recover by that script."""
    world, bench, executor = connected(script)
    recover(bench, BEFORE, Deadline(world.clock, 600, "the run"))
    executor.assert_done()
    return world


def test_the_kernels_of_the_nodes_that_run_a_control_loop_are_captured() -> None:
    _, bench, executor = connected([looked(sysctls="/proc/sys/net/ipv4/ip_forward:0\n")])
    assert kernel_states(bench) == BEFORE
    executor.assert_done()


def test_a_node_whose_agent_tidied_up_is_only_looked_at() -> None:
    assert recovered([members("", ""), looked()]).clock.slept == []


def test_a_control_loop_that_is_being_ended_is_waited_for() -> None:
    world = recovered([members("", "7 8"), members("", "7"), members("", ""), looked()])
    assert world.clock.slept == [0.5, 0.5]


def test_one_that_goes_on_is_told_to_end_once() -> None:
    script = [*[members("", "7")] * 31, members("TERM", "7"), members("", "7"), members("", ""), looked()]
    assert sum(recovered(script).clock.slept) == 16.0


def test_one_that_cannot_be_ended_is_an_error() -> None:
    script = [
        *[members("", "7")] * 31,
        *[members("TERM", "7"), *[members("", "7")] * 120],
        *[members("KILL", "7"), *[members("", "7")] * 20],
    ]
    with pytest.raises(ProxierError) as raised:
        recovered(script)
    assert str(raised.value) == "node1: the control loop of the lost connection cannot be ended"


DESTROY = ["sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"', "remove", "ipset", "restore"]


def test_what_was_left_is_removed() -> None:
    recovered([members("", ""), looked(sets="KUBE-X\n"), Run(DESTROY, stdin="destroy KUBE-X\n"), looked()])


def test_what_stays_is_named() -> None:
    busy = Run(DESTROY, done(stderr="in use\n", code=1), stdin="destroy KUBE-X\n")
    with pytest.raises(ProxierError) as raised:
        recovered([members("", ""), looked(sets="KUBE-X\n"), busy, looked(sets="KUBE-X\n")])
    assert str(raised.value) == "node1: could not be cleaned: ipset: set KUBE-X (in use)"
