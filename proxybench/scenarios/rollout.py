"""A rolling update: endpoints are replaced one after the other, and those that were replaced end at once.

That is the worst case of a rollout, and the part of it that a Service proxy answers for: pods that serve on for a while
after they were taken out (a preStop hook, a grace period) lose nothing to a proxy that is faster than that.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.kube import objects
from proxybench.kube.objects import family_of
from proxybench.model import Family, Scenario
from proxybench.nodes.requests import Change
from proxybench.nodes.watch import Watched
from proxybench.scenarios.event import measure_event
from proxybench.scenarios.observe import write
from proxybench.scenarios.places import spread
from proxybench.scenarios.quiet import settle
from proxybench.scenarios.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.kube.objects import Pod
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics

PACE = 2.0
"""Minimum sync periods between two replacements, at least as many seconds: a rollout waits for each new pod."""

_WATCHED = 3


@dataclass(frozen=True)
class Rollout:
    """``services`` Services with the same ``endpoints`` pods behind them, all of which are replaced."""

    scenario: Scenario
    services: int
    endpoints: int
    interval_ms: int
    vital: ClassVar = False

    @property
    def name(self) -> str:
        """The scenario's."""
        return str(self.scenario)

    def run(self, step: StepContext) -> None:
        """Replace them and record what that did to those who connect."""
        own = Workload(step.population.plan, self.services, self.endpoints)
        old, new = own.pods(), own.pods(1)

        def act(before: ProxyMetrics) -> None:
            for number in range(self.endpoints):
                write(step.client, Change(own.put_slices((*new[: number + 1], *old[number + 1 :])), ()))
                end(old[number])
                step.clock.sleep(step.deadline.left(PACE * max(1.0, step.min_sync_period)))
            settle(step, before)

        targets = tuple(
            Watched(own.name(number), own.vip(number), objects.PORT, "tcp", self.interval_ms)
            for number in spread(self.services, _WATCHED)
        )
        with own.there(step), mortal(step) as end:
            measure_event(step, self.scenario, targets, act)


@contextmanager
def mortal(step: StepContext) -> Iterator[Callable[[Pod], None]]:
    """Yield what ends a pod of the measured node: from then on it is unreachable there, until the body is over."""
    executor = step.measured.executor
    ended: list[Pod] = []

    def end(pod: Pod) -> None:
        ended.append(pod)
        executor.run(["ip", "route", "replace", "unreachable", _whole(pod)])

    try:
        yield end
    finally:
        for pod in ended:
            executor.run(["ip", "route", "delete", "unreachable", _whole(pod)], check=False)


def _whole(pod: Pod) -> str:
    return f"{pod.address}/{128 if family_of(pod.address) is Family.IPV6 else 32}"
