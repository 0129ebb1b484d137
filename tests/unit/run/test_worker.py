"""A worker's order of things: connections, restored nodes, steps, and what is recorded when one of them fails."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import ApiError, CommandTimeoutError, ConnectionLostError, ProxierError, ProxybenchError
from proxybench.experiment.matrix import Step
from proxybench.nodes.kernel.state import KernelState
from proxybench.run.worker import Worker
from proxybench.scenarios.result import StepResult
from proxybench.testing.clock import FakeClock
from tests.unit.run.log import ProgressLog
from tests.unit.run.world import CELL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from proxybench.nodes.machine import Machine

LOST = "the connection broke"
BEFORE = {"node1": KernelState(tables=("ip nat",))}
End = StepResult | ProxybenchError | str


class Records:
    """Keeps the steps that were recorded, and what went wrong in each."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.problems: list[list[str]] = []
        self.machines = 0

    def record_machines(self, machines: Mapping[str, Machine], proxies: Sequence[str]) -> None:
        assert (machines, proxies) == ({}, ["node1"])
        self.machines += 1

    def record_step(self, step: Step, result: StepResult, seconds: float) -> None:
        assert seconds >= 0
        self.steps.append(step)
        self.problems.append(result.problems)


class Site:
    """A cluster whose connections and steps end as is known beforehand.

    ``connects`` holds how each try to connect ends (None: well), ``ends`` each step by its index (else: well): a
    result, an error that is raised, or why an agent cannot be asked any more. ``warm_ups`` and ``restores`` likewise.
    """

    def __init__(
        self,
        connects: Sequence[ProxybenchError | None] = (),
        ends: Mapping[int, End] | None = None,
        *,
        warm_ups: Sequence[ProxybenchError | None] = (),
        restores: Sequence[ProxybenchError | None] = (),
    ) -> None:
        self.connects, self.warm_ups, self.restores = list(connects), list(warm_ups), list(restores)
        self.ends = dict(ends or {})
        self.log: list[str] = []
        self.records, self.progress, self.stop = Records(), ProgressLog(), Event()
        self.clock = FakeClock()

    def connect(self, stack: ExitStack) -> FakeSession:
        self.log.append("connect")
        stack.callback(self.log.append, "close")
        self.next(self.connects)
        return FakeSession(self)

    def next(self, errors: list[ProxybenchError | None]) -> None:
        error = errors.pop(0) if errors else None
        if error:
            raise error

    def work(self, count: int) -> list[Step]:
        steps = [Step(index, index, CELL) for index in range(1, count + 1)]
        worker = Worker(self.connect, steps, self.records, self.progress, self.clock, self.stop)
        worker.work(Deadline(self.clock, 600, "the run"))
        return steps


class FakeSession:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.broken = False

    def capture(self) -> Mapping[str, KernelState]:
        return BEFORE

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        assert before == BEFORE
        self.site.log.append("restore")
        self.site.next(self.site.restores)

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        return {}, ["node1"]

    def get_ready(self, whole: Deadline) -> None:
        self.site.log.append("get ready")

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        self.site.log.append(f"warm up for {len(steps)}")
        self.site.next(self.site.warm_ups)

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        self.site.log.append(f"step {step.index}")
        end = self.site.ends.pop(step.index, StepResult())
        if isinstance(end, str):
            self.broken = True
            return StepResult(problems=[end])
        if isinstance(end, ProxybenchError):
            raise end
        return end


@pytest.mark.parametrize(
    "end",
    [
        StepResult(problems=[LOST], lost=True),
        LOST,  # an agent that did not answer in time
        ApiError(LOST),  # of which nobody knows what it did to the population
    ],
)
def test_after_a_lost_connection_the_next_step_finds_a_new_one_and_clean_nodes(end: End) -> None:
    site = Site(ends={2: end})
    steps = site.work(4)
    assert site.log == [
        *("connect", "get ready", "warm up for 4", "step 1", "step 2", "close"),
        *("connect", "restore", "get ready", "step 3", "step 4", "close"),
    ]
    assert site.records.steps == steps
    assert site.records.problems == [[], [LOST], [], []]
    assert site.records.machines == 2
    assert site.progress.notes == ["connected anew; cleaning the nodes"]


def test_a_fault_of_our_own_costs_one_step_and_keeps_where_it_came_from() -> None:
    site = Site()
    results: list[StepResult] = []

    class Faulty(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            if step.index == 1:
                raise KeyError("nowhere")
            return super().take(step, whole, report)

    class Kept(Records):
        def record_step(self, step: Step, result: StepResult, seconds: float) -> None:
            super().record_step(step, result, seconds)
            results.append(result)

    records = Kept()
    steps = [Step(index, index, CELL) for index in (1, 2)]
    Worker(lambda _: Faulty(site), steps, records, site.progress, site.clock, site.stop).work(
        Deadline(site.clock, 600, "the run")
    )
    assert records.problems == [["unexpected KeyError: 'nowhere' (logs/001-unexpected.log)"], []]
    assert results[0].lost
    assert results[0].logs["001-unexpected.log"].rstrip().endswith("KeyError: 'nowhere'")


def test_a_step_that_failed_otherwise_ends_no_connection() -> None:
    site = Site(ends={1: StepResult(problems=["conformance: no"])})
    site.work(2)
    assert site.log == ["connect", "get ready", "warm up for 2", "step 1", "step 2", "close"]
    assert site.records.problems == [["conformance: no"], []]


def test_nothing_is_connected_anew_for_no_further_step() -> None:
    site = Site(ends={2: StepResult(problems=[LOST], lost=True)})
    site.work(2)
    assert site.log == ["connect", "get ready", "warm up for 2", "step 1", "step 2", "close"]


def test_a_cluster_that_is_gone_fails_the_steps_that_are_left() -> None:
    gone = [ConnectionLostError(f"cannot connect ({number})") for number in (1, 2, 3)]
    site = Site([None, *gone], {1: StepResult(problems=[LOST], lost=True)})
    steps = site.work(3)
    assert site.log[3:] == ["step 1", "close", *["connect", "close"] * 3]
    assert site.records.steps == steps
    assert site.records.problems == [[LOST], ["cannot connect (3)"], ["cannot connect (3)"]]
    assert site.clock.slept == [2.0, 2.0]  # the pauses between the tries


def test_a_cluster_that_answers_at_the_third_try_is_used() -> None:
    site = Site([ConnectionLostError("cannot connect"), CommandTimeoutError("late")])
    site.work(1)
    assert site.log == [*["connect", "close"] * 2, "connect", "get ready", "warm up for 1", "step 1", "close"]
    assert site.records.problems == [[]]


def test_nodes_that_cannot_be_restored_are_not_measured() -> None:
    dirty = ProxierError("node1: could not be cleaned")
    site = Site(ends={1: StepResult(problems=[LOST], lost=True)}, restores=[dirty])
    site.work(3)
    assert site.records.problems == [[LOST], [str(dirty)], [str(dirty)]]


def test_a_run_that_is_stopped_counts_no_step_as_failed() -> None:
    site = Site([ConnectionLostError("cannot connect")] * 3)
    site.stop.set()
    site.work(2)
    assert (site.log, site.records.steps) == ([], [])


def test_a_step_whose_cluster_is_taken_away_on_purpose_counts_as_not_taken() -> None:
    site = Site()

    class Stopped(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            self.site.stop.set()
            return StepResult(problems=[LOST], lost=True)

    worker = Worker(lambda stack: Stopped(site), [Step(1, 1, CELL)], site.records, site.progress, site.clock, site.stop)
    worker.work(Deadline(site.clock, 600, "the run"))
    assert site.records.steps == []


def test_what_a_step_reports_ends_it_once_the_run_is_stopped() -> None:
    """Bulks of writes report while they go on: that is how one ends in its middle."""
    site = Site()
    reported: list[str] = []

    class Writing(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            report("writing objects: 1 of 2")
            self.site.stop.set()
            with pytest.raises(ConnectionLostError, match=r"^the run is being stopped$"):
                report("writing objects: 2 of 2")
            reported.append("refused")
            raise ConnectionLostError(LOST)

    worker = Worker(lambda stack: Writing(site), [Step(1, 1, CELL)], site.records, site.progress, site.clock, site.stop)
    worker.work(Deadline(site.clock, 600, "the run"))
    assert (reported, site.records.steps) == (["refused"], [])


def test_a_warm_up_whose_connection_was_lost_is_taken_again() -> None:
    site = Site(warm_ups=[ConnectionLostError(LOST)])
    site.work(1)
    assert site.log == [
        *("connect", "get ready", "warm up for 1", "close"),
        *("connect", "restore", "get ready", "warm up for 1", "step 1", "close"),
    ]
    assert site.records.problems == [[]]


def test_a_worker_that_is_cut_has_no_connections_any_more_and_makes_none() -> None:
    site = Site()
    cut: list[str] = []

    class Deaf(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            site.stop.set()
            worker.cut()
            cut.extend(site.log)
            raise ConnectionLostError(LOST)

    def connect(stack: ExitStack) -> FakeSession:
        site.connect(stack)
        return Deaf(site)

    worker = Worker(connect, [Step(1, 1, CELL)], site.records, site.progress, site.clock, site.stop)
    worker.work(Deadline(site.clock, 600, "the run"))
    assert cut == ["connect", "get ready", "warm up for 1", "close"]
    assert (site.log, site.records.steps) == (cut, [])


def test_a_worker_that_is_cut_while_it_connects_goes_no_further() -> None:
    site = Site()

    def connect(stack: ExitStack) -> FakeSession:
        worker.cut()
        site.stop.set()
        return site.connect(stack)

    worker = Worker(connect, [Step(1, 1, CELL)], site.records, site.progress, site.clock, site.stop)
    worker.work(Deadline(site.clock, 600, "the run"))
    assert site.log == ["connect", "close"] * 3
    assert site.records.steps == []
