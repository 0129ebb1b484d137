"""One endpoint of many: what it takes to replace it in the first Service, whatever the number of the others.

No probe can see it: of 10,000 endpoints the new one would answer one connection in as many. The end of the sync is the
proxy's own word (network programming, from the EndpointSlice's trigger time), and its CPU time is read as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.model import Scenario
from proxybench.nodes.requests import Change, Write
from proxybench.scenarios import usage
from proxybench.scenarios.canary import SLICES, triggered
from proxybench.scenarios.observe import write
from proxybench.scenarios.quiet import pause, settle
from proxybench.scenarios.sync import record_loop

if TYPE_CHECKING:
    from proxybench.kube.objects import Object
    from proxybench.scenarios.base import StepContext

_SPARE = 478  # the last one of the first node: no canary has it


@dataclass(frozen=True)
class ReplaceEndpoint:
    """The last endpoint of Service 0 gives way to another on the same node, and comes back."""

    name: ClassVar = str(Scenario.REPLACE_ENDPOINT)
    vital: ClassVar = False

    def run(self, step: StepContext) -> None:
        """Replace it, record what that took, and put it back. Raises MeasurementError."""
        if step.in_endpoints:
            raise MeasurementError("a proxy that reads Endpoints objects has no EndpointSlice to change")
        before = step.population.endpoint_slices(0, 0)[-1]
        after = step.population.endpoint_slices(0, 0)[-1]
        after["endpoints"][-1]["addresses"] = [step.population.plan.spare(_SPARE).address]
        pause(step)
        opened = usage.begin(step)
        try:
            write(step.client, Change((_put(after),), ()))
            settle(step, opened.metrics)
            metrics = usage.end(step, Scenario.REPLACE_ENDPOINT, opened)
        finally:
            write(step.client, Change((_put(before),), ()))
        record_loop(step.recorder, Scenario.REPLACE_ENDPOINT, opened.metrics, metrics)
        settle(step, metrics)


def _put(slice_: Object) -> Write:
    sent = triggered(slice_)
    return Write("PUT", f"{SLICES}/{sent['metadata']['name']}", sent)
