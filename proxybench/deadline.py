"""Time limits that add up: whatever waits asks here how long it still may."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from proxybench.errors import MeasurementError, OverrunError
from proxybench.units import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.units import Clock

T = TypeVar("T")


def wait_until(ask: Callable[[], T], seconds: float, every: float, clock: Clock | None = None) -> T:
    """Ask until the answer is true, every so many seconds; return it. A false one: the time was up.

    What ``ask`` raises ends the wait.
    """
    clock = clock or SystemClock()
    end = clock.monotonic_ns() + round(seconds * NS_PER_S)
    while not (answer := ask()) and clock.monotonic_ns() < end:
        clock.sleep(every)
    return answer


class Deadline:
    """A moment by the orchestrator's clock after which nothing more is begun."""

    def __init__(self, clock: Clock, seconds: float, what: str, outer: Deadline | None = None) -> None:
        self._clock = clock
        self._what = what
        self._seconds = seconds
        self._end = clock.monotonic_ns() + round(seconds * NS_PER_S)
        self._outer = outer

    def left(self, at_most: float) -> float:
        """Return the seconds that a wait may take: ``at_most``, or less when the limit is near.

        Raises MeasurementError when the time is up: OverrunError when it is a part's own.
        """
        if self._outer is not None:
            at_most = self._outer.left(at_most)
        left = (self._end - self._clock.monotonic_ns()) / NS_PER_S
        if left <= 0:
            kind = MeasurementError if self._outer is None else OverrunError
            raise kind(f"{self._what} took longer than its limit of {self._seconds:.0f} s")
        return min(at_most, left)
