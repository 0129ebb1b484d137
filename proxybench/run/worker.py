"""A shard: one lab, and the steps that are taken in it.

By the wall clock there is one, since two labs would disturb each other. By the instruction clock a busy neighbour is
no disturbance, so that a machine with two processors takes two steps at a time.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from proxybench.deadline import Deadline
from proxybench.errors import ApiError, ConnectionLostError, HostError, ProxybenchError
from proxybench.experiment.matrix import Step
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.load.session import start_load
from proxybench.run.restore import recover, settings
from proxybench.run.step import StepResult, StepRunner
from proxybench.run.testbed import Testbed, address_plan, read_machines, start_agents
from proxybench.scenarios.population import Populator
from proxybench.scenarios.warmup import warm_up
from proxybench.subjects.reference import ReferenceProxier
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Event

    from proxybench.experiment.spec import Experiment
    from proxybench.model import Mode
    from proxybench.nodes.cluster import Cluster
    from proxybench.run.journal import Book
    from proxybench.run.progress import Progress
    from proxybench.run.restore import Settings
    from proxybench.units import Clock

_STOP_POLL = 0.25  # seconds; how late a wait may notice that the run is being stopped
_LOCUST_LIMIT = 300.0
_CONNECTS = 3  # tries to reach a lab, each with its own retries per node (hosts/connect.py)
_PAUSE = 2.0  # seconds between two of them


def split(steps: Sequence[Step], shards: int) -> tuple[tuple[Step, ...], ...]:
    """Deal the steps to shards: all modes of one size and repetition together, the larger sizes first and evenly.

    Within a shard the matrix's order is kept. There are as many shards as can be given something to do.
    """
    blocks: dict[tuple[int, int, int], list[Step]] = {}
    for step in steps:
        key = (step.repetition, step.cell.services, step.cell.endpoints_per_service)
        blocks.setdefault(key, []).append(step)
    dealt: list[list[Step]] = [[] for _ in range(min(shards, len(blocks)))]
    for block in sorted(blocks.values(), key=_weight, reverse=True):
        min(dealt, key=_weight).extend(block)
    return tuple(tuple(sorted(hand)) for hand in dealt)


def _weight(steps: Sequence[Step]) -> int:
    # In the lab a step costs as much as some 3,000 Services do, and then with every Service.
    return sum(3_000 + step.cell.services * step.cell.endpoints_per_service // 2 for step in steps)


@dataclass
class _Lab:
    """What a shard knows of its lab for longer than one connection lasts."""

    cluster: Cluster
    hand: Sequence[Step]
    before: dict[str, Settings] | None = None  # the nodes' settings before anything ran
    warm: bool = False


class Shard:
    """Takes its steps one after the other in the lab that it was given."""

    def __init__(self, experiment: Experiment, book: Book, progress: Progress, clock: Clock, stop: Event) -> None:
        self._experiment = experiment
        self._book = book
        self._progress = progress
        self._clock = _Stoppable(clock, stop)
        self._stop = stop

    def work(self, cluster: Cluster, steps: Sequence[Step], whole: Deadline) -> None:
        """Connect to the lab and take the steps.

        A step in which a connection or an agent is lost has failed. The shard then connects anew, cleans the nodes and
        goes on with the next one. When the lab cannot be reached any more, the steps that are left fail with that
        reason. Raises RunError only when the disk refuses.
        """
        lab = _Lab(cluster, steps)
        left = deque(steps)
        while left and not self._stop.is_set():
            with ExitStack() as stack:
                try:
                    bench, populator = self._reach(lab, stack, whole)
                except ProxybenchError as error:
                    self._give_up(left, error)
                    return
                good = True
                while good and left and not self._stop.is_set():
                    good = self._take(bench, populator, left.popleft(), whole)

    def _reach(self, lab: _Lab, stack: ExitStack, whole: Deadline) -> tuple[Testbed, Populator]:
        """Connect, in a few tries, and make the lab ready for a step; leaving ``stack`` ends the connection."""
        retrying = Retrying(
            retry=retry_if_exception_type((HostError, ApiError)),
            stop=stop_after_attempt(_CONNECTS),
            wait=wait_fixed(_PAUSE),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return retrying(self._reach_once, lab, stack, whole)

    def _reach_once(self, lab: _Lab, stack: ExitStack, whole: Deadline) -> tuple[Testbed, Populator]:
        whole.left(1)
        with ExitStack() as own:
            bench = self._bench(lab.cluster, own)
            populator = Populator(bench.api, bench.plan)
            if lab.before is None:
                lab.before = settings(bench)
            else:
                self._progress.note("connected anew; cleaning the nodes")
                populator.clear()
                modes = dict.fromkeys(step.cell.mode for step in lab.hand)
                recover(bench, self._proxiers(bench), modes, lab.before, lambda: self._start_each(bench, modes, whole))
            self._book.describe(read_machines(bench.handles), [handle.name for handle in bench.proxy_handles])
            if bench.load:
                bench.load.ready(whole.left(_LOCUST_LIMIT))  # importing it would take the first step's time
            if not lab.warm:
                self._warm_up(bench, populator, lab.hand, whole)
                lab.warm = True
            stack.push(own.pop_all())
        return bench, populator

    def _give_up(self, steps: Sequence[Step], error: ProxybenchError) -> None:
        for step in steps:
            if self._stop.is_set():
                return
            self._progress.step_started(step)
            self._book.step_done(step, StepResult(problems=[str(error)]), 0.0)
            self._progress.step_finished(step, 0.0, str(error))

    def _bench(self, cluster: Cluster, stack: ExitStack) -> Testbed:
        fleet = stack.enter_context(Fleet.connect(cluster.targets))
        handles = start_agents(fleet, cluster)
        for handle in handles.values():
            stack.callback(handle.agent.close)
        api = stack.enter_context(KubernetesServiceApi(cluster.api.url, cluster.api.token))
        load = None
        if self._experiment.load:
            client = cluster.client
            load = start_load(fleet[client.name], client.python, client.workdir)
            stack.callback(load.close)
        return Testbed(
            run=self._book.folder.run,
            experiment=self._experiment,
            cluster=cluster,
            handles=handles,
            api=api,
            plan=address_plan(cluster),
            clock=self._clock,
            load=load,
        )

    def _warm_up(self, bench: Testbed, populator: Populator, steps: Sequence[Step], whole: Deadline) -> None:
        if not self._experiment.warmup:
            modes = dict.fromkeys(step.cell.mode for step in steps)
            self._progress.note(f"starting {', '.join(modes)} once, unmeasured")
            self._start_each(bench, modes, whole)
            return
        for cell in dict.fromkeys(step.cell for step in steps):
            self._progress.note(f"warming up: {cell.mode}, {cell.services} Services, unmeasured")
            result = self._measure(bench, populator, Step(0, 0, cell), whole, lambda _: None)
            if self._stop.is_set():
                return
            if _useless(bench, result):
                raise ConnectionLostError("; ".join(result.problems))

    def _start_each(self, bench: Testbed, modes: Iterable[Mode], whole: Deadline) -> None:
        proxier = self._experiment.proxier
        periods = (proxier.min_sync_period, proxier.sync_period)
        for problem in warm_up(modes, periods, lambda: self._proxiers(bench), whole):
            self._progress.note(problem)

    def _proxiers(self, bench: Testbed) -> tuple[ReferenceProxier, ...]:
        return tuple(
            ReferenceProxier(handle.agent, handle.executor, handle.node, bench.cluster, self._clock)
            for handle in bench.proxy_handles
        )

    def _take(self, bench: Testbed, populator: Populator, step: Step, whole: Deadline) -> bool:
        """Take a step and return whether the bench is good for another."""
        self._progress.step_started(step)
        started = self._clock.monotonic_ns()
        try:
            result = self._measure(bench, populator, step, whole, lambda text: self._progress.step_activity(step, text))
        except ProxybenchError as error:  # between the nodes' work, so that nobody knows what the API holds now
            result = StepResult(problems=[str(error)], lost=True)
        if result.problems and self._stop.is_set():
            return False  # the lab was taken away on purpose; the step counts as not taken
        for note in result.notes:
            self._progress.note(f"{step.cell.mode} at {step.cell.services} Services: {note}")
        seconds = (self._clock.monotonic_ns() - started) / NS_PER_S
        self._book.step_done(step, result, seconds)
        self._progress.step_finished(step, seconds, "; ".join(result.problems) or None)
        return not _useless(bench, result)

    def _measure(
        self, bench: Testbed, populator: Populator, step: Step, whole: Deadline, say: Callable[[str], None]
    ) -> StepResult:
        spec, cell = self._experiment, step.cell
        sync = spec.measure.sync
        batch = sync.batch.of(cell.services) if sync and "add-batch" in sync.scenarios else 0
        deadline = Deadline(self._clock, spec.limits.cell, "the step", whole)
        deadline.left(1)
        population = populator.reach(cell.services, cell.endpoints_per_service, batch, say)
        result = StepRunner(bench, step, population, self._proxiers(bench), deadline, say).take()
        populator.restore(population, batch)
        return result


def _useless(bench: Testbed, result: StepResult) -> bool:
    return result.lost or any(handle.agent.broken for handle in bench.handles.values())


class _Stoppable:
    """The run's clock, whose waits end when the run is being stopped: an idle minute must not outlive a Ctrl-C."""

    def __init__(self, clock: Clock, stop: Event) -> None:
        self._clock = clock
        self._stop = stop

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def utc_ns(self) -> int:
        return self._clock.utc_ns()

    def sleep(self, seconds: float) -> None:
        """Wait; raises ConnectionLostError when the run is being stopped, since its lab goes away."""
        end = self._clock.monotonic_ns() + round(seconds * NS_PER_S)
        while (left := (end - self._clock.monotonic_ns()) / NS_PER_S) > 0:
            if self._stop.is_set():
                raise ConnectionLostError("the run is being stopped")
            self._clock.sleep(min(left, _STOP_POLL))
