from __future__ import annotations

import pytest

from proxybench.model import ClockKind, Mode
from proxybench.scenarios.recorder import Recorder
from proxybench.testing.clock import FakeClock
from proxybench.testing.model import make_cell


@pytest.fixture
def recorder() -> Recorder:
    cell = make_cell(Mode.IPVS, 100)
    return Recorder(
        "run-1", cell, 3, "node1", ClockKind.INSTRUCTIONS, FakeClock(5, 1_700_000_000_000_000_000, may_sleep=False)
    )
