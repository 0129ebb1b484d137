"""What agents answer, as frozen dataclasses read by pure functions. Times: integer ns of the node's own clock.

Every ``read`` raises KeyError, TypeError or ValueError when the answer is not what it should be.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Answer:
    """An answer whose fields are plain JSON values."""

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Self:
        """Read the answer."""
        return cls(**_typed(result, cls))


def _typed(result: Mapping[str, Any], cls: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass of this module
    """Check a flat answer against the annotations of ``cls``: no field missing, none too many, all of their type."""
    names = {item.name for item in fields(cls)}
    if set(result) != names:
        raise ValueError(f"fields {sorted(result)} where {sorted(names)} were expected")
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "bool": (bool,), "None": (type(None),)}
    for item in fields(cls):
        allowed = tuple(kind for name in str(item.type).split(" | ") for kind in kinds.get(name, ()))
        value = result[item.name]
        if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
            raise TypeError(f"{item.name} is {value!r} where {item.type} was expected")
    return dict(result)


def _numbers(values: Any) -> tuple[int, ...]:  # noqa: ANN401 - unchecked JSON
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("a list of whole numbers was expected")
    return tuple(values)


def _counts(values: Any) -> dict[str, int]:  # noqa: ANN401 - unchecked JSON
    if not isinstance(values, dict) or not all(type(value) is int for value in values.values()):
        raise TypeError("counts by name were expected")
    return dict(values)


@dataclass(frozen=True)
class Hello(Answer):
    """The agent, its interpreter and its machine; ``clk_tck`` in ticks per second."""

    agent: str
    python: str
    kernel: str
    hostname: str
    pid: int
    monotonic_ns: int
    cpu_model: str
    online_cpus: int
    clk_tck: int


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
    """Whether a program runs; else its exit code, negative for a signal."""

    alive: bool
    code: int | None


@dataclass(frozen=True)
class Stopped(Answer):
    """How a program ended: exit code (negative for a signal), ns it took, whether it had to be killed."""

    code: int | None
    seconds_ns: int
    killed: bool
    cgroup_removed: bool


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
    """CPU time of all the node's CPUs together since its boot; resolution one tick."""

    user_ns: int
    nice_ns: int
    system_ns: int
    idle_ns: int
    iowait_ns: int
    irq_ns: int
    softirq_ns: int
    steal_ns: int

    @property
    def busy_ns(self) -> int:
        """Time in which a CPU did something."""
        return self.user_ns + self.nice_ns + self.system_ns + self.irq_ns + self.softirq_ns


@dataclass(frozen=True)
class Usage(Answer):
    """One reading of all counters; differences of two count.

    ``softirqs`` counts NET_RX and NET_TX. ``self_ns`` is the agent's own CPU, ``children_ns`` that of spawned
    programs which have ended (they stand in their cgroups too).
    """

    at_ns: int
    groups: dict[str, GroupFigures]
    stat: NodeFigures
    softirqs: dict[str, int]
    self_ns: int
    children_ns: int

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Self:
        """Read the answer."""
        flat = _typed(result, cls)
        flat["groups"] = {path: GroupFigures.read(group) for path, group in flat["groups"].items()}
        flat["stat"] = NodeFigures.read(flat["stat"])
        flat["softirqs"] = _counts(flat["softirqs"])
        return cls(**flat)


@dataclass(frozen=True)
class ConnectFigures(Answer):
    """New connections to one target, in the order in which they were made.

    ``connect_ns``: the call itself. ``first_byte_ns``: from before the call until the answer line was received.
    ``rtt_us``: the kernel's handshake RTT. ``answers``: connections by endpoint; ``wrong``: by unexpected ones.
    ``errors`` by errno name. ``*_censored_ns`` hold the time limit once per time-out; censored values, to be kept.
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

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Self:
        """Read the answer."""
        flat = _typed(result, cls)
        for name in ("connect_ns", "first_byte_ns", "rtt_us", "connect_censored_ns", "first_byte_censored_ns"):
            flat[name] = _numbers(flat[name])
        for name in ("answers", "errors"):
            flat[name] = _counts(flat[name])
        return cls(**flat)


@dataclass(frozen=True)
class ConnectResult:
    """Figures by label; not ``complete`` when the time limit cut the measurement short."""

    targets: dict[str, ConnectFigures]
    complete: bool

    @classmethod
    def read(cls, result: Mapping[str, Any], labels: Sequence[str]) -> Self:
        """Read the answer to a request for ``labels``."""
        flat = _typed(result, cls)
        return cls({label: ConnectFigures.read(flat["targets"][label]) for label in labels}, flat["complete"])


@dataclass(frozen=True)
class EstablishedFigures(Answer):
    """Round trips of one line on one connection; a time-out ends it and stands in ``censored_ns``."""

    rtt_ns: tuple[int, ...]
    errors: dict[str, int]
    timeouts: int
    censored_ns: tuple[int, ...]

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Self:
        """Read the answer."""
        flat = _typed(result, cls)
        flat["rtt_ns"] = _numbers(flat["rtt_ns"])
        flat["censored_ns"] = _numbers(flat["censored_ns"])
        flat["errors"] = _counts(flat["errors"])
        return cls(**flat)


@dataclass(frozen=True)
class EstablishedResult:
    """Figures by label; not ``complete`` when the time limit cut the measurement short."""

    targets: dict[str, EstablishedFigures]
    complete: bool

    @classmethod
    def read(cls, result: Mapping[str, Any], labels: Sequence[str]) -> Self:
        """Read the answer to a request for ``labels``."""
        flat = _typed(result, cls)
        return cls({label: EstablishedFigures.read(flat["targets"][label]) for label in labels}, flat["complete"])


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

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Self:
        """Read the answer."""
        flat = _typed(result, cls)
        flat["errors"] = _counts(flat["errors"])
        if flat["censored"] is not (flat["first_ns"] is None):
            raise ValueError("censored and first_ns contradict each other")
        return cls(**flat)


@dataclass(frozen=True)
class AwaitAllResult:
    """What several probes saw, in the order of asking."""

    probes: tuple[AwaitResult, ...]

    @classmethod
    def read(cls, result: Mapping[str, Any], probes: int) -> Self:
        """Read the answer to a request with that many probes."""
        flat = _typed(result, cls)
        return cls(_probes(flat["probes"], probes))


@dataclass(frozen=True)
class ChangeResult:
    """The writes and what the probes saw, by one clock.

    ``write_start_ns``: the first byte of the first write was handed to the kernel; ``acks_ns``: the last byte of
    each response reached the node; ``ack_ns`` the last of these. End-to-end latency is ``first_ns - ack_ns`` of a
    probe; it may be negative, when the data plane was faster than the acknowledgement.
    """

    write_start_ns: int
    ack_ns: int
    acks_ns: tuple[int, ...]
    statuses: tuple[int, ...]
    probes: tuple[AwaitResult, ...]

    @classmethod
    def read(cls, result: Mapping[str, Any], probes: int) -> Self:
        """Read the answer to a request with that many probes."""
        flat = _typed(result, cls)
        flat["acks_ns"] = _numbers(flat["acks_ns"])
        flat["statuses"] = _numbers(flat["statuses"])
        flat["probes"] = _probes(flat["probes"], probes)
        return cls(**flat)


def _probes(values: Any, count: int) -> tuple[AwaitResult, ...]:  # noqa: ANN401 - unchecked JSON
    found = tuple(AwaitResult.read(one) for one in values)
    if len(found) != count:
        raise ValueError(f"{len(found)} results for {count} probes")
    return found


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
