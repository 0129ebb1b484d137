"""The run's clock, whose waits end when the run is being stopped: an idle minute must not outlive a Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ConnectionLostError
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from threading import Event

    from proxybench.units import Clock

_POLL = 0.25  # seconds; how late a wait may notice that the run is being stopped


class StoppableClock:
    """Another clock, and an event that ends every wait."""

    def __init__(self, clock: Clock, stop: Event) -> None:
        self._clock = clock
        self._stop = stop

    def monotonic_ns(self) -> int:
        """Return the clock's monotonic time in ns."""
        return self._clock.monotonic_ns()

    def utc_ns(self) -> int:
        """Return the clock's time of the day in ns since 1970."""
        return self._clock.utc_ns()

    def sleep(self, seconds: float) -> None:
        """Wait; raises ConnectionLostError when the run is being stopped, since its clusters go away."""
        end = self._clock.monotonic_ns() + round(seconds * NS_PER_S)
        while (left := (end - self._clock.monotonic_ns()) / NS_PER_S) > 0:
            if self._stop.is_set():
                raise ConnectionLostError("the run is being stopped")
            self._clock.sleep(min(left, _POLL))
