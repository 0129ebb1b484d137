"""A Service with several endpoints gets one more, and loses it again: from when on, and until when it is used.

The usual event of a cluster: a pod is ready, a pod is to end. The one that is taken out serves on here, so that nothing
is lost; for so long after it was taken out a pod that loses nothing must serve (a preStop hook, a grace period).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.kube import objects
from proxybench.model import Metric, Position, Scenario
from proxybench.nodes.requests import Change
from proxybench.nodes.watch import Watched
from proxybench.scenarios.event import LEAD_S, measure_event
from proxybench.scenarios.observe import write
from proxybench.scenarios.quiet import pause, settle
from proxybench.scenarios.recorder import cluster_ip
from proxybench.scenarios.workload import Workload
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from proxybench.kube.objects import Pod
    from proxybench.nodes.watch import WatchResult
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics

LINGER_S = 1.0
"""How long is watched after the sync: who is still used by then is censored."""

_TARGET = "service"


@dataclass(frozen=True)
class OneOfSeveral:
    """``endpoints`` are there all the time; one beside them comes and goes."""

    name: ClassVar = "add and remove an endpoint"
    vital: ClassVar = False

    endpoints: int
    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Do both, and record each."""
        own = Workload(step.population.plan, endpoints=self.endpoints)
        extra = own.pod(0, 1)
        with own.there(step):
            self._measure(step, Scenario.ADD_ENDPOINT, own, extra)
            self._measure(step, Scenario.REMOVE_ENDPOINT, own, extra)

    def _measure(self, step: StepContext, scenario: Scenario, own: Workload, extra: Pod) -> None:
        comes = scenario is Scenario.ADD_ENDPOINT
        wanted = (*own.pods(), extra) if comes else own.pods()
        acknowledged: list[int] = []

        def act(before: ProxyMetrics) -> None:
            acknowledged.append(write(step.client, Change(own.put_slices(wanted), ())).ack_ns)
            settle(step, before)
            step.clock.sleep(step.deadline.left(LINGER_S))

        pause(step)
        expect = tuple(pod.address for pod in (*own.pods(), extra))
        target = Watched(_TARGET, own.vip(), objects.PORT, "tcp", self.interval_ms, expect=expect)
        seen = measure_event(step, scenario, (target,), act)
        self._record(step, scenario, seen, acknowledged[0], extra)

    def _record(self, step: StepContext, scenario: Scenario, seen: WatchResult, acknowledged: int, extra: Pod) -> None:
        """Record from the acknowledgement to the first connection that it answered, or to the last."""
        target = seen.targets[_TARGET]
        answers = target.answers.get(extra.address)
        if scenario is Scenario.ADD_ENDPOINT:
            end = answers.first_ns if answers else None
        else:
            end = answers.last_ns if answers else acknowledged
            if end > seen.end_ns - LEAD_S * NS_PER_S:
                end = None
        step.recorder.add(
            Metric.SYNC_END_TO_END,
            scenario,
            max(0, (seen.end_ns if end is None else end) - acknowledged),
            censored=end is None,
            uncertainty=target.gap_ns * (self.endpoints + 1),  # of so many connections one is its, mostly by chance
            where=cluster_ip(Position.LAST),
        )
