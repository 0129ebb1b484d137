"""The beginning of a step where a proxy is watched as it is: nothing is started, what was written is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.nodes.requests import AwaitAll
from proxybench.scenarios.cold_start import LONGEST_S, probed, probes, read_ranks
from proxybench.scenarios.quiet import settle

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class Attach:
    """Finds the running proxy and waits until the cell's Services answer; ``limit_s``: for all answers."""

    name: ClassVar = "watching the running proxy"
    vital: ClassVar = True

    limit_s: float = LONGEST_S

    def run(self, step: StepContext) -> None:
        """Wait. Raises ProxierError, and MeasurementError when a Service does not answer in time."""
        step.result.periods = step.subject.start().periods
        limit = step.deadline.left(self.limit_s)
        indices = probed(step.population, step.cell.services)
        seen = step.client.agent.call(AwaitAll(probes(step.population, indices, limit)))
        if late := sum(one.censored for one in seen.probes):
            raise MeasurementError(f"{late} of {len(indices)} probed Services did not answer within {limit:.0f} s")
        step.proxy.wait_ready(step.deadline, step.deadline.left(LONGEST_S))
        settle(step)
        read_ranks(step)
