"""The words that all rooms share: modes, points and samples."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from proxybench.columns import TEXT
from proxybench.metrics import Metric as Metric  # noqa: PLC0414, TC001 - one of the shared words; read by get_type_hints
from proxybench.units import shown_unit


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
    """What the nodes are made of; ``cluster``: nodes of the user's own."""

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
    REPLACE_ENDPOINT = "replace-endpoint"  # one of all that the first Service has
    DELETE_ONE = "delete-one"
    ADD_PATHS = "add-paths"  # a Service with all addresses that are measured, each of them probed
    DELETE_PATHS = "delete-paths"
    REPAIR_SERVICE = "repair-service"  # what leads from a Service's address to it is removed behind the proxy's back
    REPAIR_ENDPOINTS = "repair-endpoints"  # what leads from it to its endpoints
    REPAIR_JUMP = "repair-jump"  # what leads a packet to all Services
    REPAIR_TABLE = "repair-table"  # everything
    RESTART = "restart"
    RESTART_CHANGED = "restart-changed"  # an endpoint changed while the proxy was away
    CHANGE_IDLE = "change-idle"  # one endpoint, after a rest
    CHANGE_BUSY = "change-busy"  # one endpoint, right after others: within minSyncPeriod
    ADD_ENDPOINT = "add-endpoint"  # one more beside several
    REMOVE_ENDPOINT = "remove-endpoint"  # one of several, which serves on
    ROLL_SERVICE = "roll-service"  # the endpoints of one Service are replaced one after the other
    ROLL_DEPLOYMENT = "roll-deployment"  # those that several Services share
    SCALE_TO_ZERO = "scale-to-zero"  # the only endpoint goes, and a UDP sender goes on
    SCALE_FROM_ZERO = "scale-from-zero"
    CHANGE_UDP = "change-udp"
    CHANGE_UDP_TRACKED = "change-udp-tracked"  # the same with a full table of tracked connections
    MASS_CREATE = "mass-create"
    MASS_DELETE = "mass-delete"
    FULL_SYNC = "full-sync"
    SOAK = "soak"
    MIGRATE = "migrate"  # to another subject, started with the rules of the cell's there
    MIGRATE_BACK = "migrate-back"
    MIGRATE_CLEANED = "migrate-cleaned"  # after the clean-up of the one that goes
    MIGRATE_BACK_CLEANED = "migrate-back-cleaned"
    IDLE = "idle"
    STEADY = "steady"
    LOAD = "load"


class Position(StrEnum):
    """Where in the order of rules the Service stands; ``none`` where that has no meaning."""

    FIRST = "first"
    MIDDLE = "middle"
    LAST = "last"
    NONE = "none"


class Family(StrEnum):
    """Of which addresses a Service's virtual IP is."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Address(StrEnum):
    """How a Service is addressed; ``node_port_local`` is a NodePort with ``externalTrafficPolicy: Local``."""

    CLUSTER_IP = "cluster_ip"
    NODE_PORT = "node_port"
    NODE_PORT_LOCAL = "node_port_local"
    EXTERNAL_IP = "external_ip"
    LOAD_BALANCER_IP = "load_balancer_ip"


class Transport(StrEnum):
    """The protocol of a Service's port."""

    TCP = "tcp"
    UDP = "udp"


class Origin(StrEnum):
    """From where a Service is connected to, over which node, and where its endpoints are.

    ``client``: an outside client, by the measured node, to its own pods. ``far``: the same, to pods of another node.
    ``other``: an outside client, by another node, to the measured node's pods. ``node``: the measured node itself;
    ``pod``: a pod on it; both to its own pods.
    """

    CLIENT = "client"
    FAR = "far"
    OTHER = "other"
    NODE = "node"
    POD = "pod"


@dataclass(frozen=True, order=True)
class ServicePath:
    """The way to a Service. As text ADDRESS[/udp][@ORIGIN]: "cluster_ip", "node_port@other", "cluster_ip/udp@pod"."""

    address: Address = Address.CLUSTER_IP
    origin: Origin = Origin.CLIENT
    transport: Transport = Transport.TCP

    def __str__(self) -> str:
        transport = "" if self.transport is Transport.TCP else f"/{self.transport}"
        origin = "" if self.origin is Origin.CLIENT else f"@{self.origin}"
        return f"{self.address}{transport}{origin}"

    @classmethod
    def parse(cls, text: str) -> ServicePath:
        """Read what ``str`` wrote. Raises ValueError for anything else."""
        way, _, origin = text.partition("@")
        address, _, transport = way.partition("/")
        path = cls(Address(address), Origin(origin or Origin.CLIENT), Transport(transport or Transport.TCP))
        if str(path) != text:
            raise ValueError(f"{text!r} is written {str(path)!r}")
        return path


CLUSTER_IP = str(ServicePath())
NO_PATH = "none"  # of what is measured without sending anything to a Service

Settings = tuple[tuple[str, str], ...]


def settings_text(settings: Settings) -> str:
    """Write settings as one canonical text, by name: "iptables=nft min_sync_period=1s"; "" where there are none."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(settings))


@lru_cache(maxsize=1024)
def parse_settings(text: str) -> Settings:
    """Read what ``settings_text`` wrote. Raises ValueError for anything else."""
    pairs = [word.partition("=") for word in shlex.split(text)]
    if bad := [name for name, sign, _ in pairs if not (name and sign)]:
        raise ValueError(f"{bad[0]!r} is no setting: write name=value")
    return tuple(sorted((name, value) for name, _, value in pairs))


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
    settings: Settings = field(default=(), metadata={TEXT: (lru_cache(settings_text), parse_settings)})

    @property
    def label(self) -> str:
        """What tables and figures call it: "kube-proxy v1.37.2 iptables (iptables=nft)"."""
        words = " ".join(filter(None, (self.kind, self.version, str(self.mode))))
        return f"{words} ({settings_text(self.settings)})" if self.settings else words

    @property
    def program(self) -> str:
        """What it is besides its mode: "kube-proxy v1.37.2 (iptables=nft)"."""
        words = " ".join(filter(None, (self.kind, self.version)))
        return f"{words} ({settings_text(self.settings)})" if self.settings else words


@dataclass(frozen=True, order=True)
class Cell:
    """One state of the cluster in which measurements are taken."""

    subject: Subject
    services: int
    endpoints_per_service: int
    family: Family = Family.IPV4
    profile: str = ""  # the digest of a cluster's shape that is replayed; endpoints are its average then

    @property
    def mode(self) -> Mode:
        """The subject's mode."""
        return self.subject.mode


@dataclass(frozen=True, order=True)
class Point:
    """One cell of the matrix with what was done (scenario), over which way to the Service (path) and where.

    Every field is a dimension of each number's key: ``proxybench.columns`` derives the tables' columns from it.
    """

    subject: Subject
    services: int
    endpoints_per_service: int
    scenario: Scenario
    path: str = NO_PATH
    family: Family = Family.IPV4
    position: Position = Position.NONE
    profile: str = ""  # the digest of the cluster's shape that was replayed

    @property
    def mode(self) -> Mode:
        """The subject's mode."""
        return self.subject.mode

    @property
    def program(self) -> str:
        """The subject besides its mode."""
        return self.subject.program


@dataclass(frozen=True, order=True, kw_only=True)
class Key(Point):
    """Which number this is: the point of the matrix, the metric, its unit and its clock.

    All samples of one key and repetition are one replicate: the node and a rule's rank are no part of it.
    """

    metric: str
    unit: str
    clock: ClockKind

    @property
    def shown_unit(self) -> str:
        """The unit in which people are told it, which is not always the stored one."""
        return shown_unit(self.unit, self.clock)

    def label(self) -> str:
        """Name metric and point in one line for people."""
        return f"{self.metric} {self.place()}"

    def place(self) -> str:
        """Name the point alone: ``reference 0.1.0 iptables 1000x2 steady cluster_ip last``."""
        where = "" if self.position == Position.NONE else f" {self.position}"
        family = "" if self.family == Family.IPV4 else f" {self.family}"
        profile = f" of profile {self.profile}" if self.profile else ""
        size = f"{self.services}x{self.endpoints_per_service}{profile}"
        return f"{self.subject.label} {size} {self.scenario} {self.path}{family}{where}"


@dataclass(frozen=True)
class Sample:
    """One measured value: what, where, by which clock.

    ``value`` is an integer in ``unit`` ("ns" or "bytes"). ``censored`` means that the true value is at least
    ``value`` (a time-out); it is kept, never dropped. ``at`` is the orchestrator's UTC time in nanoseconds.
    ``uncertainty`` is in ``unit`` too: the true value lies within ``value ± uncertainty`` (a probe's resolution, a
    clock's offset). ``rank`` is the place, from 1, of the Service's rule in the kernel's order, read back from it;
    None where there is no order or nobody looked. It describes a sample, and is no part of a number's key.
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
    uncertainty: int = 0
    rank: int | None = None
