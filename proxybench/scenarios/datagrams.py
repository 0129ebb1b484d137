"""UDP from one port that is kept: what conntrack remembers of a sender must go when its endpoint goes.

A TCP connection meets the rules anew each time. A UDP sender that keeps its port is one connection to conntrack: where
a proxy does not delete what conntrack remembers, its datagrams go to an endpoint that is gone, as long as it sends.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from proxybench.kube import objects
from proxybench.model import Metric, Position, Scenario
from proxybench.nodes.requests import AskClocks, Change
from proxybench.nodes.watch import ANSWERED, WRONG, Watched
from proxybench.scenarios import usage
from proxybench.scenarios.event import measure_event, record_seen, watching
from proxybench.scenarios.observe import write
from proxybench.scenarios.quiet import pause, settle
from proxybench.scenarios.recorder import cluster_ip
from proxybench.scenarios.sync import record_loop
from proxybench.scenarios.tracked import tracked
from proxybench.scenarios.workload import Workload

if TYPE_CHECKING:
    from proxybench.kube.objects import Pod
    from proxybench.nodes.watch import Seen, WatchResult
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics

LINGER_S = 3.0
"""How long is watched after the sync: what has not followed by then is censored."""

_LAST = cluster_ip(Position.LAST)


def _target(own: Workload, interval_ms: int) -> Watched:
    return Watched("udp", own.vip(), objects.PORT, "udp", interval_ms)


@dataclass(frozen=True)
class Scale:
    """A Service loses its only endpoint, and later gets another one, while one sender goes on."""

    name: ClassVar = "scale to zero and back"
    vital: ClassVar = False

    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Do both, and record each."""
        own = Workload(step.population.plan, protocol="UDP")
        new = own.pods(1)
        with own.there(step):
            pause(step)
            with watching(step, (_target(own, self.interval_ms),)) as watch:
                gone = self._change(step, Scenario.SCALE_TO_ZERO, own, ())
                middle = step.client.agent.call(AskClocks()).monotonic_ns
                back = self._change(step, Scenario.SCALE_FROM_ZERO, own, new)
        seen, end = watch.result.targets["udp"], watch.result.end_ns
        to_zero, from_zero = seen.between(0, middle), seen.between(middle, end)
        lost = next((one for one in to_zero.between(gone, middle).stretches if one.outcome != ANSWERED), None)
        _record(step, Scenario.SCALE_TO_ZERO, gone, lost.first_ns if lost else None, middle, seen)
        answers = seen.answers.get(new[0].address)
        found = answers.first_ns if answers else None
        _record(step, Scenario.SCALE_FROM_ZERO, back, found, end, seen)
        served = _wrong_until(from_zero.between(back, end), end if found is None else found - 1, end)
        record_seen(step.recorder, Scenario.SCALE_FROM_ZERO, {"udp": served}, end)

    def _change(self, step: StepContext, scenario: Scenario, own: Workload, pods: tuple[Pod, ...]) -> int:
        """Put these endpoints behind it; record what that cost, and return when it was acknowledged."""
        opened = usage.begin(step)
        done = write(step.client, Change(own.put_slices(pods), ()))
        settle(step, opened.metrics)
        step.clock.sleep(step.deadline.left(LINGER_S))
        metrics = usage.end(step, scenario, opened)
        record_loop(step.recorder, scenario, opened.metrics, metrics)
        return done.ack_ns


@dataclass(frozen=True)
class ChangeUdp:
    """A Service's only endpoint becomes another one, with ``tracked`` more connections that conntrack knows."""

    scenario: Scenario
    tracked: int
    interval_ms: int
    vital: ClassVar = False

    @property
    def name(self) -> str:
        """The scenario's."""
        return str(self.scenario)

    def run(self, step: StepContext) -> None:
        """Change it, and record when the sender's datagrams reach the new one."""
        own = Workload(step.population.plan, protocol="UDP")
        new = own.pods(1)
        acknowledged: list[int] = []

        def act(before: ProxyMetrics) -> None:
            acknowledged.append(write(step.client, Change(own.put_slices(new), ())).ack_ns)
            settle(step, before)
            step.clock.sleep(step.deadline.left(LINGER_S))

        with own.there(step):
            pause(step)
            with tracked(step, self.tracked) if self.tracked else nullcontext():
                result = measure_event(step, self.scenario, (_target(own, self.interval_ms),), act)
        self._record_change(step, result, acknowledged[0], new[0])

    def _record_change(self, step: StepContext, result: WatchResult, acknowledged: int, new: Pod) -> None:
        seen = result.targets["udp"]
        first = seen.answers.get(new.address)
        _record(step, self.scenario, acknowledged, first.first_ns if first else None, result.end_ns, seen)


def _wrong_until(seen: Seen, until_ns: int, end_ns: int) -> Seen:
    """Count as wrong what was answered up to a moment: by the endpoint that is gone, since the new one had not yet.

    Such a stretch's last attempt is not known by itself: it was sent at most ``gap_ns`` before the next one.
    """
    early = [
        replace(one, outcome=WRONG, last_ns=max(one.first_ns, one.last_ns - seen.gap_ns))
        if one.outcome == ANSWERED
        else one
        for one in seen.between(0, until_ns).stretches
    ]
    return replace(seen, stretches=(*early, *seen.between(until_ns + 1, end_ns).stretches))


def _record(step: StepContext, scenario: Scenario, start: int, end: int | None, given_up: int, seen: Seen) -> None:
    """Record from the acknowledgement to when a datagram was sent that fared as it should from now on."""
    took = max(0, (given_up if end is None else end) - start)
    step.recorder.add(
        Metric.SYNC_END_TO_END, scenario, took, censored=end is None, uncertainty=seen.gap_ns, where=_LAST
    )
