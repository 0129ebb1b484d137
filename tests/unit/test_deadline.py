from __future__ import annotations

import pytest

from proxybench.deadline import Deadline, wait_until
from proxybench.errors import MeasurementError
from proxybench.testing.clock import FakeClock
from proxybench.units import NS_PER_S


@pytest.mark.parametrize(("passed", "at_most", "left"), [(0, 4, 4), (0, 40, 10), (7, 4, 3), (9.5, 4, 0.5)])
def test_a_wait_may_take_what_is_left_at_most(passed: float, at_most: float, left: float) -> None:
    clock = FakeClock()
    deadline = Deadline(clock, 10, "the step")
    clock.sleep(passed)
    assert deadline.left(at_most) == left


@pytest.mark.parametrize("passed", [10, 11])
def test_when_the_time_is_up_nothing_more_is_begun(passed: float) -> None:
    clock = FakeClock()
    deadline = Deadline(clock, 10, "the step")
    clock.sleep(passed)
    with pytest.raises(MeasurementError) as raised:
        deadline.left(1)
    assert str(raised.value) == "the step took longer than its limit of 10 s"


def test_an_outer_limit_counts_too_and_names_itself() -> None:
    clock = FakeClock()
    whole = Deadline(clock, 12, "the run")
    clock.sleep(5)
    inner = Deadline(clock, 10, "the step", whole)
    assert inner.left(60) == 7
    clock.sleep(7)
    with pytest.raises(MeasurementError) as raised:
        inner.left(60)
    assert str(raised.value) == "the run took longer than its limit of 12 s"


@pytest.mark.parametrize(("answers", "found", "slept"), [(["a"], "a", 0), (["", "b"], "b", 2), ([""] * 9, "", 6)])
def test_it_is_asked_until_the_answer_is_true_or_the_time_is_up(answers: list[str], found: str, slept: float) -> None:
    clock, left = FakeClock(), iter(answers)
    begun = clock.monotonic_ns()
    assert wait_until(lambda: next(left), 5, 2, clock) == found
    assert clock.monotonic_ns() - begun == slept * NS_PER_S


def test_what_asking_raises_ends_the_wait() -> None:
    def ask() -> bool:
        raise MeasurementError("it ended")

    with pytest.raises(MeasurementError, match=r"^it ended$"):
        wait_until(ask, 5, 2, FakeClock())
