"""The proxy is stopped and started anew, its rules still there: as when a node's kube-proxy is upgraded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant
from proxybench.model import Scenario
from proxybench.nodes.requests import Change
from proxybench.scenarios.canary import appears
from proxybench.scenarios.cold_start import record_programmed
from proxybench.scenarios.event import measure_event, places_watched
from proxybench.scenarios.observe import ProxyStart, observe, write
from proxybench.scenarios.quiet import settle
from proxybench.scenarios.repair import restart
from proxybench.scenarios.sync import ended, record_end
from proxybench.scenarios.workload import Workload

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.observe import Observation
    from proxybench.subjects.driver import ProxyMetrics

_READY_S = 120.0


@dataclass(frozen=True)
class Restart:
    """Nothing changes while it is away."""

    name: ClassVar = str(Scenario.RESTART)
    vital: ClassVar = True

    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Restart it and record what that took."""

        def act(_: ProxyMetrics) -> None:
            restart(step)
            settle(step)

        measure_event(step, Scenario.RESTART, places_watched(step, self.interval_ms), act, reborn=True)
        record_programmed(step, Scenario.RESTART, step.proxy.metrics())


@dataclass(frozen=True)
class RestartChanged:
    """The endpoint of one Service is another when it comes back: from its start until that one answers."""

    name: ClassVar = str(Scenario.RESTART_CHANGED)
    vital: ClassVar = True

    timeout_s: float
    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Restart it and record what that took."""
        own = Workload(step.population.plan)
        new = own.pod(0, 1)
        found: list[Observation] = []

        def act(_: ProxyMetrics) -> None:
            step.subject.stop()
            write(step.client, Change(own.put_slices((new,)), ()))
            probe = appears(own.vip(), (new.address,), step.deadline.left(self.timeout_s))
            found.append(observe(step.client, ProxyStart(step.subject), (probe,)))
            step.proxy.wait_ready(step.deadline, _READY_S)
            settle(step)

        with own.there(step):
            measure_event(step, Scenario.RESTART_CHANGED, places_watched(step, self.interval_ms), act, reborn=True)
            record_programmed(step, Scenario.RESTART_CHANGED, step.proxy.metrics())
        (seen,) = found
        took = step.clocks.between(seen.triggered, Instant(ended(seen.probes[0]), step.client.node.clock))
        record_end(step.recorder, Scenario.RESTART_CHANGED, took, seen.probes[0])
