"""Whose time a moment was read by, and how far one clock is from another.

A moment (``Instant``) belongs to a clock domain: two nodes of one kernel share one, two machines do not. Moments are
not subtracted; ``Clocks.between`` is asked, which knows the offsets and says how sure the answer is (``Span``).

Definition (Cristian 1989): a remote reading taken between sending and receiving belongs to some local moment in that
interval; the middle of the interval is off by at most half the round trip, whatever the two ways' delays are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from proxybench.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxybench.units import Clock

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


def ping(ask: Callable[[], int], clock: Clock, *, count: int = 16) -> tuple[Ping, ...]:
    """Ask a node ``count`` times for its time in ns. Raises what ``ask`` does."""

    def one() -> Ping:
        sent = clock.monotonic_ns()
        remote = ask()
        return Ping(sent, remote, clock.monotonic_ns())

    return tuple(one() for _ in range(count))


def hull(first: Offset, second: Offset) -> Offset:
    """Return an offset whose bound holds both, and whatever a clock that runs evenly drifted through between them."""
    return _between(min(_low(first), _low(second)), max(_high(first), _high(second)))


def _low(offset: Offset) -> int:
    return offset.value - offset.bound


def _high(offset: Offset) -> int:
    return offset.value + offset.bound


def _between(low: int, high: int) -> Offset:
    value = (low + high) // 2
    return Offset(value, high - value)  # high - value is the larger half when the sum is odd


class Clocks:
    """What is known of the clocks of a run: each domain's offset from the orchestrator's clock, where there is one.

    ``offsets`` were measured before what is timed. ``measure`` measures one again; what lies between the two bounds is
    the offset at any moment in between.
    """

    def __init__(
        self,
        offsets: Mapping[ClockDomain, Offset] | None = None,
        measure: Callable[[ClockDomain], Offset] | None = None,
    ) -> None:
        self._offsets = dict(offsets or {})
        self._measure = measure

    def between(self, start: Instant, end: Instant) -> Span:
        """Return the time from ``start`` to ``end``: exact within one domain, else within both offsets' bounds.

        Raises MeasurementError where the two moments are of different clocks and no offset between them is known.
        """
        if start.domain == end.domain:
            return Span(end.ns - start.ns, 0)
        try:
            first, second = self._offset(start.domain), self._offset(end.domain)
        except KeyError as error:
            raise MeasurementError(
                f"a time from {start.domain} to {end.domain} cannot be told: the offset of {error.args[0]} is not known"
            ) from None
        return Span(second.to_local(end.ns) - first.to_local(start.ns), first.bound + second.bound)

    def _offset(self, domain: ClockDomain) -> Offset:
        before = self._offsets[domain]
        return before if self._measure is None else hull(before, self._measure(domain))
