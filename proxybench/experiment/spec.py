"""The words of an experiment file as frozen models; what each means stands beside it and in the JSON Schema.

These models check single values. What concerns several of them at once is in ``checks``; line numbers and the
wording of problems are ``load``'s and ``wording``'s business.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_serializer,
)

from proxybench.experiment.events import EVENTS, MIGRATIONS, EventsSpec, MigrateSpec, SoakSpec
from proxybench.experiment.path_words import PathWord  # noqa: TC001 - pydantic reads the annotations
from proxybench.experiment.patience import LimitsSpec
from proxybench.experiment.places import ClockChoice, ClusterSpec, LabSpec
from proxybench.experiment.profile import Profile
from proxybench.experiment.subjects import SubjectWords, release
from proxybench.experiment.words import (
    LEFT_OUT,
    Batch,
    BatchSize,
    Duration,
    Words,
    distinct,
    one_of,
    schema_of,
    show,
    switch,
    within,
)
from proxybench.model import Family, Mode, Position, Scenario, ServicePath

FORMAT = 1
"""The version of the format of experiment files."""

MAX_SERVICES = 16_000
"""The lab is laid out for 10,000; this leaves room for a larger size and its batch. Userspace mode is what bounds it:
it listens on a port of the node for each Service, of which Linux hands out 28,232 by default."""

MAX_OF_ONE_SERVICE = 32_000
"""A Service's endpoints are on one node, and the range of its pods has 32,511 addresses."""

MAX_ENDPOINTS = 60_000
"""Every endpoint has a pod address of its own, of which the lab's two /17 have 64,510; the rest is for batches."""


class ProxierKind(StrEnum):
    """How the Service proxy of the short form runs."""

    REFERENCE = "reference"
    KUBE_PROXY = "kube-proxy"
    DAEMONSET = "daemonset"


class ProxierNodes(StrEnum):
    """On which proxy nodes a control loop runs: on the measured one only, or on all."""

    MEASURED = "measured"
    ALL = "all"


_OF_OTHERS = {Scenario.IDLE, Scenario.STEADY, Scenario.LOAD, *EVENTS, *MIGRATIONS, Scenario.SOAK}
SCENARIOS = tuple(one for one in Scenario if one not in _OF_OTHERS)
"""What ``sync`` does; the others come of other settings."""
UNUSUAL = frozenset({Scenario.NEW_SERVICE, Scenario.REPLACE_ENDPOINT, Scenario.ADD_PATHS, Scenario.DELETE_PATHS})
"""What of it is done only where it is asked for."""
REPEATED = frozenset({Scenario.ADD_ONE, Scenario.CHANGE_ENDPOINT, Scenario.DELETE_ONE})
"""What ``sync.times`` repeats."""
POSITIONS = (Position.FIRST, Position.MIDDLE, Position.LAST)


def _known_format(version: int) -> int:
    if version != FORMAT:
        raise ValueError(f"{version} is no format that this proxybench reads; write {FORMAT}")
    return version


def _fits_address_plan(services: int) -> int:
    if services > MAX_SERVICES:
        raise ValueError(f"{services} Services are more than the lab is laid out for; write at most {MAX_SERVICES}")
    return services


def _fits_pods(endpoints: int) -> int:
    if endpoints > MAX_OF_ONE_SERVICE:
        raise ValueError(
            f"{endpoints} endpoints of one Service are more than a node has pod addresses; write at most"
            f" {MAX_OF_ONE_SERVICE}"
        )
    return endpoints


def _slug(name: object) -> object:
    # The name becomes a folder below the results, so it must not be a path.
    if isinstance(name, str) and not (name.isascii() and name.replace("-", "").isalnum() and name[0] != "-"):
        raise ValueError(f"{show(name)} cannot name a folder; use letters, digits and dashes, such as my-test")
    return name


def _one_number(value: object) -> object:
    return {"default": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _yes_or_no(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{show(value)} is neither true nor false")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _shape(value: object) -> object:
    if not isinstance(value, Profile):  # load.py has put it in the place of its file's name, where there is such a file
        right = "name one that proxybench profile wrote"
        raise ValueError(f"{show(value)} is no file that is there; {right}")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _at_sizes(value: object) -> object:
    if value == "all":
        return None
    if not isinstance(value, list | tuple):
        right = "write all, or numbers of Services: [1000, 10000]"
        raise ValueError(f"{show(value)} is no list of sizes; {right}")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


MOST_REPETITIONS = 1_000
MOST_CONNECTIONS = 100_000
"""Of a position: each is kept, and sent by one request to an agent."""
MOST_IN_A_BLOCK = 256

_Repetitions = Annotated[int, Field(strict=True, ge=1, le=MOST_REPETITIONS)]
_Connections = Annotated[int, Field(strict=True, ge=1, le=MOST_CONNECTIONS)]
_ConnectionsOrNone = Annotated[int, Field(strict=True, ge=0, le=MOST_CONNECTIONS)]
_Unique = AfterValidator(distinct)
_ModeWord = Annotated[Mode, one_of("a mode", *Mode), schema_of(*Mode)]
_ScenarioWord = Annotated[Scenario, one_of("a scenario of sync", *SCENARIOS), schema_of(*SCENARIOS)]
_PositionWord = Annotated[Position, one_of("a position", *POSITIONS), schema_of(*POSITIONS)]
_FamilyWord = Annotated[Family, one_of("a family of addresses", *Family), schema_of(*Family)]
_Services = Annotated[
    int,
    Field(strict=True, ge=1),
    AfterValidator(_fits_address_plan),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_SERVICES}),
]
_Endpoints = Annotated[
    int,
    Field(strict=True, ge=1),
    AfterValidator(_fits_pods),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_OF_ONE_SERVICE}),
]


class TargetSpec(Words):
    """What to measure on: a lab, or your own cluster."""

    lab: LabSpec = LabSpec()
    """A small cluster made for this run, on this machine."""
    cluster: Annotated[ClusterSpec | None, Field(exclude_if=lambda value: value is None)] = None
    """A cluster of your own."""


class ProxierSpec(Words):
    """What is equal for all subjects; with modes, also what they are modes of."""

    kind: Annotated[
        Annotated[ProxierKind, one_of("a kind of proxier", *ProxierKind), schema_of(*ProxierKind)] | None, LEFT_OUT
    ] = None
    """With modes: reference (when it is left out), proxybench's own control loop, or kube-proxy."""
    version: Annotated[
        Annotated[str, AfterValidator(release)] | None, LEFT_OUT, Field(strict=True, examples=["v1.37.2"])
    ] = None
    """With modes and kind kube-proxy: the release."""
    min_sync_period: Annotated[Duration, AfterValidator(within("0s", "1m"))] = 1.0
    """The least time between two syncs; it dominates sync medians, so it is pinned."""
    sync_period: Annotated[Duration, AfterValidator(within("1s", "1h"))] = 30.0
    """The time after which everything is synced again."""
    nodes: Annotated[ProxierNodes, one_of("a choice of nodes", *ProxierNodes), schema_of(*ProxierNodes)] = (
        ProxierNodes.MEASURED
    )
    """measured: only the node that is measured runs a control loop; all: every proxy node does."""


class ScaleSpec(Words):
    """The sizes of the cluster; every subject is measured at every size."""

    services: Annotated[tuple[_Services, ...], Field(examples=["[10, 100, 1000]"]), _Unique] = ()
    """Numbers of Services."""
    endpoints_per_service: Annotated[tuple[_Endpoints, ...], Field(min_length=1, examples=["[2]"]), _Unique] = (2,)
    """Numbers of endpoints of each Service; every one is combined with every number of Services."""
    one_service_endpoints: Annotated[tuple[_Endpoints, ...], Field(examples=["[10, 1000]"]), _Unique] = ()
    """Further cells with one Service only, which has so many endpoints."""
    profile: Annotated[
        Profile | None,
        BeforeValidator(_shape),
        Field(examples=["cluster.yaml"], exclude_if=lambda value: value is None),
        WithJsonSchema({"type": "string", "minLength": 1}),
    ] = None
    """Instead of all these, a file that proxybench profile wrote of a cluster, whose shape is replayed; seen from the
    folder of the experiment file, or with --set from the working directory."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(Services, endpoints of each), ascending; a size that is named in two ways is one."""
        if self.profile:
            return ((self.profile.size, self.profile.endpoints_each),)
        grid = {(services, each) for services in self.services for each in self.endpoints_per_service}
        single = {(1, endpoints) for endpoints in self.one_service_endpoints}
        return tuple(sorted(grid | single))


class Repetitions(Words):
    """How often each cell is measured: default, or by number of Services ({default: 3, "10000": 2})."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Repetitions]

    default: _Repetitions = 3
    """For every size that is not named."""
    instructions: Annotated[_Repetitions | None, LEFT_OUT] = None
    """With clock: [wall, instructions], the most that there are by the instruction clock, whose numbers repeat."""

    def of(self, services: int, clock: ClockChoice | None = None) -> int:
        """Return the number of repetitions for cells with so many Services, by one of two clocks."""
        named = self.__pydantic_extra__.get(str(services), self.default)
        return min(named, self.instructions or named) if clock is ClockChoice.INSTRUCTIONS else named


class SyncSpec(Words):
    """From the API's acknowledgement of a change until the data plane answers for it."""

    scenarios: Annotated[
        tuple[_ScenarioWord, ...], Field(min_length=1, examples=["[add-one, delete-one]"]), _Unique
    ] = tuple(scenario for scenario in SCENARIOS if scenario not in UNUSUAL)
    """What is done to the Services; left out, all but new-service, replace-endpoint, add-paths and delete-paths."""
    times: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """How often add-one, change-endpoint and delete-one are done within a repetition, in turns; their samples are
    of one repetition, and the median of them is what it counts for."""
    batch: BatchSize = Batch(share=0.1)
    """Services that add-batch adds: a count, or a share such as 10%."""
    timeout: Annotated[Duration, AfterValidator(within("1s", "1h"))] = 120.0
    """After this long a change counts as not seen: a censored sample."""


class CpuSpec(Words):
    """CPU of the control loop's cgroup, per sync and while nothing changes."""

    idle: Annotated[Duration, AfterValidator(within("1s", "10m"))] = 5.0
    """How long to watch a control loop that has nothing to do."""


class ForwardingSpec(Words):
    """Latency of new connections through the rules, and directly to the endpoint."""

    connections: _Connections = 300
    """New connections per position, and as many directly."""
    warmup: _ConnectionsOrNone = 20
    """Connections made first and thrown away, per target."""
    block: Annotated[int, Field(strict=True, ge=1, le=MOST_IN_A_BLOCK)] = 10
    """Connections to one target before the next takes its turn."""
    positions: Annotated[tuple[_PositionWord, ...], Field(min_length=1, examples=["[first, last]"]), _Unique] = (
        POSITIONS
    )
    """Where in the order of rules the Services stand that are connected to."""
    paths: Annotated[
        tuple[PathWord, ...], Field(min_length=1, examples=["[cluster_ip, node_port, node_port@other]"]), _Unique
    ] = (ServicePath(),)
    """How the Services are addressed, over TCP or UDP, and from where; every Service has all these addresses."""
    by_endpoint: Annotated[bool, BeforeValidator(_yes_or_no)] = False
    """Whether each connection over the ClusterIP is kept with the place of the endpoint that answered it, too."""
    established: _ConnectionsOrNone = 300
    """Round trips on an established connection: the control that should not differ; 0 switches it off."""


class MeasureSpec(Words):
    """What is measured in every cell; true, false or settings. What is left out is off."""

    sync: Annotated[SyncSpec | None, BeforeValidator(switch, json_schema_input_type=bool | SyncSpec)] = None
    """Rule-sync latency."""
    events: Annotated[EventsSpec | None, BeforeValidator(switch, json_schema_input_type=bool | EventsSpec)] = None
    """What happens to a cluster: outages, lost and refused connections."""
    migrate: Annotated[MigrateSpec | None, Field(examples=["{to: nftables}"])] = None
    """What a migration to another subject does to those who connect; left out, there is none."""
    soak: Annotated[SoakSpec | None, BeforeValidator(switch, json_schema_input_type=bool | SoakSpec)] = None
    """Mixed churn for a long time."""
    cpu: Annotated[CpuSpec | None, BeforeValidator(switch, json_schema_input_type=bool | CpuSpec)] = None
    """CPU of the control loop."""
    forwarding: Annotated[
        ForwardingSpec | None, BeforeValidator(switch, json_schema_input_type=bool | ForwardingSpec)
    ] = None
    """Forwarding latency of each new connection."""

    @property
    def paths(self) -> tuple[ServicePath, ...]:
        """The paths that are measured."""
        return self.forwarding.paths if self.forwarding else ()

    @field_serializer("sync", "events", "soak", "cpu", "forwarding", mode="wrap")
    def _off(self, value: object, handler: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401 - what pydantic made of it
        return False if value is None else handler(value)


class LoadSpec(Words):
    """Concurrent new connections by locust, with constant pacing."""

    rate: Annotated[int, Field(strict=True, ge=1, le=20_000, examples=["200"])]
    """New connections per second, of all users together."""
    users: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 10
    """Concurrent users; each makes rate / users connections per second."""
    duration: Annotated[Duration, AfterValidator(within("1s", "10m"))] = 10.0
    """How long the load lasts in a cell."""
    services_used: Annotated[int, Field(strict=True, ge=1, le=MAX_SERVICES)] = 9
    """How many Services are connected to, spread over all positions; a smaller cell uses all it has."""
    at: Annotated[
        tuple[_Services, ...] | None,
        BeforeValidator(_at_sizes),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "const": "all"},
                    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": MAX_SERVICES}},
                ]
            }
        ),
    ] = None
    """Numbers of Services at which the load runs; all (or nothing) for every size."""

    def runs_at(self, services: int) -> bool:
        """Return whether the load runs in cells with so many Services."""
        return self.at is None or services in self.at

    @field_serializer("at")
    def _everywhere(self, value: tuple[int, ...] | None) -> str | tuple[int, ...]:
        return "all" if value is None else value


class Experiment(Words):
    """An experiment of proxybench."""

    model_config = ConfigDict(
        title="proxybench experiment",
        json_schema_extra={"oneOf": [{"required": ["subjects"]}, {"required": ["modes"]}]},
    )

    version: Annotated[
        int, Field(strict=True, examples=["1"]), AfterValidator(_known_format), WithJsonSchema({"const": FORMAT})
    ]
    """The version of this file's format."""
    name: Annotated[str, Field(max_length=60, examples=["my-test"]), BeforeValidator(_slug)]
    """Names the folder of the results: letters, digits and dashes."""
    description: str = ""
    """For people."""
    target: TargetSpec = TargetSpec()
    """What to measure on."""
    subjects: Annotated[
        tuple[SubjectWords, ...],
        LEFT_OUT,
        Field(min_length=1, examples=["[{kind: kube-proxy, version: v1.37.2, mode: nftables}]"]),
    ] = ()
    """What is under test: each is measured at every size."""
    modes: Annotated[
        tuple[_ModeWord, ...], LEFT_OUT, Field(min_length=1, examples=["[iptables, ipvs, userspace]"]), _Unique
    ] = ()
    """The short form of subjects: modes of the one proxier that proxier names."""
    proxier: ProxierSpec = ProxierSpec()
    """What is equal for all subjects."""
    families: Annotated[tuple[_FamilyWord, ...], Field(min_length=1, examples=["[ipv4]"]), _Unique] = (Family.IPV4,)
    """The families of the Services' addresses: every subject is measured at every size in each. With ipv6 the lab's
    nodes have both."""
    scale: Annotated[ScaleSpec, Field(examples=["{services: [10, 100, 1000]}"])]
    """The sizes of the cluster."""
    repetitions: Annotated[
        Repetitions,
        BeforeValidator(_one_number, json_schema_input_type=_Repetitions | Repetitions),
        Field(examples=["3"]),
    ] = Repetitions()
    """How often each cell is measured; the repetition is what statistics count."""
    warmup: Annotated[bool, BeforeValidator(_yes_or_no)] = False
    """Whether a lab takes each of its cells once unmeasured before the first step. It always starts each mode once."""
    measure: Annotated[MeasureSpec, Field(examples=["{sync: true, cpu: true, forwarding: true}"])]
    """What is measured in every cell."""
    load: Annotated[LoadSpec | None, Field(examples=["{rate: 200}"])] = None
    """Concurrent load; left out, there is none."""
    limits: LimitsSpec = LimitsSpec()
    """When to give up."""
