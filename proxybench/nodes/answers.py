"""What agents answer, as frozen dataclasses. Times: integer ns of the node's own clock.

Pydantic reads them strictly: no field missing, none too many, all of their type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict


class Answer:
    """What an agent answers, or a part of it."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Done(Answer):
    """Nothing but that it was done."""


@dataclass(frozen=True)
class Hello(Answer):
    """The agent, its interpreter and its machine; ``oom_kills`` is what its kernel had counted by then.

    ``real_time``: whether it may take real-time priority, in which probes are made; it tried.
    """

    agent: str
    python: str
    kernel: str
    cpu_model: str
    online_cpus: int
    oom_kills: int = 0
    real_time: bool = False


@dataclass(frozen=True)
class ClockReading(Answer):
    """One moment by the node's two clocks: monotonic, and UTC since 1970."""

    monotonic_ns: int
    utc_ns: int


@dataclass(frozen=True)
class Spawned(Answer):
    """A program that was started, and when (before the fork)."""

    pid: int
    at_ns: int


@dataclass(frozen=True)
class Alive(Answer):
    """Whether a program runs; else its exit code, negative for a signal. ``stood_still``: it was stopped (SIGSTOP)."""

    alive: bool
    code: int | None
    stood_still: bool = False


@dataclass(frozen=True)
class Stopped(Answer):
    """How a program ended: exit code (negative for a signal), whether it had to be killed, its cgroup removed.

    ``had_ended``: before it was asked to. ``stood_still``: it was stopped (SIGSTOP) at some time before.
    """

    code: int | None
    killed: bool
    cgroup_removed: bool
    had_ended: bool = False
    stood_still: bool = False


@dataclass(frozen=True)
class GroupFigures(Answer):
    """A cgroup's CPU time in ns and memory in bytes (None without the memory controller).

    ``resident_peak`` is the sum of the largest resident sets that its processes have had, those that ended left out.
    """

    usage_ns: int
    user_ns: int
    system_ns: int
    memory_peak: int | None
    memory_current: int | None
    resident_peak: int = 0


@dataclass(frozen=True)
class NodeFigures(Answer):
    """CPU time of all the node's CPUs together since its boot, in which they did something; resolution one tick."""

    busy_ns: int
    softirq_ns: int


@dataclass(frozen=True)
class Usage(Answer):
    """One reading of all counters; differences of two count. ``self_ns`` is the agent's own CPU."""

    at_ns: int
    groups: dict[str, GroupFigures]
    stat: NodeFigures
    self_ns: int


@dataclass(frozen=True)
class ConnectFigures(Answer):
    """New connections to one target, in the order in which they were made.

    ``connect_ns``: the call itself. ``first_byte_ns``: from before the call until the answer line was received.
    ``rtt_us``: the kernel's handshake RTT. ``answers``: connections by endpoint; ``wrong``: by unexpected ones;
    ``order``: by whom each of ``first_byte_ns`` was answered, if that was asked for. ``errors`` by errno name.
    ``*_censored_ns`` hold the time limit once per time-out; censored values, to be kept. Of UDP there are answers
    alone: from before the datagram was sent.
    """

    connect_ns: tuple[int, ...]
    first_byte_ns: tuple[int, ...]
    rtt_us: tuple[int, ...]
    answers: dict[str, int]
    wrong: int
    errors: dict[str, int]
    timeouts: int
    connect_censored_ns: tuple[int, ...]
    first_byte_censored_ns: tuple[int, ...]
    order: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConnectResult(Answer):
    """Figures by label; not ``complete`` when the time limit cut the measurement short."""

    targets: dict[str, ConnectFigures]
    complete: bool


@dataclass(frozen=True)
class EstablishedFigures(Answer):
    """Round trips of one line on one connection; a time-out ends it and stands in ``censored_ns``."""

    rtt_ns: tuple[int, ...]
    errors: dict[str, int]
    timeouts: int
    censored_ns: tuple[int, ...]


@dataclass(frozen=True)
class EstablishedResult(Answer):
    """Figures by label; not ``complete`` when the time limit cut the measurement short."""

    targets: dict[str, EstablishedFigures]
    complete: bool


@dataclass(frozen=True)
class AwaitResult(Answer):
    """What a probe saw.

    ``first_ns``: when the first wanted answer was received; for a refusal, when the first attempt that failed was
    sent. None when ``censored``: then the true time is after ``end_ns``. ``sent_ns``: when the deciding attempt was
    sent. ``interval_at_success_ns``: how long after the attempt before it, which is the resolution (None: it was
    the first). ``last_other_ns``: the last answer by an endpoint that was not wanted. ``answers`` counts wanted
    ones, ``errors`` failed attempts by errno name (SILENT: given up, NOLINE: closed without an answer).
    """

    start_ns: int
    first_ns: int | None
    sent_ns: int | None
    interval_at_success_ns: int | None
    last_other_ns: int | None
    answered_by: str | None
    attempts: int
    answers: int
    errors: dict[str, int]
    end_ns: int
    censored: bool

    def __post_init__(self) -> None:
        """Refuse what contradicts itself. Raises ValueError."""
        if self.censored is not (self.first_ns is None):
            raise ValueError("censored and first_ns contradict each other")

    @property
    def uncertainty_ns(self) -> int:
        """How much earlier than ``first_ns`` it may have been: since the attempt before the deciding one was sent."""
        if self.first_ns is None or self.sent_ns is None:
            return 0
        return self.first_ns - self.sent_ns + (self.interval_at_success_ns or 0)


@dataclass(frozen=True)
class AwaitAllResult(Answer):
    """What several probes saw, in the order of asking."""

    probes: tuple[AwaitResult, ...]


@dataclass(frozen=True)
class ChangeResult(Answer):
    """The writes and what the probes saw, by one clock.

    ``write_start_ns``: the first byte of the first write was handed to the kernel; ``acks_ns``: the last byte of
    each response reached the node; ``ack_ns`` the last of these. End-to-end latency is ``first_ns - ack_ns`` of a
    probe; it may be negative, when the data plane was faster than the acknowledgement. ``put_off_s``: the API has put
    off the write after those (429), for so many seconds; all has ended with it, and the probes tell nothing.
    """

    write_start_ns: int
    ack_ns: int
    acks_ns: tuple[int, ...]
    statuses: tuple[int, ...]
    probes: tuple[AwaitResult, ...]
    put_off_s: float | None = None

    @property
    def late_ns(self) -> int:
        """How much earlier than ``ack_ns`` the last write may have counted: 0 unless a probe saw its effect before."""
        if all(seen.first_ns is None or seen.first_ns >= self.ack_ns for seen in self.probes):
            return 0
        return self.ack_ns - (self.acks_ns[-2] if len(self.acks_ns) > 1 else self.write_start_ns)


@dataclass(frozen=True)
class HttpAnswer(Answer):
    """Status and text of a response."""

    status: int
    body: str


@dataclass(frozen=True)
class Slept(Answer):
    """The node's clock before and after."""

    start_ns: int
    end_ns: int
