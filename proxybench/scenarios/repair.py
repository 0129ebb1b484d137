"""A part of the rules is removed behind the proxy's back: how long until traffic flows again, and what makes it.

A control loop exists to keep the rules right. What it does not repair within its time is a censored sample; then
another Service changes, which may make it write what was removed; and what even that does not repair, a restart does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant
from proxybench.errors import MeasurementError
from proxybench.kube import objects
from proxybench.model import Metric, Position, Scenario
from proxybench.nodes.watch import Watched
from proxybench.scenarios import workload
from proxybench.scenarios.canary import appears
from proxybench.scenarios.event import measure_event
from proxybench.scenarios.observe import ApiWrite, NodeCommand, observe
from proxybench.scenarios.quiet import settle
from proxybench.scenarios.recorder import cluster_ip
from proxybench.scenarios.sync import ended
from proxybench.subjects.removals import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.nodes.requests import Await
    from proxybench.nodes.watch import Outage, WatchResult
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics

PARTS: Mapping[Scenario, Part] = {
    Scenario.REPAIR_SERVICE: Part.SERVICE,
    Scenario.REPAIR_ENDPOINTS: Part.ENDPOINTS,
    Scenario.REPAIR_JUMP: Part.JUMP,
    Scenario.REPAIR_TABLE: Part.TABLE,
}
_BY_CHANGE_S = 10.0  # and a few minSyncPeriods: how long the next change may take to repair
_BY_RESTART_S = 60.0
_LATE_S = 0.5
_SERVICE = "service"


@dataclass(frozen=True)
class Repair:
    """``scenario`` says what is removed (``PARTS``); the proxy has ``timeout_s`` to repair it by itself."""

    scenario: Scenario
    timeout_s: float
    interval_ms: int
    vital: ClassVar = True  # a Service that cannot be brought back is no ground to measure on

    @property
    def name(self) -> str:
        """The scenario's."""
        return str(self.scenario)

    def run(self, step: StepContext) -> None:
        """Remove it and record what that took. Raises MeasurementError when that interrupted nothing."""
        index = step.places.at(Position.LAST).index
        vip = step.population.plan.vip(index)
        want = tuple(pod.address for pod in step.population.pods(index))
        argv = step.proxy.removal(PARTS[self.scenario], vip, objects.PORT)
        if argv is None:
            step.result.notes.append(f"{self.name}: {step.cell.subject.label} has no such part")
            return
        pulled: list[tuple[Instant, int]] = []

        def act(before: ProxyMetrics) -> None:
            pulled.append(NodeCommand(step.measured, argv).pull())
            back = step.client.agent.call(appears(vip, want, step.deadline.left(self.timeout_s)))
            if not back.censored:  # rules may stand before the sync that wrote them is over, and counted
                interrupted = back.interval_at_success_ns is not None  # else no sync need have done anything
                settle(step, before if interrupted else None)

        targets = (
            Watched(_SERVICE, vip, objects.PORT, "tcp", self.interval_ms, expect=want),
            Watched("held", vip, objects.PORT, "held", self.interval_ms, expect=want),
        )
        seen = measure_event(step, self.scenario, targets, act)
        if not self._record(step, seen, pulled[0]):
            self._mend(step, appears(vip, want, step.deadline.left(_BY_CHANGE_S + 3 * step.min_sync_period)))

    def _record(self, step: StepContext, seen: WatchResult, pulled: tuple[Instant, int]) -> bool:
        """Record the time until traffic flowed again; return whether it did."""
        removed, uncertainty = pulled
        outage = _outage(seen)
        end = seen.end_ns if outage.end_ns is None else outage.end_ns
        took = step.clocks.between(removed, Instant(end, step.client.node.clock))
        step.recorder.add(
            Metric.SYNC_END_TO_END,
            self.scenario,
            max(0, took.ns),
            censored=outage.end_ns is None,
            uncertainty=took.uncertainty_ns + uncertainty + outage.uncertainty_ns,
            where=cluster_ip(Position.LAST),
        )
        return outage.end_ns is not None

    def _mend(self, step: StepContext, probe: Await) -> None:
        """Change another Service, and record whether that repaired it; if not, start the proxy anew."""
        if not step.client.agent.call(replace(probe, timeout_s=_LATE_S)).censored:
            step.result.notes.append(f"{self.name}: it was repaired a moment after it was given up")
            return
        other = workload.Workload(step.population.plan)
        try:
            change = observe(step.client, ApiWrite((other.post_service(),)), (probe,))
            (answer,) = change.probes
            took = max(0, ended(answer) - change.triggered.ns)
            step.recorder.add(
                Metric.REPAIR_NEXT_CHANGE,
                self.scenario,
                took,
                censored=answer.censored,
                uncertainty=answer.uncertainty_ns,
                where=cluster_ip(Position.LAST),
            )
        finally:
            step.api.delete_many(other.refs)
        if answer.censored:
            restart(step)
            if step.client.agent.call(probe).censored:
                raise MeasurementError("not even a restart of the proxy brought back what was removed")
        settle(step)


def restart(step: StepContext) -> None:
    """Stop the proxy, start it anew, and wait until it is ready."""
    step.subject.stop()
    step.subject.start().wait_ready(step.deadline, step.deadline.left(_BY_RESTART_S))


def _outage(seen: WatchResult) -> Outage:
    """Return the outage that the removal made: the longest. Raises MeasurementError without one."""
    found = seen.targets[_SERVICE].outages()
    if not found:
        raise MeasurementError("what was removed interrupted nothing that was seen")
    return max(found, key=lambda one: (seen.end_ns if one.end_ns is None else one.end_ns) - one.start_ns)
