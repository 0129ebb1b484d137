from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.matrix import Step
from proxybench.model import Mode
from proxybench.run.schedule import assign
from proxybench.testing.model import make_cell

MODES = (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)


def steps(*sizes: int, repetitions: int = 1) -> list[Step]:
    cells = [
        (repetition, make_cell(mode, size))
        for repetition in range(1, repetitions + 1)
        for size in sizes
        for mode in MODES
    ]
    return [Step(index, repetition, cell) for index, (repetition, cell) in enumerate(cells, start=1)]


def test_one_worker_takes_all_in_order() -> None:
    assert assign(steps(10, 100, repetitions=2), 1) == (tuple(steps(10, 100, repetitions=2)),)


def test_the_large_size_goes_to_one_and_the_small_ones_to_the_other() -> None:
    first, second = assign(steps(10, 100, 10_000), 2)
    assert {step.cell.services for step in first} == {10_000}
    assert [step.cell.services for step in second] == [10, 10, 10, 100, 100, 100]


def test_there_are_no_more_workers_than_sizes_and_none_for_nothing() -> None:
    assert len(assign(steps(10), 4)) == 1
    assert assign([], 4) == ()


@given(
    st.lists(st.sampled_from([1, 10, 100, 1000, 10_000]), min_size=1, max_size=5, unique=True),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_every_step_is_assigned_once_and_modes_stay_together(sizes: list[int], repetitions: int, workers: int) -> None:
    whole = steps(*sizes, repetitions=repetitions)
    assigned = assign(whole, workers)
    assert sorted(step for own in assigned for step in own) == whole
    assert all(own and list(own) == sorted(own) for own in assigned)
    places = {(step.repetition, step.cell.services): set[int]() for step in whole}
    for number, own in enumerate(assigned):
        for step in own:
            places[step.repetition, step.cell.services].add(number)
    assert {len(place) for place in places.values()} == {1}
