"""The offsets of the nodes' clocks, where nodes have kernels of their own: before a step, and when they matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.clocks import Clocks, estimate, ping
from proxybench.nodes.requests import AskClocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.clocks import ClockDomain, Offset
    from proxybench.nodes.node import NodeHandle
    from proxybench.units import Clock


def step_clocks(handles: Iterable[NodeHandle], clock: Clock) -> Clocks:
    """Return the clocks of a step: nothing is asked where all nodes share one. Raises HostError, MeasurementError.

    An agent answers over a connection that is there: the shortest of 16 round trips bounds the offset to a few tenths
    of a millisecond in one network.
    """
    nodes = {handle.node.clock: handle for handle in handles}
    if len(nodes) == 1:
        return Clocks()

    def measure(domain: ClockDomain) -> Offset:
        agent = nodes[domain].agent
        return estimate(ping(lambda: agent.call(AskClocks()).monotonic_ns, clock))

    return Clocks({domain: measure(domain) for domain in nodes}, measure)
