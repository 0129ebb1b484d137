"""A node whose conntrack table is full of others' connections, as a busy one's is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.removal import forget_tracked
from proxybench.nodes.kernel.sysctls import path
from proxybench.nodes.watch import FillConntrack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.scenarios.base import StepContext

_PODS = 50  # that there are connections to
_MOST = path("net.netfilter.nf_conntrack_max")
_COUNT = path("net.netfilter.nf_conntrack_count")
_TIMEOUT = path("net.netfilter.nf_conntrack_udp_timeout")
_KEPT_S = 3600  # longer than any step: the kernel's own 30 s are less than a million connections take to make
_FOUND = 0.9  # of the connections that were made must be tracked
_FORGET_S = 120.0


@contextmanager
def tracked(step: StepContext, count: int) -> Iterator[None]:
    """Let the measured node track so many more connections: from the client to pods, past all Services.

    Raises MeasurementError when the kernel has no room for them, or did not track them. After it all are forgotten.
    """
    node = step.measured
    if 0 < (most := _read(step, _MOST)) < count:
        raise MeasurementError(
            f"{count:,} tracked connections are more than {node.name}'s kernel takes, which is {most:,}: raise"
            " net.netfilter.nf_conntrack_max (in network namespaces this machine's own) or write"
            f" measure.events.tracked: {most}"
        )
    usual = _read(step, _TIMEOUT)
    _set(step, _TIMEOUT, _KEPT_S)
    try:
        hosts = tuple(step.population.plan.spare(2 * number).address for number in range(_PODS))
        step.client.agent.call(FillConntrack(hosts, step.population.plan.backend_port, count))
        found = _read(step, _COUNT)
        if found < _FOUND * count:
            raise MeasurementError(f"of {count:,} connections that were made for it {node.name} tracks {found:,}")
        step.result.notes.append(f"{found:,} connections were tracked, of {count:,} that were made for it")
        yield
    finally:
        _set(step, _TIMEOUT, usual)
        node.executor.run(forget_tracked(Tools.of(node.node)).argv, timeout=_FORGET_S)


def _read(step: StepContext, file: str) -> int:
    return int(step.measured.agent.read([file])[file] or 0)


def _set(step: StepContext, file: str, value: int) -> None:
    step.measured.executor.run(["sh", "-c", f"echo {value} > {file}"])
