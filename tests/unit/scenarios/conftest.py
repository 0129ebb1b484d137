from __future__ import annotations

import pytest

from proxybench.model import Cell, ClockKind, Mode
from proxybench.scenarios.recorder import Recorder
from proxybench.testing.clock import FakeClock


@pytest.fixture
def recorder() -> Recorder:
    cell = Cell(Mode.IPVS, "reference", 100, 2)
    return Recorder(
        "run-1", cell, 3, "node1", ClockKind.INSTRUCTIONS, FakeClock(5, 1_700_000_000_000_000_000, may_sleep=False)
    )
