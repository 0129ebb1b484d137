"""Requests that ask who answers, and whom that one sees: no latencies, any protocol, any source address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from proxybench.nodes.answers import Answer, Done
from proxybench.nodes.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Heard(Answer):
    """So many answers by one endpoint, which saw them come from the address ``peer``."""

    by: str
    peer: str
    count: int


@dataclass(frozen=True)
class ExchangeResult(Answer):
    """Who answered, and whom the endpoints saw; ``made`` attempts, fewer than asked when the time limit cut them short.

    ``errors`` counts by errno name (NOLINE: closed without an answer), the slowest of which took ``slowest_error_ns``.
    """

    answers: tuple[Heard, ...]
    errors: dict[str, int]
    timeouts: int
    made: int
    slowest_error_ns: int = 0

    @property
    def answered(self) -> int:
        """How many attempts were answered."""
        return sum(heard.count for heard in self.answers)

    @property
    def by(self) -> dict[str, int]:
        """Answers by endpoint."""
        return _summed((heard.by, heard.count) for heard in self.answers)

    @property
    def peers(self) -> dict[str, int]:
        """Answers by the address that the endpoint saw."""
        return _summed((heard.peer, heard.count) for heard in self.answers)


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, count in pairs:
        found[name] = found.get(name, 0) + count
    return found


@dataclass(frozen=True)
class Said(Answer):
    """Who answered on a connection that is kept; None: nobody did, for the reason in ``error`` (an errno's name)."""

    by: str | None
    error: str


@dataclass(frozen=True)
class PingResult(Answer):
    """ICMP echo requests, and how many were answered."""

    sent: int
    replies: int


@dataclass(frozen=True)
class Exchange(Request[ExchangeResult]):
    """Connect ``count`` times (UDP: send as many datagrams), each from a port of its own, and see who answers.

    ``source`` is an address of the node to come from, None whichever the route says. The agent stops after ``limit``
    seconds.
    """

    op = "exchange"
    host: str
    port: int
    count: int
    protocol: Literal["tcp", "udp"] = "tcp"
    source: str | None = None
    timeout_ms: int = 1000
    limit: float = 120.0

    @property
    def limit_s(self) -> float:
        """Return the limit and the last attempt's."""
        return self.limit + self.timeout_ms / 1000 + 5.0


@dataclass(frozen=True)
class Talk(Request[Said]):
    """Send a line on the connection called ``name`` (UDP: from its port), which is made the first time and kept."""

    op = "talk"
    name: str
    host: str
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    timeout_ms: int = 1000

    @property
    def limit_s(self) -> float:
        """Return the time-outs of connecting, of the greeting and of the line."""
        return 3 * self.timeout_ms / 1000 + 5.0


@dataclass(frozen=True)
class HangUp(Request[Done]):
    """Close all connections that ``Talk`` made."""

    op = "hang_up"


@dataclass(frozen=True)
class Ping(Request[PingResult]):
    """Send ``count`` ICMP echo requests, one after the other; the node's user must be root."""

    op = "ping"
    host: str
    count: int
    timeout_ms: int = 1000

    @property
    def limit_s(self) -> float:
        """Return the time-outs."""
        return self.count * self.timeout_ms / 1000 + 5.0
