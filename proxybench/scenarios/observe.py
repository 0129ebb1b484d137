"""One trigger, and the probes that see when it took effect.

Whatever can be probed for through the client is measured in the same way: the probes begin, the trigger is pulled, and
the time runs from the trigger to each probe's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.clocks import Instant
from proxybench.errors import MeasurementError
from proxybench.nodes.requests import AskClocks, AwaitAll, Change

if TYPE_CHECKING:
    from proxybench.kube.base import Bulk
    from proxybench.nodes.answers import AwaitResult, ChangeResult
    from proxybench.nodes.node import NodeHandle
    from proxybench.nodes.requests import Await, Write
    from proxybench.scenarios.base import ProxyUnderTest

_GOOD = frozenset({200, 201, 202})
_PUT_OFF = 5
_LONGEST_WAIT_S = 30.0
_BUSY = "the API has too much to do and put the write off (429, its priority and fairness)"


def put_off(waits: tuple[float, ...]) -> str:
    """Say in one line that changes were put off, each for so many seconds."""
    times = f"{len(waits)} times" if len(waits) > 1 else "once"
    how = f"for {sum(waits):g} s in all" if len(waits) > 1 else f"for {sum(waits):g} s"
    return (
        f"the API had too much to do and put a change off {times}, {how} (429); it was made anew, CPU counts the wait"
    )


@dataclass(frozen=True)
class Observation:
    """When the trigger was pulled, within ``± uncertainty_ns``, and what the probes saw, by the client's clock."""

    triggered: Instant
    probes: tuple[AwaitResult, ...]
    uncertainty_ns: int = 0


@dataclass(frozen=True)
class ApiWrite:
    """Writes to the API, sent one after the other by the client's agent; pulled when the last one is acknowledged.

    The client probes from before the first write: both ends are read by one clock. Where a probe saw the change before
    that, its moment is uncertain back to when the last write was sent.
    """

    writes: tuple[Write, ...]

    def observe(self, client: NodeHandle, probes: tuple[Await, ...]) -> Observation:
        """Write, and wait for the probes. Raises MeasurementError when the API refuses."""
        result = write(client, Change(self.writes, probes))
        return Observation(Instant(result.ack_ns, client.node.clock), result.probes, result.late_ns)


@dataclass(frozen=True)
class NodeCommand:
    """A command on a node, up to ``limit_s`` seconds; pulled at some moment between its start and its end."""

    handle: NodeHandle
    argv: tuple[str, ...]
    limit_s: float = 60.0

    def pull(self) -> tuple[Instant, int]:
        """Run it; return when, by its node's clock, within ``± uncertainty_ns``. Raises HostError."""
        begun = self.handle.agent.call(AskClocks()).monotonic_ns
        self.handle.executor.run(self.argv, timeout=self.limit_s)
        ended = self.handle.agent.call(AskClocks()).monotonic_ns
        half = (ended - begun) // 2
        return Instant(begun + half, self.handle.node.clock), half

    def observe(self, client: NodeHandle, probes: tuple[Await, ...]) -> Observation:
        """Run it while the client probes. Raises HostError."""
        pending = client.agent.begin(AwaitAll(probes))
        try:
            pulled, uncertainty_ns = self.pull()
        finally:
            seen = pending.finish()
        return Observation(pulled, seen.probes, uncertainty_ns)


@dataclass(frozen=True)
class ProxyStart:
    """The start of the measured proxy; pulled right before its process is made, by its node's clock."""

    subject: ProxyUnderTest

    def observe(self, client: NodeHandle, probes: tuple[Await, ...]) -> Observation:
        """Start it while the client probes. Raises ProxierError."""
        pending = client.agent.begin(AwaitAll(probes))
        try:
            proxy = self.subject.start()
        finally:
            seen = pending.finish()
        return Observation(proxy.started_at, seen.probes)


Trigger = ApiWrite | NodeCommand | ProxyStart


def observe(client: NodeHandle, trigger: Trigger, probes: tuple[Await, ...]) -> Observation:
    """Pull a trigger while the client probes. Raises MeasurementError, HostError and ProxierError as the trigger does.

    All but writes to the API probe the first address alone until it is decided, and then all others (see AwaitAll).
    """
    return trigger.observe(client, probes)


def observe_last(client: NodeHandle, trigger: Trigger, probes: tuple[Await, ...]) -> Observation:
    """Observe the last write of many, whose time began with the first one: it must not count that this was put off.

    Raises MeasurementError where it was, and as ``observe``.
    """
    before = client.agent.put_off
    found = observe(client, trigger, probes)
    if client.agent.put_off != before:
        raise MeasurementError(f"{_BUSY} at the end of many, whose time would count the wait")
    return found


def sent_again(bulk: Bulk) -> str:
    """Say in one line that some of many writes had to be sent again; "" where none had."""
    what = "of many writes had to be sent again (429, 5xx or no answer): their time counts the wait"
    return f"{bulk.retries} {what}" if bulk.retries else ""


def write(client: NodeHandle, change: Change) -> ChangeResult:
    """Let the client's agent write to the API. Raises MeasurementError when the API refuses.

    What it puts off (429) is made anew after the time that it names, probes and all: nothing had been changed. That is
    noted in ``put_off`` of the agent. Half a minute of it, in all, is waited for.
    """
    agent = client.agent
    if agent.gap_s and not change.probes and len(change.writes) > 1:
        change = replace(change, gap_s=agent.gap_s)
    result, waited = agent.call(change), 0.0
    for _ in range(_PUT_OFF):
        if result.put_off_s is None:
            break
        if result.statuses and change.probes:
            raise MeasurementError(f"{_BUSY} in the middle of a change, of which nothing can be told then")
        wait = result.put_off_s
        waited += wait
        if waited > _LONGEST_WAIT_S:
            raise MeasurementError(f"{_BUSY} for {waited:g} s in all, which is too long to wait")
        agent.put_off = (*agent.put_off, wait)
        agent.sleep(wait)
        change = replace(change, writes=change.writes[len(result.statuses) :])
        result = agent.call(change)
    if result.put_off_s is not None:
        raise MeasurementError(f"{_BUSY} {_PUT_OFF + 1} times in a row")
    refused = [status for status in result.statuses if status not in _GOOD]
    if refused:
        raise MeasurementError(f"the API refused the change with status {refused[0]}")
    return result
