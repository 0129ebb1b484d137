"""A lab's nodes after a connection to them was lost: back to what they were before anything ran.

An agent that loses its connection ends what it spawned, and a control loop that is told to end removes what it made.
Here it is seen to, and whatever was killed half-way is cleaned up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.nodes.kernel_state import SYSCTLS, SysctlReading, read_all, usual_readings
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from proxybench.hosts.base import Executor
    from proxybench.nodes.node import NodeHandle
    from proxybench.run.testbed import Testbed
    from proxybench.subjects.base import Proxier
    from proxybench.units import Clock

# How long the loop may take to end: by its agent's doing, then when told by us, then when killed. Seconds.
_PATIENCE = (("", 15.0), ("TERM", 60.0), ("KILL", 10.0))
_POLL = 0.5
_SHOWN = 5
# $1 signal ("": none), $2 cgroup: signals its members, and prints those that are there. Exit code 0 in any case.
_MEMBERS_SCRIPT = (
    'pids=$(cat "$2/cgroup.procs" 2>/dev/null); '
    '[ -z "$1" ] || [ -z "$pids" ] || kill -s "$1" $pids 2>/dev/null; printf %s "$pids"'
)
_SYSCTL_SCRIPT = 'printf %s "$2" > "$1"'  # $1 file, $2 value

Settings = dict[str, str]
"""Kernel settings that proxies change, by file."""


def settings(bench: Testbed) -> dict[str, Settings]:
    """Read the kernel settings of each proxy node. Raises HostError."""
    files = [f"/proc/sys/{name}" for name in SYSCTLS]
    found = {handle.name: handle.agent.read(files) for handle in bench.proxy_handles}
    return {
        node: {file: text.strip() for file, text in texts.items() if text is not None} for node, texts in found.items()
    }


def recover(
    bench: Testbed,
    proxiers: Sequence[Proxier],
    modes: Collection[Mode],
    before: Mapping[str, Settings],
    clean: Callable[[], None],
) -> None:
    """Bring each proxy node back to what it was; ``before`` is what ``settings`` returned then.

    ``clean`` starts and stops each mode once, which removes what another control loop left; it is called only when
    there is something. Raises ProxierError when something stays, HostError as the executor does.
    """
    handles = bench.proxy_handles
    for handle, proxier in zip(handles, proxiers, strict=True):
        _end(handle.executor, proxier.cgroup, bench.clock)
    if any(_left(handle, modes) for handle in handles):
        clean()
    for handle in handles:
        for file, value in before[handle.name].items():
            handle.executor.run(["sh", "-c", _SYSCTL_SCRIPT, "set", file, value])
        if left := _left(handle, modes):
            raise ProxierError(
                f"{handle.name}: could not be cleaned after a lost connection: {'; '.join(left[:_SHOWN])}"
            )


def _end(executor: Executor, cgroup: str, clock: Clock) -> None:
    """Wait until no control loop runs, and end one whose agent did not. Raises ProxierError when it stays."""
    for name, patience in _PATIENCE:
        end = clock.monotonic_ns() + round(patience * NS_PER_S)
        signal = name
        while executor.run(["sh", "-c", _MEMBERS_SCRIPT, "members", signal, cgroup]).stdout:
            if clock.monotonic_ns() >= end:
                break
            signal = ""
            clock.sleep(_POLL)
        else:
            return
    raise ProxierError(f"{executor.name}: the control loop of the lost connection cannot be ended")


def _left(handle: NodeHandle, modes: Collection[Mode]) -> list[str]:
    readings = usual_readings(handle.node.iptables["legacy"], ipvs=Mode.IPVS in modes)
    return sorted(read_all(handle.executor, [one for one in readings if not isinstance(one, SysctlReading)]))
