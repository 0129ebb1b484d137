"""Many Services at once: from the acknowledgement of the first until the last one answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.model import Scenario
from proxybench.nodes.requests import Write
from proxybench.scenarios.canary import SERVICES, appears
from proxybench.scenarios.observe import ApiWrite
from proxybench.scenarios.sync import measure_change

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class Batch:
    """``size`` Services, whose EndpointSlices lie in the API before, are added to the cell's."""

    name: ClassVar = str(Scenario.ADD_BATCH)
    vital: ClassVar = False

    size: int
    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Add them and record what that took."""
        population, services = step.population, step.cell.services
        indices = range(services, services + self.size)
        # Probed is the one that is written last; one with its endpoints on the measured node, if there is one.
        last = next((index for index in reversed(indices) if population.on_first_node(index)), indices[-1])
        endpoints = tuple(pod.address for pod in population.pods(last))
        probe = appears(population.plan.vip(last), endpoints, step.deadline.left(self.timeout_s))
        change = ApiWrite((Write("POST", SERVICES, population.service(last)),))
        extra = tuple(population.service(index) for index in indices if index != last)
        measure_change(step, Scenario.ADD_BATCH, change, probe, extra)
