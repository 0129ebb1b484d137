"""One step: a subject at a size, from its start until the nodes are as they were found."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from proxybench.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    HostError,
    LateError,
    OverrunError,
    ProxybenchError,
)
from proxybench.model import ClockKind
from proxybench.run.offsets import all_offsets, offsets_table, step_clocks
from proxybench.scenarios.base import ProxyUnderTest, StepContext
from proxybench.scenarios.observe import put_off
from proxybench.scenarios.plan import plan
from proxybench.scenarios.quiet import busy
from proxybench.scenarios.recorder import Recorder
from proxybench.scenarios.result import StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.clocks import Offset
    from proxybench.deadline import Deadline
    from proxybench.experiment.matrix import Step
    from proxybench.kube.objects import Population
    from proxybench.nodes.node import NodeHandle
    from proxybench.run.testbed import Testbed
    from proxybench.scenarios.base import Scenario
    from proxybench.scenarios.proxies import Proxies


class StepRunner:
    """Takes one step; a part of it that fails is reported, and the other parts go on.

    ``before`` is called before each part; it raises as a part does.
    """

    def __init__(
        self,
        bed: Testbed,
        step: Step,
        population: Population,
        proxies: Proxies,
        deadline: Deadline,
        report: Callable[[str], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._bed = bed
        self._before = before
        self._step = step
        self._proxies = proxies
        self._deadline = deadline
        self._report = report
        self._result = StepResult()
        self._context = self._make_context(population)

    def take(self) -> StepResult:
        """Take the step. A problem that ends it early is in the result; only an interrupt is raised."""
        try:
            self._check(0)
            before = self._offsets()
            self._proxies.prepare()
            self._proxies.start_others(self._deadline)
            self._play()
            if before and not self._result.lost:
                table = offsets_table(before, self._offsets())
                self._result.logs[f"{self._step.index:03d}-clocks.csv"] = table
        except ProxybenchError as error:
            self._record("step", error)
        finally:
            try:
                self._report("stopping")
            finally:
                self._proxies.stop(self._result, f"{self._step.index:03d}-{self._step.cell.mode}")
        return self._result

    def _offsets(self) -> dict[str, Offset]:
        return all_offsets(self._bed.handles.values(), self._bed.clock, self._result.notes)

    def _play(self) -> None:
        experiment, starts = self._bed.experiment, self._bed.cluster.traits.starts_proxies
        for scenario in plan(experiment.measure, experiment.load, self._step.cell, starts=starts):
            self._report(scenario.name)
            try:
                self._run(scenario)
            except LateError as error:
                self._result.late = f"{scenario.name}: {error}"
                return
            except OverrunError as error:
                if self._at_work():  # it had its time, and what it needs more is no fault
                    self._result.late = f"{scenario.name}: {error}"
                else:
                    self._record(scenario.name, error)
                return
            except ProxybenchError as error:
                self._record(scenario.name, error)
                if scenario.vital or self._result.lost or self._result.fallen or self._bed.broken:
                    return

    def _run(self, scenario: Scenario) -> None:
        """Run a scenario; whatever it brought is dropped, and the reason raised, where a program of ours ended.

        So it is where a control loop did. By the instruction clock that is asked where something failed, and of each
        control loop when it is stopped: a question between two scenarios would be counted in the guest.
        """
        before, agent = len(self._result.samples), self._bed.client.agent
        agent.put_off = ()
        try:
            self._before()
            scenario.run(self._context)
        except ProxybenchError as error:
            self._check(before)  # it knows the cause, of which that is a consequence
            if not isinstance(error, LateError):  # whoever is at work lives
                with suppress(HostError):
                    self._proxies.check()  # likewise
            if isinstance(error, CommandTimeoutError):
                self._deadline.left(1)  # raises where that was all the time which the step had left
            raise
        finally:
            if agent.put_off:
                self._result.notes.append(f"{scenario.name}: {put_off(agent.put_off)}")
        self._check(before)
        if self._bed.cluster.clock is ClockKind.WALL:
            self._proxies.check()
            self._result.sure = len(self._result.samples)

    def _check(self, good: int) -> None:
        """Raise ConnectionLostError, with the first samples kept, when one of our own programs ended or stood still."""
        if lost := self._bed.lost():
            del self._result.samples[good:]
            raise ConnectionLostError(lost)

    def _record(self, part: str, error: ProxybenchError) -> None:
        """Record a problem; of a program that was killed also that its kernel did it, for want of memory."""
        self._result.record_error(part, error)
        self._result.problems[-1] += self._bed.ran_out_of_memory(str(error))

    def _at_work(self) -> bool:
        try:
            return busy(self._context)
        except ProxybenchError:
            return False

    def _timed(self) -> Iterator[NodeHandle]:
        """Yield the nodes by whose clocks something is timed: not the hundreds that a cluster may have beside them."""
        bed = self._bed
        yield from (bed.client, bed.measured)
        if bed.load:  # whose times are on one grid
            yield from (bed.handles[node.name] for node in bed.cluster.more_clients)
        if (pod := bed.cluster.pod) is not None and pod.name in bed.handles:  # only where a path begins there
            yield bed.handles[pod.name]

    def _make_context(self, population: Population) -> StepContext:
        bed, step, measured = self._bed, self._step, self._bed.measured
        ends = (bed.client.name, measured.name)
        samples = self._result.samples
        return StepContext(
            cell=step.cell,
            cluster=bed.cluster,
            client=bed.client,
            measured=measured,
            others=tuple(handle for handle in bed.relied_on if handle.name not in ends),
            api=bed.api,
            population=population,
            subject=ProxyUnderTest(self._proxies.start_measured, self._proxies.stop_measured, self._proxies.second),
            planned_period=self._proxies.min_sync_period,
            recorder=Recorder(
                bed.run, step.cell, step.repetition, measured.name, bed.cluster.clock, bed.clock, samples
            ),
            result=self._result,
            clocks=step_clocks(self._timed(), bed.clock),
            deadline=self._deadline,
            clock=bed.clock,
            report=self._report,
            load=bed.load,
            in_endpoints=self._proxies.in_endpoints,
            rivals=self._proxies.rivals(),
        )
