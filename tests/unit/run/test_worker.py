from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.deadline import Deadline
from proxybench.errors import ApiError, CommandTimeoutError, ConnectionLostError, ProxierError, ProxybenchError
from proxybench.experiment.matrix import Step
from proxybench.kube.base import Kind
from proxybench.model import Mode
from proxybench.nodes.kernel_state import SYSCTLS
from proxybench.run import worker as shard
from proxybench.run.step import StepResult
from proxybench.run.worker import Shard, _Stoppable, split
from proxybench.testing.clock import FakeClock
from proxybench.testing.model import make_cell
from tests.unit.run.test_main import Told
from tests.unit.run.world import CELL, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from proxybench.nodes.cluster import Cluster
    from proxybench.run.testbed import Testbed

MODES = (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)


def steps(*sizes: int, repetitions: int = 1) -> list[Step]:
    cells = [
        (repetition, make_cell(mode, size))
        for repetition in range(1, repetitions + 1)
        for size in sizes
        for mode in MODES
    ]
    return [Step(index, repetition, cell) for index, (repetition, cell) in enumerate(cells, start=1)]


def test_one_shard_takes_all_in_order() -> None:
    assert split(steps(10, 100, repetitions=2), 1) == (tuple(steps(10, 100, repetitions=2)),)


def test_the_large_size_goes_to_one_and_the_small_ones_to_the_other() -> None:
    first, second = split(steps(10, 100, 10_000), 2)
    assert {step.cell.services for step in first} == {10_000}
    assert [step.cell.services for step in second] == [10, 10, 10, 100, 100, 100]


def test_there_are_no_more_shards_than_sizes_and_none_for_nothing() -> None:
    assert len(split(steps(10), 4)) == 1
    assert split([], 4) == ()


@given(
    st.lists(st.sampled_from([1, 10, 100, 1000, 10_000]), min_size=1, max_size=5, unique=True),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_every_step_is_dealt_once_and_modes_stay_together(sizes: list[int], repetitions: int, shards: int) -> None:
    whole = steps(*sizes, repetitions=repetitions)
    hands = split(whole, shards)
    assert sorted(step for hand in hands for step in hand) == whole
    assert all(hand and list(hand) == sorted(hand) for hand in hands)
    places = {(step.repetition, step.cell.services): set[int]() for step in whole}
    for number, hand in enumerate(hands):
        for step in hand:
            places[step.repetition, step.cell.services].add(number)
    assert {len(place) for place in places.values()} == {1}


def test_a_wait_is_as_long_as_it_is_meant_to_be() -> None:
    clock, stop = FakeClock(), Event()
    waiting = _Stoppable(clock, stop)
    waiting.sleep(0.6)
    assert clock.slept == [0.25, 0.25, pytest.approx(0.1)]
    waiting.sleep(0)
    assert (waiting.monotonic_ns(), waiting.utc_ns()) == (clock.now, clock.now)


def test_a_wait_ends_when_the_run_is_stopped() -> None:
    clock, stop = FakeClock(), Event()
    sleep = clock.sleep

    def stopped_meanwhile(seconds: float) -> None:
        sleep(seconds)
        stop.set()

    clock.sleep = stopped_meanwhile  # type: ignore[method-assign] # stands for a Ctrl-C in another thread
    with pytest.raises(ConnectionLostError) as raised:
        _Stoppable(clock, stop).sleep(60)
    assert str(raised.value) == "the run is being stopped"
    assert clock.slept == [0.25]


class Book:
    """Keeps the steps that were booked, and what went wrong in each."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.problems: list[list[str]] = []

    def describe(self, *_: object) -> None: ...

    def step_done(self, step: Step, result: StepResult, seconds: float) -> None:
        assert seconds >= 0
        self.steps.append(step)
        self.problems.append(result.problems)


class Site:
    """A shard whose connections and steps are told beforehand how they end.

    ``connects`` says so of each try to connect (None: well), ``ends`` of each step by its index (else: well): a result,
    an error that is raised, or why an agent cannot be asked any more.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        connects: Sequence[ProxybenchError | None] = (),
        ends: Mapping[int, StepResult | ProxybenchError | str] | None = None,
        *,
        warmup: bool = False,
    ) -> None:
        self.world = World({"cpu": True})
        self.connects = list(connects)
        self.ends = dict(ends or {})
        self.log: list[str] = []
        self.book, self.told, self.stop = Book(), Told(), Event()
        experiment = self.world.experiment.model_copy(update={"warmup": warmup})
        self.shard = Shard(experiment, cast("Any", self.book), self.told, self.world.clock, self.stop)
        monkeypatch.setattr(shard, "StepRunner", lambda bench, step, *_: _Taken(self, bench, step))
        monkeypatch.setattr(shard, "read_machines", lambda _: {})
        monkeypatch.setattr(shard, "warm_up", lambda *_: ("iptables: the warm-up failed: no module",))
        monkeypatch.setattr(shard, "recover", lambda *words: self.log.append(f"recover {words[3]}"))
        monkeypatch.setattr(self.shard, "_bench", self.bench)
        monkeypatch.setattr(self.shard, "_proxiers", lambda _: self.world.proxiers)

    def bench(self, cluster: Cluster, stack: ExitStack) -> Testbed:
        assert cluster is self.world.bench.cluster
        self.log.append("connect")
        stack.callback(self.log.append, "close")
        error = self.connects.pop(0) if self.connects else None
        if error:
            raise error
        return replace(self.world.bench, handles=self.world.handles())

    def work(self, count: int) -> list[Step]:
        steps = [Step(index, index, CELL) for index in range(1, count + 1)]
        limit = Deadline(self.world.clock, 600, "the run")
        self.shard.work(self.world.bench.cluster, steps, limit)
        return steps


class _Taken:
    def __init__(self, site: Site, bench: Testbed, step: Step) -> None:
        self.site, self.bench, self.step = site, bench, step

    def take(self) -> StepResult:
        self.site.log.append(f"step {self.step.index}")
        end = self.site.ends.pop(self.step.index, StepResult())
        if isinstance(end, str):
            self.bench.handles["node1"].agent.broken = end
            return StepResult(problems=[end])
        if isinstance(end, ProxybenchError):
            raise end
        return end


BEFORE = {"node1": {f"/proc/sys/{name}": "1" for name in SYSCTLS}}
LOST = "the connection broke"


@pytest.mark.parametrize(
    "end",
    [
        StepResult(problems=[LOST], lost=True),
        LOST,  # an agent that did not answer in time
        ApiError(LOST),  # of which nobody knows what it did to the population
    ],
)
def test_after_a_lost_connection_the_next_step_finds_a_new_one_and_clean_nodes(
    monkeypatch: pytest.MonkeyPatch, end: StepResult | ProxybenchError | str
) -> None:
    site = Site(monkeypatch, ends={2: end})
    steps = site.work(4)
    assert site.log == [
        *("connect", "step 1", "step 2", "close"),
        *("connect", f"recover {BEFORE}", "step 3", "step 4", "close"),
    ]
    assert site.book.steps == steps
    assert site.book.problems == [[], [LOST], [], []]
    assert site.told.notes.count("starting iptables once, unmeasured") == 1


def test_a_step_that_failed_otherwise_ends_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, ends={1: StepResult(problems=["conformance: no"])})
    site.work(2)
    assert site.log == ["connect", "step 1", "step 2", "close"]
    assert site.book.problems == [["conformance: no"], []]


def test_nothing_is_connected_anew_for_no_further_step(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, ends={2: StepResult(problems=[LOST], lost=True)})
    site.work(2)
    assert site.log == ["connect", "step 1", "step 2", "close"]


def test_what_a_step_left_in_the_api_is_gone_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, ends={1: StepResult(problems=[LOST], lost=True)})
    monkeypatch.setattr(shard, "recover", lambda *_: site.log.append(str(len(site.world.api.list(Kind.SERVICE)))))
    site.work(2)
    assert site.log == ["connect", "step 1", "close", "connect", "0", "step 2", "close"]
    assert len(site.world.api.list(Kind.SERVICE)) == 10


def test_a_lab_that_is_gone_fails_the_steps_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [ConnectionLostError(f"cannot connect ({number})") for number in (1, 2, 3)]
    site = Site(monkeypatch, [None, *gone], {1: StepResult(problems=[LOST], lost=True)})
    steps = site.work(3)
    assert site.log == ["connect", "step 1", "close", *["connect", "close"] * 3]
    assert site.book.steps == steps
    assert site.book.problems == [[LOST], ["cannot connect (3)"], ["cannot connect (3)"]]
    assert sum(site.world.clock.slept) == pytest.approx(4)  # two pauses of 2 s


def test_a_lab_that_answers_at_the_third_try_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [ConnectionLostError("cannot connect"), CommandTimeoutError("late")]
    site = Site(monkeypatch, gone)
    site.work(1)
    assert site.log == ["connect", "close", "connect", "close", "connect", "step 1", "close"]
    assert site.book.problems == [[]]


def test_nodes_that_cannot_be_cleaned_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def dirty(*_: object) -> None:
        raise ProxierError("node1: could not be cleaned")

    site = Site(monkeypatch, ends={1: StepResult(problems=[LOST], lost=True)})
    monkeypatch.setattr(shard, "recover", dirty)
    site.work(3)
    assert site.book.problems == [[LOST], ["node1: could not be cleaned"], ["node1: could not be cleaned"]]


def test_a_run_that_is_stopped_counts_no_step_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, [ConnectionLostError("cannot connect")] * 3)
    monkeypatch.setattr(site.world.clock, "sleep", lambda _: site.stop.set())
    site.work(2)
    assert site.book.steps == []


def test_a_warm_up_whose_connection_was_lost_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, ends={0: StepResult(problems=[LOST], lost=True)}, warmup=True)
    site.work(1)
    assert site.log == [
        *("connect", "step 0", "close"),
        *("connect", f"recover {BEFORE}", "step 0", "step 1", "close"),
    ]
    assert site.book.problems == [[]]


@pytest.mark.parametrize(("warmup", "first"), [(True, ["step 0", "step 0"]), (False, [])])
def test_a_warm_up_takes_each_cell_once_and_books_nothing(
    monkeypatch: pytest.MonkeyPatch, warmup: bool, first: list[str]
) -> None:
    site = Site(monkeypatch, warmup=warmup)
    work = [Step(index, index, make_cell(mode)) for index, mode in enumerate(MODES[:2] * 2, start=1)]
    site.shard.work(site.world.bench.cluster, work, Deadline(site.world.clock, 600, "the run"))
    assert site.log == ["connect", *first, "step 1", "step 2", "step 3", "step 4", "close"]
    assert site.book.steps == work
    assert site.told.notes == (
        [f"warming up: {mode}, 10 Services, unmeasured" for mode in MODES[:2]]
        if warmup
        else ["starting iptables, ipvs once, unmeasured", "iptables: the warm-up failed: no module"]
    )
