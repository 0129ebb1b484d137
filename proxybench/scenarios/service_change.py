"""One Service of its own is added to all others, its endpoint changes, and it is deleted.

Its EndpointSlice lies in the API before the proxy starts, so that adding its Service is one change and one sync, and so
is deleting it. Each needs what the one before left: a Service to move, then one to delete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.model import Scenario
from proxybench.scenarios.observe import ApiWrite, observe
from proxybench.scenarios.quiet import settle
from proxybench.scenarios.sync import measure_change

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext


@dataclass(frozen=True)
class AddOne:
    """From the acknowledgement of its Service until it answers, up to ``timeout_s``."""

    name: ClassVar = str(Scenario.ADD_ONE)
    vital: ClassVar = False

    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Add it and record what that took."""
        canary, limit = step.canary, step.deadline.left(self.timeout_s)
        measure_change(step, Scenario.ADD_ONE, ApiWrite((canary.post_service(),)), canary.answers(limit))


@dataclass(frozen=True)
class ServiceThere:
    """The Service that the next scenarios change or delete, where none has added it; nothing is recorded."""

    name: ClassVar = "the Service to change"
    vital: ClassVar = False

    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Add it. Raises MeasurementError when it is not answered."""
        canary, limit = step.canary, step.deadline.left(self.timeout_s)
        (seen,) = observe(step.client, ApiWrite((canary.post_service(),)), (canary.answers(limit),)).probes
        if seen.censored:
            raise MeasurementError(f"it did not answer within {limit:.3g} s")
        settle(step)


@dataclass(frozen=True)
class ChangeEndpoint:
    """From the acknowledgement of its new endpoint until that one answers, and until the old one no longer does."""

    name: ClassVar = str(Scenario.CHANGE_ENDPOINT)
    vital: ClassVar = False

    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Move it and record what that took. Raises MeasurementError where it was not added: nobody would answer."""
        before = (f"{AddOne.name}: ", f"{ServiceThere.name}: ")
        if any(problem.startswith(before) for problem in step.result.problems):
            raise MeasurementError("not measured: the Service that it changes was not added")
        canary, limit = step.canary, step.deadline.left(self.timeout_s)
        measure_change(step, Scenario.CHANGE_ENDPOINT, ApiWrite((canary.put_slice(),)), canary.moves(limit))


@dataclass(frozen=True)
class DeleteOne:
    """From the acknowledgement of the deletion until nothing answers any more."""

    name: ClassVar = str(Scenario.DELETE_ONE)
    vital: ClassVar = False

    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Delete it and record what that took."""
        canary, limit = step.canary, step.deadline.left(self.timeout_s)
        measure_change(step, Scenario.DELETE_ONE, ApiWrite((canary.delete_service(),)), canary.refuses(limit))
