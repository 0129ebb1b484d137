from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.matrix import Step
from proxybench.model import Mode
from proxybench.run.schedule import assign
from proxybench.testing.model import make_cell, make_subject

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
    whole = [replace(step, repetition=2) for step in steps(10, 100, 10_000)]
    first, second = assign(whole, 2)
    assert [step.cell.services for step in first] == [10_000, 10_000, 10_000]
    assert [step.cell.services for step in second] == [10, 10, 10, 100, 100, 100]


def test_what_is_measured_once_goes_where_there_is_room() -> None:
    first, second, third = assign(steps(10, 10_000), 3)
    assert [(step.cell.subject.mode, step.cell.services) for step in first] == [
        (Mode.IPTABLES, 10),
        (Mode.IPTABLES, 10_000),
    ]
    assert [step.cell.services for step in (*second, *third)] == [10, 10_000, 10, 10_000]


def test_kube_proxys_ipvs_mode_counts_four_times() -> None:
    slow = make_subject(Mode.IPVS, kind="kube-proxy", version="v1.37.2")
    subjects = [make_subject(Mode.IPTABLES), slow, make_subject(Mode.USERSPACE), make_subject(Mode.NFTABLES)]
    cells = [replace(make_cell(Mode.IPTABLES, 1_000), subject=subject) for subject in subjects]
    first, second = assign([Step(index, 1, cell) for index, cell in enumerate(cells, start=1)], 2)
    assert [step.cell.subject for step in first] == [slow]
    assert [step.cell.subject for step in second] == [subjects[0], subjects[2], subjects[3]]


def test_there_are_no_more_workers_than_can_be_given_something() -> None:
    assert len(assign(steps(10, repetitions=2), 4)) == 2
    assert len(assign(steps(10), 4)) == len(MODES)
    assert assign([], 4) == ()


@given(
    st.lists(st.sampled_from([1, 10, 100, 1000, 10_000]), min_size=1, max_size=5, unique=True),
    st.integers(2, 3),
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
