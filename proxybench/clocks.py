"""Whose time a moment was read by, and how far one clock is from another.

A moment (``Instant``) belongs to a clock domain: two nodes of one kernel share one, two machines do not. Moments are
not subtracted; ``Clocks.between`` is asked, which knows the offsets and says how sure the answer is (``Span``).

Definition (Cristian 1989): a remote reading taken between sending and receiving belongs to some local moment in that
interval; the middle of the interval is off by at most half the round trip, whatever the two ways' delays are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NewType

from proxybench.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxybench.hosts.base import Session
    from proxybench.units import Clock

# Answers each line with the node's CLOCK_MONOTONIC in nanoseconds; runs on any Python 3.
_ECHO: Final = "import sys,time\nfor _ in sys.stdin:\n print(time.clock_gettime_ns(time.CLOCK_MONOTONIC),flush=True)"


ClockDomain = NewType("ClockDomain", str)
"""Names a monotonic clock; times of one domain may be compared as they are."""


@dataclass(frozen=True)
class Instant:
    """A moment: nanoseconds of the domain's monotonic clock."""

    ns: int
    domain: ClockDomain


@dataclass(frozen=True)
class Span:
    """A stretch of time in ns; the true one lies within ``± uncertainty_ns``."""

    ns: int
    uncertainty_ns: int


@dataclass(frozen=True)
class Ping:
    """One question for the time: ``sent`` and ``received`` by the local clock, ``remote`` by the node's; all ns."""

    sent: int
    remote: int
    received: int


@dataclass(frozen=True)
class Offset:
    """Node's clock minus local clock, in ns; the true difference lies within ``± bound``."""

    value: int
    bound: int

    def to_local(self, remote_ns: int) -> int:
        """Return the local moment (ns) at which the node's clock showed ``remote_ns``, within ``± bound``."""
        return remote_ns - self.value


def estimate(pings: Iterable[Ping]) -> Offset:
    """Return the offset from the ping with the shortest round trip. Raises MeasurementError without a usable one."""
    usable = [ping for ping in pings if ping.received >= ping.sent]
    if not usable:
        raise MeasurementError("no clock reading came back from the node")
    best = min(usable, key=lambda ping: ping.received - ping.sent)
    low, high = best.remote - best.received, best.remote - best.sent
    return _between(low, high)


def echo_argv(python: str) -> list[str]:
    """Return the command that ``ping`` talks to; ``python`` is any Python 3.7 or later on the node."""
    return [python, "-c", _ECHO]


def ping(session: Session, clock: Clock, *, count: int = 16, timeout: float = 5.0) -> tuple[Ping, ...]:
    """Ask ``count`` times, each with its own ``timeout`` in seconds.

    Raises MeasurementError for an answer that is no number, and what the session raises.
    """
    return tuple(_ask(session, clock, timeout) for _ in range(count))


def _ask(session: Session, clock: Clock, timeout: float) -> Ping:
    sent = clock.monotonic_ns()
    session.send_line("")
    answer = session.read_line(timeout)
    received = clock.monotonic_ns()
    if not answer.isdecimal():
        raise MeasurementError(f"the node answered {answer[:40]!r} when asked for its clock")
    return Ping(sent, int(answer), received)


def _between(low: int, high: int) -> Offset:
    value = (low + high) // 2
    return Offset(value, high - value)  # high - value is the larger half when the sum is odd


class Clocks:
    """What is known of the clocks of a run: each domain's offset from the orchestrator's clock, where there is one."""

    def __init__(self, offsets: Mapping[ClockDomain, Offset] | None = None) -> None:
        self._offsets = dict(offsets or {})

    def between(self, start: Instant, end: Instant) -> Span:
        """Return the time from ``start`` to ``end``: exact within one domain, else within both offsets' bounds.

        Raises MeasurementError where the two moments are of different clocks and no offset between them is known.
        """
        if start.domain == end.domain:
            return Span(end.ns - start.ns, 0)
        try:
            first, second = self._offsets[start.domain], self._offsets[end.domain]
        except KeyError as error:
            raise MeasurementError(
                f"a time from {start.domain} to {end.domain} cannot be told: the offset of {error.args[0]} is not known"
            ) from None
        return Span(second.to_local(end.ns) - first.to_local(start.ns), first.bound + second.bound)
