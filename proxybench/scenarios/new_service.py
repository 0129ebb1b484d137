"""A Service as a controller makes it: first the Service, and a moment later its EndpointSlice.

The Service's own event starts a sync; its slice, which comes while that goes on, has to wait for the next one. While a
sync is short, that is minSyncPeriod: what add-one, whose slice lies in the API before, does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.model import Scenario
from proxybench.scenarios.observe import ApiWrite
from proxybench.scenarios.sync import measure_change

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class NewService:
    """From the acknowledgement of the EndpointSlice until the Service answers, up to ``timeout_s``."""

    name: ClassVar = str(Scenario.NEW_SERVICE)
    vital: ClassVar = False

    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Make both and record what that took."""
        canary, limit = step.second_canary, step.deadline.left(self.timeout_s)
        change = ApiWrite((canary.post_service(), canary.post_slice()))
        measure_change(step, Scenario.NEW_SERVICE, change, canary.answers(limit))
