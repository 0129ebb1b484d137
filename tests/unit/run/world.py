"""A cluster in memory in which one step can be taken: nothing waits, and every answer is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from proxybench.deadline import Deadline
from proxybench.experiment.matrix import Step
from proxybench.experiment.spec import Experiment
from proxybench.kube.access import exposures
from proxybench.nodes.answers import (
    AwaitAllResult,
    AwaitResult,
    ChangeResult,
    ClockReading,
    ConnectFigures,
    ConnectResult,
    EstablishedFigures,
    EstablishedResult,
    GroupFigures,
    NodeFigures,
    Usage,
)
from proxybench.nodes.client import Agent, Pending
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskClocks, AskUsage, Await, AwaitAll, Change, Connect, Established, ReadFiles
from proxybench.nodes.watch import BeginWatch, Begun, EndWatch, HeldSeen, Seen, Stretch, WatchResult
from proxybench.run.step import StepRunner
from proxybench.run.testbed import Testbed, address_plan
from proxybench.scenarios.population import Populator
from proxybench.scenarios.proxies import Launcher, Proxies
from proxybench.subjects.driver import ProxyMetrics
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, done
from proxybench.testing.kube import FakeServiceApi
from proxybench.testing.model import make_cell
from proxybench.testing.proxies import FakeKernels, FakeProxy
from proxybench.units import NS_PER_S
from tests.factories import make_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from proxybench.hosts.base import Completed
    from proxybench.model import Cell, ServicePath
    from proxybench.nodes.requests import Request
    from proxybench.nodes.watch import Watched
    from proxybench.scenarios.result import StepResult

T = TypeVar("T")
CLUSTER = make_cluster()
PLAN = address_plan(CLUSTER)
CELL = make_cell()


class World:
    """The nodes; ``answers`` replaces what a kind of request is answered (a value, or an exception to raise)."""

    def __init__(self, measure: Mapping[str, Any], *, nodes: str = "measured", load: Any = None) -> None:
        self.clock = FakeClock(1000 * NS_PER_S)
        self.log: list[str] = []
        self.kernel_log: list[str] = []
        self.syncs = 1
        self.relay_cpu: Callable[[int], float | None] = lambda _: None  # of the clock's time
        self.answers: dict[type, Callable[[Any], Any]] = {}
        self.api = FakeServiceApi()
        self.experiment = Experiment.model_validate(
            {
                "version": 1,
                "name": "t",
                "modes": ["iptables"],
                "scale": {"services": [10]},
                "measure": measure,
                "proxier": {"nodes": nodes},
                "load": load,
            }
        )
        self.bench = Testbed(
            run="run-1",
            experiment=self.experiment,
            cluster=CLUSTER,
            handles=self.handles(),
            api=self.api,
            plans=(PLAN,),
            clock=self.clock,
        )
        self.running = {
            handle.name: FakeProxy(handle, self.clock, self.log, self.metrics_now)
            for handle in self.bench.proxy_handles
        }
        self.kernels = FakeKernels(self.kernel_log)
        self.said: list[str] = []
        self.watches: list[tuple[Watched, ...]] = []
        self.pair: tuple[Launcher, ...] = ()
        self.oom_kills = dict.fromkeys((node.name for node in CLUSTER.nodes), 0)

    def metrics_now(self) -> ProxyMetrics:
        """Return what a proxy has done by now."""
        syncs = self.syncs
        return ProxyMetrics(
            sync_sum=0.5 * syncs,
            sync_count=syncs,
            build=0.1 * syncs,
            tool=0.2 * syncs,
            kernel=0.1 * syncs,
            wait=0.0,
            relay_cpu=self.relay_cpu(self.clock.now),
        )

    def proxies(self, bench: Testbed | None = None) -> Proxies:
        """Return the subject, ready to be started on the nodes that run it."""
        handles = (bench or self.bench).proxy_handles
        return Proxies(handles, lambda handle: self.running[handle.name].start(), self.kernels, 1.0, pair=self.pair)

    def use_api(self, api: FakeServiceApi) -> None:
        """Let everything be written to another API."""
        self.api = api
        self.bench = replace(self.bench, api=api)

    def handles(self) -> dict[str, NodeHandle]:
        """Return fresh handles to all nodes; nothing is run on one but a look at what its kernel has killed."""
        return {
            node.name: NodeHandle(node, FakeHost(self, node.name), FakeNode(self, node.name)) for node in CLUSTER.nodes
        }

    def take(
        self,
        *,
        limit: float = 300.0,
        bench: Testbed | None = None,
        exposed: Collection[ServicePath] = (),
        cell: Cell = CELL,
    ) -> StepResult:
        """Take a step, at a population that was written before, and is exposed for some paths."""
        population = Populator(self.api, PLAN, exposures=exposures(exposed)).reach(10, 2, 1, lambda _: None)
        deadline = Deadline(self.clock, limit, "the step", Deadline(self.clock, 10 * limit, "the run"))
        step = Step(4, 2, cell)
        return StepRunner(bench or self.bench, step, population, self.proxies(), deadline, self.said.append).take()

    def metrics(self, result: StepResult, scenario: str) -> dict[str, list[int]]:
        """Return the values of a scenario by metric."""
        found: dict[str, list[int]] = {}
        for sample in result.samples:
            if sample.point.scenario == scenario:
                found.setdefault(str(sample.metric), []).append(sample.value)
        return found


class FakeHost(FakeExecutor):
    """A node beside its agent: it tells how many processes its kernel has killed for want of memory."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name)
        self.world = world

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        if list(argv) == ["cat", "/proc/vmstat"]:
            return done(f"nr_free_pages 9\noom_kill {self.world.oom_kills[self.name]}\n")
        return super().run(argv, stdin=stdin, timeout=timeout, check=check)


class FakeNode(Agent):
    """An agent that answers by the kind of request; one request at a time. ``ended`` is what a test says it is."""

    ended = ""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.open = False

    def begin(self, request: Request[T]) -> Pending[T]:
        assert not self.open, f"{request} was begun before another was finished"
        self.open = True
        if not isinstance(request, AskUsage):
            self.world.log.append(f"{self.name} {request.op}")
        return _Answer(self, request)

    def close(self) -> None:
        raise AssertionError("a step closes no agent")

    def answer(self, request: Request[Any]) -> object:
        chosen = self.world.answers.get(type(request))
        return chosen(request) if chosen else ANSWERS[type(request)](self.world, request)


class _Answer(Pending[T]):
    def __init__(self, node: FakeNode, request: Request[T]) -> None:
        self.node = node
        self.request = request

    def finish(self) -> T:
        self.node.open = False
        return self.node.answer(self.request)  # type: ignore[return-value] # ANSWERS pairs requests with their answers


def usage(world: World, request: AskUsage) -> Usage:
    """Everything spends 1 % of the time, which is as good as nothing."""
    now = world.clock.now
    groups = {group: GroupFigures(now // 100, now // 200, now // 200, 4096, 4096) for group in request.cgroups}
    return Usage(now, groups, NodeFigures(now // 50 + now // 1000, now // 1000), now // 1000)


def seen(world: World, request: Await, *, censored: bool = False) -> AwaitResult:
    """It answers 2 ms after now, or never."""
    first = None if censored else world.clock.now + 2_000_000
    end = world.clock.now + 9_000_000
    return AwaitResult(world.clock.now, first, first, None, None, None, 3, 1, {}, end, censored)


def all_seen(world: World, request: AwaitAll) -> AwaitAllResult:
    """The first answers 2 ms after now, after three attempts, and the others at once, 1 ms later."""
    first, *others = request.probes
    late = [replace(seen(world, one), first_ns=world.clock.now + 3_000_000, attempts=1) for one in others]
    return AwaitAllResult((seen(world, first), *late))


def changed(world: World, request: Change, status: int = 201) -> ChangeResult:
    """The write is acknowledged at once, and taken up by one sync."""
    world.syncs += 1
    probes = tuple(seen(world, probe) for probe in request.probes)
    return ChangeResult(world.clock.now, world.clock.now, (world.clock.now,), (status,), probes)


def connected(world: World, request: Connect) -> ConnectResult:
    """Each connection takes 100 µs."""
    count = request.rounds * request.block
    figures = ConnectFigures((100_000,) * count, (150_000,) * count, (90,) * count, {}, 0, {}, 0, (), ())
    return ConnectResult({target.label: figures for target in request.targets}, complete=True)


def established(world: World, request: Established) -> EstablishedResult:
    """Each round trip takes 40 µs."""
    figures = EstablishedFigures((40_000,) * request.count, {}, 0, ())
    return EstablishedResult({target.label: figures for target in request.targets}, complete=True)


def files(_: World, request: ReadFiles) -> dict[str, str | None]:
    """Every file holds a line with the number 1."""
    return dict.fromkeys(request.paths, "1\n")


def begun(world: World, request: BeginWatch) -> Begun:
    """The watch is process 77; its targets are what ``watched`` tells of."""
    world.watches.append(request.targets)
    return Begun(77)


def watched(world: World, request: EndWatch) -> WatchResult:
    """Each target answered 9 times but for an outage of 40 ms with 3 lost and 1 refused; what was held lives."""
    assert request.pid == 77
    now, ms = world.clock.now, 1_000_000
    stretches = (
        Stretch("answered", now, now + 20 * ms, 5),
        Stretch("silent", now + 25 * ms, now + 35 * ms, 3),
        Stretch("refused", now + 40 * ms, now + 40 * ms, 1),
        Stretch("answered", now + 65 * ms, now + 80 * ms, 4),
    )
    targets = world.watches[-1]
    held = {one.label: HeldSeen(7 * ms, "") for one in targets if one.kind == "held"}
    seen_ = {one.label: Seen(stretches, {}, 5 * ms) for one in targets if one.kind != "held"}
    return WatchResult(now, now + 100 * ms, 3 * ms, seen_, held)


def clocks(world: World, _: AskClocks) -> ClockReading:
    """Both clocks show the same."""
    return ClockReading(world.clock.now, world.clock.now)


ANSWERS: dict[type, Callable[[World, Any], object]] = {
    AskClocks: clocks,
    AskUsage: usage,
    Await: seen,
    BeginWatch: begun,
    EndWatch: watched,
    AwaitAll: all_seen,
    Change: changed,
    Connect: connected,
    Established: established,
    ReadFiles: files,
}
