from __future__ import annotations

import pytest

from proxybench.deadline import Deadline
from proxybench.errors import MeasurementError
from proxybench.testing.clock import FakeClock


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
