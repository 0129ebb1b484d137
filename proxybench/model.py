"""The words that all rooms share: modes, points and samples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mode(StrEnum):
    """How a Service's virtual IP is made real on a node."""

    IPTABLES = "iptables"
    IPVS = "ipvs"
    USERSPACE = "userspace"
    NFTABLES = "nftables"


class ClockKind(StrEnum):
    """Which clock a number was read from.

    ``wall`` is a machine's monotonic clock. ``instructions`` is the monotonic clock of a guest whose time is its
    count of executed instructions (1 ns each): repeatable, but no model of real nanoseconds. Never mix the two.
    """

    WALL = "wall"
    INSTRUCTIONS = "instructions"


class LabKind(StrEnum):
    """What the nodes are made of."""

    NETNS = "netns"
    VM = "vm"
    CLUSTER = "cluster"


class Scenario(StrEnum):
    """What was done to the Services while measuring; kept apart in every table."""

    COLD_START = "cold-start"
    NEW_SERVICE = "new-service"  # a Service, then its EndpointSlice a moment later, as a controller writes them
    ADD_ONE = "add-one"
    ADD_BATCH = "add-batch"
    CHANGE_ENDPOINT = "change-endpoint"
    DELETE_ONE = "delete-one"
    IDLE = "idle"
    STEADY = "steady"
    LOAD = "load"


class Position(StrEnum):
    """Where in the order of rules the Service stands; ``none`` where that has no meaning."""

    FIRST = "first"
    MIDDLE = "middle"
    LAST = "last"
    NONE = "none"


class Metric(StrEnum):
    """Names of what is measured; the value's unit stands in each sample."""

    SYNC_END_TO_END = "sync.end_to_end"
    SYNC_STALE = "sync.stale"  # change of an endpoint: until the last answer from the old one
    SYNC_CONTROL_LOOP = "sync.control_loop"
    SYNC_NETWORK_PROGRAMMING = "sync.network_programming"
    SYNC_BUILD = "sync.build"
    SYNC_TOOL = "sync.tool"
    SYNC_KERNEL = "sync.kernel"
    SYNC_WAIT = "sync.wait"  # for the control loop's next turn: minSyncPeriod
    CPU_CONTROL_LOOP = "cpu.control_loop"
    CPU_CONTROL_LOOP_USER = "cpu.control_loop.user"  # the two parts of it, where the cgroup tells them apart
    CPU_CONTROL_LOOP_SYSTEM = "cpu.control_loop.system"
    CPU_RELAY = "cpu.relay"  # userspace mode: relaying connections, which other modes' kernels do; not in the above
    CPU_SOFTIRQ = "cpu.softirq"
    CPU_NODE = "cpu.node"
    CPU_AGENT = "cpu.agent"
    CPU_WINDOW = "cpu.window"  # how long the ledger was open: what shares of a core are taken of
    MEMORY_CONTROL_LOOP = "memory.control_loop"
    FORWARDING_CONNECT = "forwarding.connect"
    FORWARDING_FIRST_BYTE = "forwarding.first_byte"  # connect() and the first answer: userspace's relay shows here
    FORWARDING_DIRECT = "forwarding.direct"
    FORWARDING_BARE = "forwarding.bare"  # the endpoint directly, before a control loop made any rule: the zero point
    FORWARDING_ESTABLISHED = "forwarding.established"
    FORWARDING_RTT = "forwarding.rtt"
    FORWARDING_LOAD = "forwarding.load"
    FORWARDING_LOAD_INTENDED = "forwarding.load.intended"  # from the intended start, so that waiting counts


RESOLUTIONS: Mapping[str, float] = {Metric.FORWARDING_RTT: 1000.0}
"""The steps in which a metric is read, in its unit, where they are not small beside its values."""


@dataclass(frozen=True, order=True)
class Subject:
    """What is under test; part of every number's key.

    ``kind`` is a key of the registry of drivers ("kube-proxy", "reference", …). ``version`` is told by the driver,
    never by us ("v1.37.2"; "" where a kind has none). ``settings`` are the settings that set it apart from another of
    the same version and mode, sorted by name: (("iptables", "nft"),).
    """

    kind: str
    version: str
    mode: Mode
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What tables and figures call it: "kube-proxy v1.37.2 iptables (iptables=nft)"."""
        words = " ".join(filter(None, (self.kind, self.version, str(self.mode))))
        told = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{words} ({told})" if told else words


@dataclass(frozen=True, order=True)
class Cell:
    """One state of the cluster in which measurements are taken."""

    mode: Mode
    proxier: str
    services: int
    endpoints_per_service: int


@dataclass(frozen=True, order=True)
class Point:
    """One cell of the matrix with what was done (scenario), over which protocol path (traffic) and where."""

    mode: Mode
    proxier: str
    services: int
    endpoints_per_service: int
    scenario: Scenario
    traffic: str = "tcp-clusterip"
    position: Position = Position.NONE


@dataclass(frozen=True)
class Sample:
    """One measured value: what, where, by which clock.

    ``value`` is an integer in ``unit`` ("ns" or "bytes"). ``censored`` means that the true value is at least
    ``value`` (a time-out); it is kept, never dropped. ``at`` is the orchestrator's UTC time in nanoseconds.
    """

    run: str
    point: Point
    repetition: int
    node: str
    metric: Metric
    value: int
    unit: str
    clock: ClockKind
    censored: bool
    at: int
