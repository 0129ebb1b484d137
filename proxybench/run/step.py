"""One step: a mode at a size, from the start of its control loop until nothing of it is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from proxybench.clocks import Clocks, Instant
from proxybench.errors import ConnectionLostError, MeasurementError, ProxybenchError
from proxybench.model import Metric, Position, Scenario
from proxybench.run.load import run_load
from proxybench.scenarios import forwarding, sync, usage
from proxybench.scenarios.recorder import Recorder
from proxybench.subjects.base import LoopFigures, ProxierConfig
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.deadline import Deadline
    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import ForwardingSpec, SyncSpec
    from proxybench.kube.objects import Object, Population
    from proxybench.model import Sample
    from proxybench.nodes.answers import AwaitResult, ChangeResult
    from proxybench.nodes.requests import Change
    from proxybench.run.testbed import Testbed
    from proxybench.scenarios.usage import Reading
    from proxybench.subjects.base import Proxier

_POLL = 0.25  # seconds of the orchestrator's time between two looks at a control loop
_QUIET_SHARE = 0.03  # of a core: a control loop that spends less is waiting
_QUIET_POLLS = 2
_STOP_LIMIT = 120.0
_AT_BIRTH = LoopFigures(0.0, 0, 0.0, 0, build=0.0, tool=0.0, kernel=0.0, wait=0.0, relay_cpu=0.0)
_BURST = 2  # syncs that may follow each other at once after a rest, as in kube-proxy


@dataclass(frozen=True)
class Checked:
    """One conformance check of the step's mode."""

    check: str
    passed: bool
    detail: str = ""


@dataclass
class StepResult:
    """What a step brought: its samples, its checks, what went wrong (one line each), and logs by name.

    ``notes`` are lines for whoever reads the numbers, such as a metric that cannot be had here; they fail no step.
    ``lost``: a connection broke meanwhile, so the bench is of no more use.
    """

    samples: list[Sample] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    lost: bool = False


@dataclass(frozen=True)
class _Opened:
    """What a measured stretch begins with."""

    figures: LoopFigures
    ledger: Reading


class StepRunner:
    """Takes one step; a part of it that fails is reported, and the other parts go on."""

    def __init__(
        self,
        bench: Testbed,
        step: Step,
        population: Population,
        proxiers: tuple[Proxier, ...],
        deadline: Deadline,
        say: Callable[[str], None],
    ) -> None:
        self._bench = bench
        self._step = step
        self._population = population
        self._proxiers = proxiers
        self._deadline = deadline
        self._say = say
        self._client = bench.client.agent
        self._recorder = Recorder(
            run=bench.run,
            cell=step.cell,
            repetition=step.repetition,
            node=bench.measured.name,
            clock_kind=bench.cluster.clock,
            clock=bench.clock,
        )
        self._result = StepResult(samples=self._recorder.samples)

    @property
    def _proxier(self) -> Proxier:
        return self._proxiers[0]

    def take(self) -> StepResult:
        """Take the step. A problem that ends it early is in the result; only an interrupt is raised."""
        try:
            forwarding_spec = self._bench.experiment.measure.forwarding
            if forwarding_spec:
                self._part("connecting without rules", partial(self._bare, forwarding_spec))
            self._cold_start()
            if self._conforms():
                self._measure()
        except ProxybenchError as error:
            self._problem("step", error)
        finally:
            self._stop()
        return self._result

    def _measure(self) -> None:
        measure = self._bench.experiment.measure
        load = self._bench.experiment.load
        if measure.forwarding:
            spec = measure.forwarding
            self._part("forwarding", lambda: self._forwarding(spec))
        if measure.cpu:
            seconds = measure.cpu.idle
            self._part("idle", lambda: self._idle(seconds))
        if load and load.runs_at(self._step.cell.services):
            self._part("load", self._load)
        if measure.sync:
            self._sync(measure.sync)

    def _part(self, name: str, action: Callable[[], None]) -> None:
        self._say(name)
        try:
            action()
        except ConnectionLostError:
            raise
        except ProxybenchError as error:
            self._problem(name, error)

    def _problem(self, part: str, error: Exception) -> None:
        self._result.lost |= isinstance(error, ConnectionLostError)
        self._result.problems.append(f"{part}: {' '.join(str(error).split())}")

    def _cold_start(self) -> None:
        self._say("cold start")
        experiment = self._bench.experiment
        cell = self._step.cell
        limit = experiment.measure.sync.timeout if experiment.measure.sync else experiment.limits.cell
        config = ProxierConfig(cell.mode, experiment.proxier.min_sync_period, experiment.proxier.sync_period)
        last = self._population.measured(cell.services, Position.LAST)
        endpoints = tuple(pod.address for pod in self._population.pods(last))
        before = usage.before_birth(self._bench.read_ledger(), self._proxier.cgroup)
        for other in self._proxiers[1:]:
            other.start(config)
        probe = sync.appears(self._population.plan.vip(last), endpoints, self._deadline.left(limit))
        pending = self._client.begin(probe)
        try:
            started = self._proxier.start(config)
        finally:
            seen = pending.finish()
        self._proxier.ready(self._deadline.left(limit))
        self._settle()
        if experiment.measure.sync and Scenario.COLD_START in experiment.measure.sync.scenarios:
            self._record_cold_start(started, seen)
            figures = self._close(Scenario.COLD_START, _Opened(_AT_BIRTH, before))
            sync.record_loop(self._recorder, Scenario.COLD_START, _AT_BIRTH, figures)
        if seen.censored:
            raise MeasurementError(f"the last Service did not answer within {probe.timeout_s:.0f} s of the start")

    def _record_cold_start(self, started: int, seen: AwaitResult) -> None:
        """Record from the start, by the measured node's clock, to the answer, by the client's, if they can be compared.

        If not, no number is made up: the step says so, and what needs one clock only is measured.
        """
        start = Instant(started, self._bench.measured.node.clock)
        end = Instant(sync.ended(seen), self._bench.client.node.clock)
        try:
            span = Clocks().between(start, end)
        except MeasurementError as error:
            self._result.notes.append(f"cold start: {Metric.SYNC_END_TO_END} is not measured: {error}")
            return
        sync.record_cold_start(self._recorder, span, seen)

    def _bare(self, spec: ForwardingSpec) -> None:
        where = self._paths(spec.positions)
        limit = self._deadline.left(60)
        request = forwarding.bare_request(where, spec.connections, spec.warmup, spec.block, limit)
        forwarding.record_bare(self._recorder, request, self._client.connect(request))

    def _conforms(self) -> bool:
        self._say("checking that the Services answer")
        where = self._paths((Position.FIRST, Position.MIDDLE, Position.LAST))
        problems = forwarding.check(self._client.connect(forwarding.check_request(where)))
        detail = "; ".join(problems)
        self._result.checks.append(Checked("VIPs answer from the right endpoints", not problems, detail))
        if problems:
            self._result.problems.append(f"conformance: {detail}")
        return not problems

    def _forwarding(self, spec: ForwardingSpec) -> None:
        where = self._paths(spec.positions)
        request = forwarding.connect_request(where, spec.connections, spec.warmup, spec.block, self._deadline.left(120))
        forwarding.record_connect(self._recorder, where, request, self._client.connect(request))
        if spec.established:
            established = forwarding.established_request(where, spec.established, self._deadline.left(60))
            forwarding.record_established(self._recorder, where, established, self._client.established(established))

    def _idle(self, seconds: float) -> None:
        opened = self._open()
        self._bench.clock.sleep(self._deadline.left(seconds))
        self._close(Scenario.IDLE, opened)

    def _load(self) -> None:
        opened = self._open()
        run_load(self._bench, self._population, self._recorder, self._deadline)
        self._close(Scenario.LOAD, opened)

    def _sync(self, spec: SyncSpec) -> None:
        canary = sync.Canary(self._population.plan)
        limit = spec.timeout
        # Each needs what the one before left: a Service to move, then one to delete.
        changes = (
            (Scenario.ADD_ONE, partial(sync.add, canary)),
            (Scenario.CHANGE_ENDPOINT, partial(sync.move, canary)),
            (Scenario.DELETE_ONE, partial(sync.delete, canary)),
        )
        for scenario, change in changes:
            if scenario in spec.scenarios:
                self._part(str(scenario), partial(self._change, scenario, change(self._deadline.left(limit))))
        if Scenario.ADD_BATCH in spec.scenarios:
            self._part(str(Scenario.ADD_BATCH), lambda: self._batch(spec))

    def _batch(self, spec: SyncSpec) -> None:
        population, services = self._population, self._step.cell.services
        indices = list(range(services, services + spec.batch.of(services)))
        # Probed is the one that is written last; one with its endpoints on the measured node, if there is one.
        last = next((index for index in reversed(indices) if population.on_first_node(index)), indices[-1])
        extra = [population.service(index) for index in indices if index != last]
        endpoints = tuple(pod.address for pod in population.pods(last))
        change = sync.add_last(
            population.service(last), population.plan.vip(last), endpoints, self._deadline.left(spec.timeout)
        )
        self._change(Scenario.ADD_BATCH, change, tuple(extra))

    def _change(self, scenario: Scenario, change: Change, batch: tuple[Object, ...] = ()) -> None:
        """Make a change and record what it took; ``batch`` is written before it and part of it."""
        # Else it would wait for its turn; all modes begin a batch with the same number of turns to spare.
        self._bench.clock.sleep(self._bench.experiment.proxier.min_sync_period * (_BURST if batch else 1))
        opened = self._open()
        begun = self._begin(batch) if batch else None
        result = self._written(change)
        self._settle(opened.figures)
        figures = self._close(scenario, opened)
        sync.record_change(self._recorder, scenario, result, begun)
        sync.record_loop(self._recorder, scenario, opened.figures, figures)

    def _begin(self, batch: tuple[Object, ...]) -> int:
        """Write a batch; return when its first write was acknowledged, by the client's clock."""
        first, *others = batch
        begun = self._written(sync.write_first(first)).ack_ns
        self._bench.api.create_many(others)
        return begun

    def _written(self, change: Change) -> ChangeResult:
        result = self._client.change(change)
        refused = [status for status in result.statuses if status not in {200, 201, 202}]
        if refused:
            raise MeasurementError(f"the API refused the change with status {refused[0]}")
        return result

    def _open(self) -> _Opened:
        """Read the loop's figures, then the ledger: reading the figures makes work for the loop."""
        return _Opened(self._proxier.figures(), self._bench.read_ledger(self._proxier.cgroup))

    def _close(self, scenario: Scenario, opened: _Opened) -> LoopFigures:
        """Record what was spent since; return the loop's figures."""
        after = self._bench.read_ledger(self._proxier.cgroup)
        figures = self._proxier.figures()
        relayed = None
        if figures.relay_cpu is not None:
            # What a relay does right after its answer to a batch is told with its next one: a little may come off here.
            relayed = max(0, round((figures.relay_cpu - (opened.figures.relay_cpu or 0.0)) * NS_PER_S))
        window = usage.Window(opened.ledger, after, relayed)
        usage.record_ledger(self._recorder, scenario, self._proxier.cgroup, window)
        return figures

    def _settle(self, before: LoopFigures | None = None) -> None:
        """Wait until the control loop has nothing left to do.

        It is watched through its cgroup's CPU time, since reading its metrics would make work for it.
        """
        agent = self._bench.measured.agent
        cgroup = self._proxier.cgroup
        while True:
            quiet, last = 0, agent.ledger([cgroup])
            while quiet < _QUIET_POLLS:
                self._bench.clock.sleep(self._deadline.left(_POLL))
                now = agent.ledger([cgroup])
                spent = now.groups[cgroup].usage_ns - last.groups[cgroup].usage_ns
                quiet = quiet + 1 if spent < _QUIET_SHARE * (now.at_ns - last.at_ns) else 0
                last = now
            figures = self._proxier.figures()
            if not figures.pending and (before is None or figures.sync_count > before.sync_count):
                return

    def _paths(self, positions: tuple[Position, ...]) -> forwarding.Paths:
        cell = self._step.cell
        return forwarding.paths(self._population, cell.services, positions, self._bench.plan.backend_port)

    def _stop(self) -> None:
        self._say("stopping")
        for proxier in self._proxiers:
            node = self._bench.proxy_handles[self._proxiers.index(proxier)].name
            try:
                try:
                    proxier.stop(_STOP_LIMIT)
                finally:  # above all of one that would not stop
                    self._result.logs[f"{self._step.index:03d}-{self._step.cell.mode}-{node}.log"] = proxier.log()
                left = proxier.leftovers()
            except ProxybenchError as error:
                self._problem(f"stopping on {node}", error)
                continue
            if left:
                self._result.problems.append(f"stopping on {node}: left behind: {'; '.join(left[:5])}")
