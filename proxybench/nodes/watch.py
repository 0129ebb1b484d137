"""Watching targets over a whole event: what is asked of the client's agent, and what it saw.

Times are integer nanoseconds of the client's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxybench.nodes.answers import Answer, Done
from proxybench.nodes.requests import Request

ANSWERED = "answered"
REFUSED = "refused"
SILENT = "silent"
WRONG = "wrong"  # by an endpoint that was not to answer
_FILL_S = 60.0
_FILLED_PER_S = 2_000  # of an emulated node
_START_S = 30.0  # holding connections before the watch begins
_END_S = 90.0  # the last attempts' time-outs, and handing over an hour's stretches


@dataclass(frozen=True)
class Watched:
    """One address to watch: by new connections, datagrams from one port, or one connection that is held.

    Tried every ``interval_ms``; after ``timeout_ms`` an attempt counts as silent, which is less than the second after
    which TCP sends a lost SYN again: each attempt is one SYN. ``expect`` names the endpoints that may answer, None any.
    """

    label: str
    host: str
    port: int
    kind: Literal["tcp", "udp", "held"] = "tcp"
    interval_ms: int = 5
    timeout_ms: int = 900
    expect: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Begun(Answer):
    """A watch that is under way."""

    pid: int


@dataclass(frozen=True)
class Stretch(Answer):
    """``count`` attempts in a row of one outcome, the first and the last of them sent then."""

    outcome: str
    first_ns: int
    last_ns: int
    count: int


@dataclass(frozen=True)
class Outage:
    """No attempt was answered from ``start_ns`` on, until ``end_ns`` (None: until the watch ended).

    The true times lie up to ``uncertainty_ns`` around: the distances from the answered attempts before and after.
    """

    start_ns: int
    end_ns: int | None
    uncertainty_ns: int


@dataclass(frozen=True)
class Answers(Answer):
    """How many attempts an endpoint answered, and when the first and the last of them were sent."""

    count: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class Seen(Answer):
    """What a watch saw of one target: attempts in the order of sending, the longest time between two of them."""

    stretches: tuple[Stretch, ...]
    answers: dict[str, Answers]
    gap_ns: int

    @property
    def attempts(self) -> int:
        """All attempts that came to an end."""
        return sum(stretch.count for stretch in self.stretches)

    def count(self, *outcomes: str) -> int:
        """Return how many attempts ended so."""
        return sum(stretch.count for stretch in self.stretches if stretch.outcome in outcomes)

    @property
    def lost(self) -> int:
        """Attempts that were neither answered nor refused: silent, unreachable, reset, or by a wrong endpoint."""
        return self.attempts - self.count(ANSWERED, REFUSED)

    def between(self, start_ns: int, end_ns: int) -> Seen:
        """Return what was seen of attempts between two moments; a stretch around one of them is cut in proportion."""
        kept = []
        for one in self.stretches:
            first, last = max(one.first_ns, start_ns), min(one.last_ns, end_ns)
            if first <= last:
                share = (last - first) / (one.last_ns - one.first_ns) if one.last_ns > one.first_ns else 1.0
                kept.append(Stretch(one.outcome, first, last, max(1, round(one.count * share))))
        return Seen(tuple(kept), self.answers, self.gap_ns)

    def outages(self) -> tuple[Outage, ...]:
        """Return the stretches of time in which nothing was answered, in order."""
        found: list[Outage] = []
        begun: Stretch | None = None
        last: Stretch | None = None
        before_ns = 0
        for one in self.stretches:
            if one.outcome != ANSWERED:
                if begun is None:
                    begun, before_ns = one, (one.first_ns - last.last_ns) if last else 0
            elif begun is not None and last is not None:
                found.append(Outage(begun.first_ns, one.first_ns, before_ns + one.first_ns - last.last_ns))
                begun = None
            last = one
        if begun is not None:
            found.append(Outage(begun.first_ns, None, before_ns))
        return tuple(found)


@dataclass(frozen=True)
class HeldSeen(Answer):
    """What became of a connection that was held: the longest that a line took, and how it broke ("" while it lives).

    A line that never came back took until the connection broke; of a silent one (``SILENT``) until the watch ended.
    """

    longest_ns: int
    broken: str


@dataclass(frozen=True)
class WatchResult(Answer):
    """What a watch saw, by label; ``cpu_ns`` is what it spent itself."""

    start_ns: int
    end_ns: int
    cpu_ns: int
    targets: dict[str, Seen]
    held: dict[str, HeldSeen]


@dataclass(frozen=True)
class BeginWatch(Request[Begun]):
    """Watch targets, each with a label of its own, from now on until ``EndWatch``."""

    op = "watch"
    targets: tuple[Watched, ...]

    @property
    def limit_s(self) -> float:
        """Return the time that holding connections may take."""
        return _START_S


@dataclass(frozen=True)
class EndWatch(Request[WatchResult]):
    """End a watch, and hear what it saw."""

    op = "watched"
    pid: int

    @property
    def limit_s(self) -> float:
        """Return the last attempts' time-outs, and the time to hand over."""
        return _END_S


@dataclass(frozen=True)
class FillConntrack(Request[Done]):
    """Send one datagram for each of ``count`` connections, to ``hosts`` from port after port."""

    op = "fill"
    hosts: tuple[str, ...]
    port: int
    count: int

    @property
    def limit_s(self) -> float:
        """Return the time for them on a slow node."""
        return _FILL_S + self.count / _FILLED_PER_S
