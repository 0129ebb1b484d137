from __future__ import annotations

from threading import Event

import pytest

from proxybench.errors import ConnectionLostError
from proxybench.run.stopping import StoppableClock
from proxybench.testing.clock import FakeClock


class Interrupted(FakeClock):
    """Stands for a Ctrl-C in another thread, during the first wait."""

    def __init__(self, stop: Event) -> None:
        super().__init__()
        self.stop = stop

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.stop.set()


def test_a_wait_is_as_long_as_it_is_meant_to_be() -> None:
    clock = FakeClock()
    waiting = StoppableClock(clock, Event())
    waiting.sleep(0.6)
    assert clock.slept == [0.25, 0.25, pytest.approx(0.1)]
    waiting.sleep(0)
    assert (waiting.monotonic_ns(), waiting.utc_ns()) == (clock.now, clock.utc)


def test_a_wait_ends_when_the_run_is_stopped() -> None:
    stop = Event()
    clock = Interrupted(stop)
    with pytest.raises(ConnectionLostError) as raised:
        StoppableClock(clock, stop).sleep(60)
    assert str(raised.value) == "the run is being stopped"
    assert clock.slept == [0.25]
