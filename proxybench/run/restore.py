"""A lab's nodes after a connection to them was lost: back to what they were before anything ran.

An agent that loses its connection ends what it spawned. Here it is seen to, and whatever a control loop left in a
node's kernel is removed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxybench.deadline import wait_until
from proxybench.errors import ProxierError
from proxybench.nodes.kernel.capture import LOOK_SECONDS, Tools, capture
from proxybench.nodes.kernel.restore import restore
from proxybench.subjects.process import proxy_cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxybench.deadline import Deadline
    from proxybench.hosts.base import Executor
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.nodes.node import NodeHandle
    from proxybench.run.testbed import Testbed
    from proxybench.units import Clock

# How long the loop may take to end: by its agent's doing, then when told by us, then when killed. Seconds.
_PATIENCE = (("", 15.0), ("TERM", 60.0), ("KILL", 10.0))
_POLL = 0.5
# $1 signal ("": none), $2 cgroup: signals its members, and prints those that are there. Exit code 0 in any case.
_MEMBERS_SCRIPT = (
    'pids=$(cat "$2/cgroup.procs" 2>/dev/null); '
    '[ -z "$1" ] || [ -z "$pids" ] || kill -s "$1" $pids 2>/dev/null; printf %s "$pids"'
)


def kernel_states(bench: Testbed) -> dict[str, KernelState]:
    """Capture the kernel state of each proxy node. Raises ProxierError, HostError."""
    return {handle.name: capture(handle.executor, _tools(bench, handle)) for handle in bench.proxy_handles}


def recover(bench: Testbed, before: Mapping[str, KernelState], whole: Deadline) -> None:
    """Bring each proxy node back to what it was; ``before`` is what ``kernel_states`` returned then.

    ``whole`` is the run's time limit. Raises ProxierError when a control loop or something in a kernel stays, HostError
    as the executor does.
    """
    for handle in bench.proxy_handles:
        _end(handle.executor, proxy_cgroup(handle), bench.clock)
    for handle in bench.proxy_handles:
        restore(handle.executor, before[handle.name], _tools(bench, handle), limit_s=whole.left(LOOK_SECONDS))


def _tools(bench: Testbed, handle: NodeHandle) -> Tools:
    return Tools.of(handle.node, exclusive=bench.cluster.traits.exclusive)


def _end(executor: Executor, cgroup: str, clock: Clock) -> None:
    """Wait until no control loop runs, and end one whose agent did not. Raises ProxierError when it stays."""

    def nobody(signals: Iterator[str]) -> bool:
        return not executor.run(["sh", "-c", _MEMBERS_SCRIPT, "members", next(signals, ""), cgroup]).stdout

    for signal, patience in _PATIENCE:
        if wait_until(partial(nobody, iter((signal,))), patience, _POLL, clock):
            return
    raise ProxierError(f"{executor.name}: the control loop of the lost connection cannot be ended")
