from __future__ import annotations

from threading import Event
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import ConnectionLostError
from proxybench.experiment.matrix import Step
from proxybench.model import Cell, Mode
from proxybench.runner import shard
from proxybench.runner.deadline import Deadline
from proxybench.runner.shard import Shard, _Stoppable, split
from proxybench.runner.step import StepResult
from tests.unit.runner.test_main import Told
from tests.unit.runner.world import FakeClock, World

MODES = (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)


def steps(*sizes: int, repetitions: int = 1) -> list[Step]:
    cells = [
        (repetition, Cell(mode, "reference", size, 2))
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
    """Keeps the steps that were booked."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def describe(self, *_: object) -> None: ...

    def step_done(self, step: Step, result: StepResult, seconds: float) -> None:
        del result, seconds
        self.steps.append(step)


@pytest.mark.parametrize(("warmup", "first"), [(True, [0, 0]), (False, [])])
def test_a_warm_up_takes_each_cell_once_and_books_nothing(
    monkeypatch: pytest.MonkeyPatch, warmup: bool, first: list[int]
) -> None:
    world = World({"cpu": True})
    taken: list[int] = []

    class Runner:
        def __init__(self, bench: object, step: Step, *_: object) -> None:
            taken.append(step.index)

        def take(self) -> StepResult:
            return StepResult()

    monkeypatch.setattr(shard, "StepRunner", Runner)
    monkeypatch.setattr(shard, "read_machines", lambda _: {})
    monkeypatch.setattr(shard, "warm_up", lambda *_: ("iptables: the warm-up failed: no module",))
    monkeypatch.setattr(Shard, "_bench", lambda *_: world.bench)
    monkeypatch.setattr(Shard, "_proxiers", lambda *_: world.proxiers)
    book, told = Book(), Told()
    experiment = world.experiment.model_copy(update={"warmup": warmup})
    worker = Shard(experiment, cast("Any", book), told, world.clock, Event())
    work = [Step(index, index, Cell(mode, "reference", 10, 2)) for index, mode in enumerate(MODES[:2] * 2, start=1)]
    worker.work(world.bench.inventory, work, Deadline(world.clock, 600, "the run"))
    assert taken == [*first, 1, 2, 3, 4]
    assert book.steps == work
    assert told.notes == (
        [f"warming up: {mode}, 10 Services, unmeasured" for mode in MODES[:2]]
        if warmup
        else ["starting iptables, ipvs once, unmeasured", "iptables: the warm-up failed: no module"]
    )
