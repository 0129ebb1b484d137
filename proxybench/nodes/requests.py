"""What the orchestrator may ask of an agent: one frozen dataclass per request, which also reads its answer.

Every request knows its fields on the wire, the longest time that the agent may take over it, and how to turn the
result into a frozen dataclass (pure). Times are integer nanoseconds of the node's monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from proxybench.nodes.answers import (
    Alive,
    AwaitAllResult,
    AwaitResult,
    ChangeResult,
    ClockReading,
    ConnectResult,
    EstablishedResult,
    Hello,
    HttpAnswer,
    Slept,
    Spawned,
    Stopped,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
ACK_S = 10.0  # acknowledgements may come so much later than the probes' verdicts


class Request(ABC, Generic[T]):
    """A request whose answer is a ``T``. Subclasses are frozen dataclasses, so that fakes can compare them."""

    op: ClassVar[str]

    def wire(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {item.name: _wire(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type] # every subclass is a dataclass

    @property
    def limit_s(self) -> float:
        """How long the agent may take, in seconds."""
        return 5.0

    @abstractmethod
    def decode(self, result: Mapping[str, Any]) -> T:
        """Read the result; raise KeyError, TypeError or ValueError when it is not what it should be."""


@dataclass(frozen=True)
class AskHello(Request[Hello]):
    """Ask who is there."""

    op = "hello"

    def decode(self, result: Mapping[str, Any]) -> Hello:
        """Read the answer."""
        return Hello.read(result)


@dataclass(frozen=True)
class AskClocks(Request[ClockReading]):
    """Read the node's monotonic clock and its UTC at one moment."""

    op = "clocks"

    def decode(self, result: Mapping[str, Any]) -> ClockReading:
        """Read the answer."""
        return ClockReading.read(result)


@dataclass(frozen=True)
class SetApi(Request[None]):
    """Make the API known to the agent; ``ca`` is a PEM text of authorities to trust instead of the system's."""

    op = "api"
    url: str
    token: str = field(repr=False)
    ca: str | None = None

    def decode(self, result: Mapping[str, Any]) -> None:
        """Expect an empty answer."""
        if result:
            raise ValueError(f"unexpected {sorted(result)}")


@dataclass(frozen=True)
class Spawn(Request[Spawned]):
    """Start a program in its own session and cgroup; ``log`` gets its output; ``grace_s`` counts when the agent ends.

    ``cgroup`` is a cgroup v2 folder without members; it is made, and removed (members killed) after the stop.
    """

    op = "spawn"
    argv: tuple[str, ...]
    log: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cgroup: str | None = None
    grace_s: float = 10.0

    def decode(self, result: Mapping[str, Any]) -> Spawned:
        """Read the answer."""
        return Spawned.read(result)


@dataclass(frozen=True)
class AskAlive(Request[Alive]):
    """Ask whether a spawned program still runs."""

    op = "alive"
    pid: int

    def decode(self, result: Mapping[str, Any]) -> Alive:
        """Read the answer."""
        return Alive.read(result)


@dataclass(frozen=True)
class Stop(Request[Stopped]):
    """Stop a spawned program: TERM, and KILL when it has not ended after ``timeout_s``."""

    op = "stop"
    pid: int
    timeout_s: float

    @property
    def limit_s(self) -> float:
        """Return the time-out and the killing."""
        return self.timeout_s + 5.0

    def decode(self, result: Mapping[str, Any]) -> Stopped:
        """Read the answer."""
        return Stopped.read(result)


@dataclass(frozen=True)
class AskUsage(Request[Usage]):
    """Read the CPU counters of the node and of cgroups."""

    op = "usage"
    cgroups: tuple[str, ...]

    def decode(self, result: Mapping[str, Any]) -> Usage:
        """Read the answer."""
        return Usage.read(result)


@dataclass(frozen=True)
class Target:
    """An address to connect to; ``expect`` names the endpoints that may answer, None any."""

    label: str
    host: str
    port: int
    expect: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Connect(Request[ConnectResult]):
    """Measure ``rounds`` times ``block`` new connections to each target, after ``warmup`` that are not reported.

    ``block`` is at most 256. The agent stops after ``limit`` seconds; the answer then is not ``complete``.
    """

    op = "connect"
    targets: tuple[Target, ...]
    rounds: int
    block: int
    warmup: int = 0
    timeout_ms: int = 1000
    limit: float = 120.0

    def wire(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return _renamed(super().wire())

    @property
    def limit_s(self) -> float:
        """Return the limit and the last connection's."""
        return self.limit + self.timeout_ms / 1000 + 5.0

    def decode(self, result: Mapping[str, Any]) -> ConnectResult:
        """Read the answer."""
        return ConnectResult.read(result, [target.label for target in self.targets])


@dataclass(frozen=True)
class Established(Request[EstablishedResult]):
    """Measure ``count`` round trips on one connection to each target, after ``warmup`` that are not reported."""

    op = "established"
    targets: tuple[Target, ...]
    count: int
    warmup: int = 0
    timeout_ms: int = 1000
    limit: float = 120.0

    def wire(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return _renamed(super().wire())

    @property
    def limit_s(self) -> float:
        """Return the limit and the connections' first answers."""
        return self.limit + (1 + 2 * len(self.targets)) * self.timeout_ms / 1000 + 5.0

    def decode(self, result: Mapping[str, Any]) -> EstablishedResult:
        """Read the answer."""
        return EstablishedResult.read(result, [target.label for target in self.targets])


@dataclass(frozen=True)
class Await(Request[AwaitResult]):
    """Probe an address until it answers (from a wanted endpoint) or until it refuses; see canary.Probe.

    Attempts are ``interval_us`` apart, later ``max_interval_fraction`` of the time spent; up to ``pending`` overlap.
    ``settle_ms``: after the first wanted answer, go on until no other endpoint has answered for so long.
    ``quiet_ms``: how long nothing may answer for it to be a refusal.
    """

    op = "await"
    host: str
    port: int
    until: Literal["answer", "refusal"]
    timeout_s: float
    want: tuple[str, ...] | None = None
    interval_us: int = 1000
    max_interval_fraction: float = 0.005
    quiet_ms: int = 500
    settle_ms: int = 0
    pending: int = 8

    @property
    def limit_s(self) -> float:
        """Return the time-out."""
        return self.timeout_s + 5.0

    def decode(self, result: Mapping[str, Any]) -> AwaitResult:
        """Read the answer."""
        return AwaitResult.read(result)


@dataclass(frozen=True)
class AwaitAll(Request[AwaitAllResult]):
    """Probe the first address, and once it is decided all others at once; their time-outs count from the start, too."""

    op = "await_all"
    probes: tuple[Await, ...]

    @property
    def limit_s(self) -> float:
        """Return the longest time-out."""
        return max(probe.timeout_s for probe in self.probes) + 5.0

    def decode(self, result: Mapping[str, Any]) -> AwaitAllResult:
        """Read the answer."""
        return AwaitAllResult.read(result, len(self.probes))


@dataclass(frozen=True)
class Write:
    """A request to the API: ``path`` below its URL, ``body`` a JSON object or None."""

    method: Literal["POST", "PUT", "DELETE"]
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Change(Request[ChangeResult]):
    """Probe, send the writes one after the other, and probe on; the answers are in the order of the probes.

    Without probes it only writes, and says when each write was acknowledged. ``lead_s`` bounds the connecting to the
    API, and then how long probes for a refusal wait for a first answer.
    """

    op = "change"
    writes: tuple[Write, ...]
    probes: tuple[Await, ...]
    lead_s: float = 5.0

    @property
    def limit_s(self) -> float:
        """Return the longest probe's time-out and what a change adds."""
        return self.lead_s + max((probe.timeout_s for probe in self.probes), default=0.0) + ACK_S

    def decode(self, result: Mapping[str, Any]) -> ChangeResult:
        """Read the answer."""
        return ChangeResult.read(result, len(self.probes))


@dataclass(frozen=True)
class HttpGet(Request[HttpAnswer]):
    """Read a plain http URL as the node sees it."""

    op = "http_get"
    url: str
    timeout_s: float = 10.0
    max_bytes: int = 1 << 24

    @property
    def limit_s(self) -> float:
        """Return the time-out."""
        return self.timeout_s + 5.0

    def decode(self, result: Mapping[str, Any]) -> HttpAnswer:
        """Read the answer."""
        return HttpAnswer.read(result)


@dataclass(frozen=True)
class Sleep(Request[Slept]):
    """Let the node's time pass."""

    op = "sleep"
    seconds: float

    @property
    def limit_s(self) -> float:
        """Return the time asked for."""
        return self.seconds + 5.0

    def decode(self, result: Mapping[str, Any]) -> Slept:
        """Read the answer."""
        return Slept.read(result)


@dataclass(frozen=True)
class ReadFiles(Request["dict[str, str | None]"]):
    """Read small files of the node (64 KiB each); None where one cannot be read."""

    op = "read"
    paths: tuple[str, ...]

    def decode(self, result: Mapping[str, Any]) -> dict[str, str | None]:
        """Read the answer."""
        texts = result["files"]
        return {path: texts[path] for path in self.paths}


def _wire(value: Any) -> Any:  # noqa: ANN401 - any field's value to any JSON value
    if isinstance(value, tuple):
        return [_wire(item) for item in value]
    if isinstance(value, (Target, Write, Await)):
        named = {item.name: _wire(getattr(value, item.name)) for item in fields(value)}
        return {name: item for name, item in named.items() if item is not None}
    return value


def _renamed(wire: dict[str, Any]) -> dict[str, Any]:
    """Give ``limit`` its wire name, which the time limit of the whole request occupies in Python."""
    wire["limit_s"] = wire.pop("limit")
    return wire
