from __future__ import annotations

import pytest

from proxybench.model import Cell, ClockKind, Mode
from proxybench.scenarios.recorder import Recorder


class StoppedClock:
    """A clock that always shows the same time."""

    def monotonic_ns(self) -> int:
        return 5

    def utc_ns(self) -> int:
        return 1_700_000_000_000_000_000

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@pytest.fixture
def recorder() -> Recorder:
    cell = Cell(Mode.IPVS, "reference", 100, 2)
    return Recorder("run-1", cell, 3, "node1", ClockKind.INSTRUCTIONS, StoppedClock())
