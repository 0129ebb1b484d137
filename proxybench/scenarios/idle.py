"""Nothing changes: what the proxy spends all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.model import Scenario
from proxybench.scenarios import usage

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class Idle:
    """Watches for ``seconds``."""

    name: ClassVar = str(Scenario.IDLE)
    vital: ClassVar = False

    seconds: float

    def run(self, step: StepContext) -> None:
        """Watch and record."""
        opened = usage.begin(step)
        step.clock.sleep(step.deadline.left(self.seconds))
        usage.end(step, Scenario.IDLE, opened)
