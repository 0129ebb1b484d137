"""What a change waits for: nothing, after a rest; its turn, when others came just before; and a full sync, forced.

A proxy lets ``min_sync_period`` pass between two syncs: the same change takes milliseconds on an idle node and most of
that period on a busy one, whatever the mode.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant, Span
from proxybench.errors import MeasurementError
from proxybench.kube.base import Kind
from proxybench.model import Scenario
from proxybench.scenarios import usage
from proxybench.scenarios.canary import appears
from proxybench.scenarios.event import measure_event, places_watched
from proxybench.scenarios.observe import ApiWrite, observe
from proxybench.scenarios.quiet import BURST, pause, settle
from proxybench.scenarios.sync import ended, record_end, record_loop
from proxybench.scenarios.workload import Workload

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.observe import Observation
    from proxybench.subjects.driver import ProxyMetrics

_ZONE = "topology.kubernetes.io/zone"
_NOTICED_S = 15.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class OneChange:
    """A Service's endpoint becomes another one: after a rest, or right after so many syncs as may follow at once."""

    scenario: Scenario
    timeout_s: float
    vital: ClassVar = False

    @property
    def name(self) -> str:
        """The scenario's."""
        return str(self.scenario)

    def run(self, step: StepContext) -> None:
        """Change it and record what that took; on a busy node, CPU and syncs are those of all the changes."""
        plan = step.population.plan
        own, limit = Workload(plan), step.deadline.left(self.timeout_s)
        with own.there(step):
            pause(step, BURST)
            opened = usage.begin(step)
            generation = 1
            for _ in range(BURST if self.scenario is Scenario.CHANGE_BUSY else 0):
                self._change(step, own, generation, limit)
                generation += 1
            seen = self._change(step, own, generation, limit)
            settle(step, opened.metrics)
            metrics = usage.end(step, self.scenario, opened)
        (answer,) = seen.probes
        took = step.clocks.between(seen.triggered, Instant(ended(answer), step.client.node.clock))
        record_end(step.recorder, self.scenario, Span(took.ns, took.uncertainty_ns + seen.uncertainty_ns), answer)
        record_loop(step.recorder, self.scenario, opened.metrics, metrics)

    def _change(self, step: StepContext, own: Workload, generation: int, limit: float) -> Observation:
        new = own.pod(0, generation)
        return observe(step.client, ApiWrite(own.put_slices((new,))), (appears(own.vip(), (new.address,), limit),))


@dataclass(frozen=True)
class FullSync:
    """The node's zone changes, which may change where any Service's traffic should go: kube-proxy writes all anew."""

    name: ClassVar = str(Scenario.FULL_SYNC)
    vital: ClassVar = False

    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Change it and record what the sync cost, and whom it interrupted; the old zone comes back after it."""
        (node,) = [one for one in step.api.list(Kind.NODE) if one["metadata"]["name"] == step.measured.name]
        node["metadata"].pop("resourceVersion", None)
        moved = deepcopy(node)
        moved["metadata"].setdefault("labels", {})[_ZONE] = "another"

        def act(before: ProxyMetrics) -> None:
            step.api.replace_many([moved])
            self._noticed(step, before.sync_count)
            settle(step)

        pause(step)
        try:
            measure_event(step, Scenario.FULL_SYNC, places_watched(step, self.interval_ms), act)
        finally:
            step.api.replace_many([node])
        pause(step)
        settle(step)

    def _noticed(self, step: StepContext, before: int) -> None:
        for _ in range(int(_NOTICED_S / _LOOK_S)):
            if step.proxy.metrics().sync_count > before:
                return
            step.clock.sleep(step.deadline.left(_LOOK_S))
        raise MeasurementError(f"{step.cell.subject.label} does not sync when its node moves to another zone")
