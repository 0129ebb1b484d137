"""What the orchestrator may ask of an agent: one frozen dataclass per request, which also reads its answer.

Every request knows its fields on the wire, the longest time that the agent may take over it, and what its answer is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

import orjson
from pydantic import TypeAdapter, ValidationError

from proxybench.nodes.answers import (
    Alive,
    AwaitAllResult,
    AwaitResult,
    ChangeResult,
    ClockReading,
    ConnectResult,
    Done,
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


class Request(Generic[T]):
    """A request whose answer is a ``T``. Subclasses are frozen dataclasses, so that fakes can compare them."""

    op: ClassVar[str]

    def wire(self) -> dict[str, Any]:
        """Return the fields as JSON values; what is None is left out."""
        return asdict(self, dict_factory=_wire)  # type: ignore[call-overload, no-any-return] # all are dataclasses

    @property
    def limit_s(self) -> float:
        """How long the agent may take, in seconds."""
        return 5.0

    def decode(self, result: object) -> T:
        """Read the result; raise ValueError when it is not what it should be."""
        try:
            answer: T = _reader(type(self)).validate_json(orjson.dumps(result))  # type: ignore[arg-type] # a class has a hash
        except ValidationError as error:
            found = ((".".join(map(str, each["loc"])), each["msg"]) for each in error.errors())
            raise ValueError("; ".join(f"{place}: {text}" if place else text for place, text in found)) from None
        if (asked := self.parts()) != (told := _parts(answer)):
            raise ValueError(f"it is about {told}, not about {asked}")
        return answer

    def parts(self) -> list[str] | int | None:
        """Return what the answer has parts for: labels of targets, or a number of probes."""
        return None


@dataclass(frozen=True)
class AskHello(Request[Hello]):
    """Ask who is there."""

    op = "hello"


@dataclass(frozen=True)
class AskClocks(Request[ClockReading]):
    """Read the node's monotonic clock and its UTC at one moment."""

    op = "clocks"


@dataclass(frozen=True)
class SetApi(Request[Done]):
    """Make the API known to the agent; ``ca`` is a PEM text of authorities to trust instead of the system's."""

    op = "api"
    url: str
    token: str = field(repr=False)
    ca: str | None = None


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


@dataclass(frozen=True)
class AskAlive(Request[Alive]):
    """Ask whether a spawned program still runs."""

    op = "alive"
    pid: int


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


@dataclass(frozen=True)
class AskUsage(Request[Usage]):
    """Read the CPU counters of the node and of cgroups."""

    op = "usage"
    cgroups: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """An address to connect to; ``expect`` names the endpoints that may answer, None any.

    With ``protocol`` "udp" a datagram is sent to it, and one awaited from it (Connect alone knows that).
    """

    label: str
    host: str
    port: int
    expect: tuple[str, ...] | None = None
    protocol: Literal["udp"] | None = None


@dataclass(frozen=True)
class Connect(Request[ConnectResult]):
    """Measure ``rounds`` times ``block`` new connections to each target, after ``warmup`` that are not reported.

    ``block`` is at most 256. The agent stops after ``limit`` seconds; the answer then is not ``complete``. With
    ``ordered`` it also says who answered each connection.
    """

    op = "connect"
    targets: tuple[Target, ...]
    rounds: int
    block: int
    warmup: int = 0
    timeout_ms: int = 1000
    limit: float = 120.0
    ordered: Literal[1] | None = None

    @property
    def limit_s(self) -> float:
        """Return the limit and the last connection's."""
        return self.limit + self.timeout_ms / 1000 + 5.0

    def parts(self) -> list[str]:
        """Return the labels."""
        return sorted(target.label for target in self.targets)


@dataclass(frozen=True)
class Established(Request[EstablishedResult]):
    """Measure ``count`` round trips on one connection to each target, after ``warmup`` that are not reported."""

    op = "established"
    targets: tuple[Target, ...]
    count: int
    warmup: int = 0
    timeout_ms: int = 1000
    limit: float = 120.0

    @property
    def limit_s(self) -> float:
        """Return the limit and the connections' first answers."""
        return self.limit + (1 + 2 * len(self.targets)) * self.timeout_ms / 1000 + 5.0

    def parts(self) -> list[str]:
        """Return the labels."""
        return sorted(target.label for target in self.targets)


@dataclass(frozen=True)
class Await(Request[AwaitResult]):
    """Probe an address until it answers (from a wanted endpoint) or until it refuses; see canary.Probe.

    Attempts are ``interval_us`` apart, later ``max_interval_fraction`` of the time spent; up to ``pending`` overlap.
    ``settle_ms``: after the first wanted answer, go on until no other endpoint has answered for so long.
    ``quiet_ms``: how long nothing may answer for it to be a refusal. With ``protocol`` "udp" an attempt is a datagram.
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
    protocol: Literal["udp"] | None = None

    @property
    def limit_s(self) -> float:
        """Return the time-out."""
        return self.timeout_s + 5.0


@dataclass(frozen=True)
class AwaitAll(Request[AwaitAllResult]):
    """Probe the first address, and once it is decided all others at once; their time-outs count from the start, too."""

    op = "await_all"
    probes: tuple[Await, ...]

    @property
    def limit_s(self) -> float:
        """Return the longest time-out."""
        return max(probe.timeout_s for probe in self.probes) + 5.0

    def parts(self) -> int:
        """Return how many probes there are."""
        return len(self.probes)


@dataclass(frozen=True)
class Write:
    """A request to the API: ``path`` below its URL, ``body`` a JSON object or None."""

    method: Literal["POST", "PUT", "DELETE"]
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Change(Request[ChangeResult]):
    """Probe, send the writes one after the other, and probe on; the answers are in the order of the probes.

    Without probes it only writes, ``gap_s`` apart (None: at once), and says when each write was acknowledged.
    ``lead_s`` bounds the connecting to the API, and then how long probes for a refusal wait for a first answer.
    """

    op = "change"
    writes: tuple[Write, ...]
    probes: tuple[Await, ...]
    lead_s: float = 5.0
    gap_s: float | None = None

    @property
    def limit_s(self) -> float:
        """Return the longest probe's time-out and what a change adds."""
        spread_s = (self.gap_s or 0.0) * len(self.writes)
        return self.lead_s + max((probe.timeout_s for probe in self.probes), default=0.0) + ACK_S + spread_s

    def parts(self) -> int:
        """Return how many probes there are."""
        return len(self.probes)


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


@dataclass(frozen=True)
class Sleep(Request[Slept]):
    """Let the node's time pass."""

    op = "sleep"
    seconds: float

    @property
    def limit_s(self) -> float:
        """Return the time asked for."""
        return self.seconds + 5.0


@dataclass(frozen=True)
class ReadFiles(Request["dict[str, str | None]"]):
    """Read small files of the node (64 KiB each); None where one cannot be read."""

    op = "read"
    paths: tuple[str, ...]

    def decode(self, result: object) -> dict[str, str | None]:
        """Read the answer."""
        texts = TypeAdapter(dict[Literal["files"], dict[str, str | None]]).validate_python(result)["files"]
        return {path: texts[path] for path in self.paths}


def _wire(items: list[tuple[str, Any]]) -> dict[str, Any]:
    # ``limit`` has another name on the wire, which the time limit of the whole request occupies in Python.
    return {"limit_s" if name == "limit" else name: value for name, value in items if value is not None}


@cache
def _reader(kind: type[Request[Any]]) -> TypeAdapter[Any]:
    return TypeAdapter(get_args(kind.__orig_bases__[0])[0])  # type: ignore[attr-defined] # of Request[…]


def _parts(answer: object) -> list[str] | int | None:
    if isinstance(answer, (ConnectResult, EstablishedResult)):
        return sorted(answer.targets)
    return len(answer.probes) if isinstance(answer, (AwaitAllResult, ChangeResult)) else None
