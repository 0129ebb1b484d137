"""The offsets of the nodes' clocks, where nodes have kernels of their own: before and after a step, and in between."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from proxybench.clocks import Clocks, estimate, ping
from proxybench.errors import CommandTimeoutError, HostError, MeasurementError
from proxybench.hosts.fleet import together
from proxybench.nodes.requests import AskClocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxybench.clocks import ClockDomain, Offset
    from proxybench.nodes.node import NodeHandle
    from proxybench.units import Clock

_MANY: Final = 16
FEW: Final = 4
"""Round trips, where something is timed by a node's clock, and where it is only kept in mind."""
_AT_ONCE: Final = 64
_LIMIT: Final = 10.0
"""Seconds until all nodes have to say their time: a dead one is not waited for."""
_HEADER: Final = "node,before_ns,before_bound_ns,after_ns,after_bound_ns\n"


def step_clocks(handles: Iterable[NodeHandle], clock: Clock) -> Clocks:
    """Return the clocks of a step: nothing is asked where all nodes share one. Raises HostError, MeasurementError.

    An agent answers over a connection that is there: the shortest of 16 round trips bounds the offset to a few tenths
    of a millisecond in one network.
    """
    nodes = {handle.node.clock: handle for handle in handles}
    if len(nodes) == 1:
        return Clocks()

    def measure(domain: ClockDomain) -> Offset:
        return _offset(nodes[domain], clock, _MANY)

    return Clocks({domain: measure(domain) for domain in nodes}, measure)


def all_offsets(
    handles: Iterable[NodeHandle], clock: Clock, notes: list[str], limit_s: float = _LIMIT
) -> dict[str, Offset]:
    """Bound the offset of every node's clock, all at once; of nodes that share one, the first one's stands.

    Nothing is asked where all share one. One that does not say its time within ``limit_s`` is noted, and left out.
    """
    nodes: dict[ClockDomain, NodeHandle] = {}
    for handle in handles:
        nodes.setdefault(handle.node.clock, handle)
    if len(nodes) == 1:
        return {}
    found: dict[str, Offset] = {}
    why = dict.fromkeys((handle.name for handle in nodes.values()), f"no answer within {limit_s:g} s")

    def ask(handle: NodeHandle) -> None:
        try:
            found[handle.name] = _offset(handle, clock, FEW)
        except (HostError, MeasurementError) as error:
            why[handle.name] = str(error)

    with suppress(CommandTimeoutError):  # of who is late it is said below
        together({handle.name: partial(ask, handle) for handle in nodes.values()}, limit_s, at_once=_AT_ONCE)
    told = dict(found)
    if silent := [name for name in why if name not in told]:
        more = f", nor those of {len(silent) - 1} more" if len(silent) > 1 else ""
        notes.append(f"the clock of {silent[0]} is not known{more}: {' '.join(why[silent[0]].split())}")
    return {name: told[name] for name in why if name in told}


def offsets_table(before: Mapping[str, Offset], after: Mapping[str, Offset]) -> str:
    """Return both as CSV, a node a line: its monotonic clock minus this machine's, and its bound; "" where unknown."""

    def cells(offset: Offset | None) -> str:
        return "," if offset is None else f"{offset.value},{offset.bound}"

    names = dict.fromkeys((*before, *after))
    return _HEADER + "".join(f"{name},{cells(before.get(name))},{cells(after.get(name))}\n" for name in names)


def _offset(handle: NodeHandle, clock: Clock, count: int) -> Offset:
    return estimate(ping(lambda: handle.agent.call(AskClocks()).monotonic_ns, clock, count=count))
