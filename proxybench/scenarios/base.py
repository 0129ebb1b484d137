"""What a scenario is, and what it acts through. A scenario touches nothing itself: all goes through its context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxybench.errors import MeasurementError
from proxybench.model import Mode, Origin
from proxybench.scenarios.canary import Canary, second_canary
from proxybench.scenarios.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.clocks import Clocks
    from proxybench.deadline import Deadline
    from proxybench.kube.base import ServiceApi
    from proxybench.kube.objects import Population
    from proxybench.load.clients import LoadClients
    from proxybench.model import Cell
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.kernel.state import Thing
    from proxybench.nodes.node import NodeHandle
    from proxybench.scenarios.recorder import Recorder
    from proxybench.scenarios.result import StepResult
    from proxybench.subjects.driver import RunningProxy
    from proxybench.units import Clock


class Scenario(Protocol):
    """Something that is done, and what is watched meanwhile."""

    @property
    def name(self) -> str:
        """Names it in progress and in problems: "add-one"."""
        ...

    @property
    def vital(self) -> bool:
        """Whether nothing after it can be measured when it fails."""
        ...

    def run(self, step: StepContext) -> None:
        """Do it and record what it took. Raises ProxybenchError when it cannot be measured."""
        ...


class ProxyUnderTest:
    """The measured proxy of one step: a cold start starts it, the scenarios after it watch it, or start it anew.

    ``start`` starts it and returns at once; ``second`` is the same subject on the node by which paths by another node
    come, None where it does not run there. ``ranks`` say where what it serves stands in the order of rules, from 1,
    ``second_ranks`` the same of the second. They are None until that is known, and where there is no order.
    ``watched``: connections of ours go through it now.
    """

    def __init__(
        self,
        start: Callable[[], RunningProxy],
        stop: Callable[[], None],
        second: Callable[[], RunningProxy | None] = lambda: None,
    ) -> None:
        self._start = start
        self._stop = stop
        self.second = second
        self.started: RunningProxy | None = None
        self.ranks: Mapping[str, int] | None = None
        self.second_ranks: Mapping[str, int] | None = None
        self.watched = False

    def start(self, instead: Callable[[], RunningProxy] | None = None) -> RunningProxy:
        """Start it, or another one ``instead``; rules may stand in another order from now on. Raises ProxierError."""
        self.ranks = None
        self.started = (instead or self._start)()
        return self.started

    def stop(self) -> None:
        """End it; its rules stay, if it leaves them. Raises ProxierError."""
        self._stop()

    @property
    def running(self) -> RunningProxy:
        """The proxy that was started. Raises MeasurementError before that."""
        if self.started is None:
            raise MeasurementError("the proxy was not started")
        return self.started


@dataclass(frozen=True)
class Contender:
    """A Service proxy that can run on the measured node: what starts it there, and how it removes what it made."""

    label: str
    mode: Mode
    start: Callable[[], RunningProxy]
    clean: Callable[[], None]


@dataclass(frozen=True)
class Rivals:
    """The cell's subject, the one it is migrated to, and what proxies have in the node's kernel by now."""

    own: Contender
    other: Contender
    things: Callable[[], tuple[Thing, ...]]


@dataclass(frozen=True)
class StepContext:
    """All that a step's scenarios act through.

    ``others`` are further nodes with an agent of ours (and the pod, where one is connected from), whose CPU is
    accounted for. ``planned_period``: the subject's minSyncPeriod, in seconds, as it is known before it runs;
    ``in_endpoints``: whether it reads Endpoints objects, not EndpointSlices. ``report`` is told what goes on, for
    people who wait. ``load`` is the generator on the clients, where there is one; ``rivals`` where the subject is to be
    migrated.
    """

    cell: Cell
    cluster: Cluster
    client: NodeHandle
    measured: NodeHandle
    others: tuple[NodeHandle, ...]
    api: ServiceApi
    population: Population
    subject: ProxyUnderTest
    planned_period: float
    recorder: Recorder
    result: StepResult
    clocks: Clocks
    deadline: Deadline
    clock: Clock
    report: Callable[[str], None]
    load: LoadClients | None = None
    in_endpoints: bool = False
    rivals: Rivals | None = None

    @property
    def canary(self) -> Canary:
        """The Service of its own that is added, changed and deleted; its endpoints lie in the API before."""
        population = self.population
        return Canary(population.plan, in_endpoints=self.in_endpoints, exposure=population.exposures[0])

    @property
    def second_canary(self) -> Canary:
        """Another one, of which nothing lies in the API before."""
        population = self.population
        return second_canary(population.plan, in_endpoints=self.in_endpoints, exposure=population.exposures[0])

    def origin(self, origin: Origin) -> NodeHandle:
        """Return from where a path of that origin is connected. Raises MeasurementError where there is no pod."""
        if origin is Origin.NODE:
            return self.measured
        if origin is not Origin.POD:
            return self.client
        pod = self.cluster.pod
        found = [handle for handle in self.others if pod and handle.name == pod.name]
        if not found:
            raise MeasurementError("the cluster has no pod to connect from")
        return found[0]

    @property
    def relays(self) -> bool:
        """Whether what the proxy spends may be for connections of a watch, which it relays itself in userspace mode."""
        modes = {self.cell.subject.mode, *([self.rivals.other.mode] if self.rivals else ())}
        return self.subject.watched and Mode.USERSPACE in modes

    @property
    def proxy(self) -> RunningProxy:
        """The proxy that is measured. Raises MeasurementError before it was started."""
        return self.subject.running

    @property
    def min_sync_period(self) -> float:
        """The subject's, in seconds: as it says itself once it runs, or else as was planned."""
        running = self.subject.started
        return running.periods[0] if running and running.periods else self.planned_period

    @property
    def places(self) -> Places:
        """Which Services stand where: by measured rank as soon as that is known."""
        return Places(self.population, self.cell.services, self.subject.ranks, self.subject.second_ranks)
