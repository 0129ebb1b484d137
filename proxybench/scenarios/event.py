"""An event, watched: Services are connected to every few milliseconds from before it until after it.

What happens to a cluster's users is counted: connections that were lost or refused, the longest time without service,
established connections that broke; beside it, as for every change, syncs, CPU and memory.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube import objects
from proxybench.model import Metric, Position, Scenario
from proxybench.nodes.watch import REFUSED, SILENT, BeginWatch, EndWatch, Watched, WatchResult
from proxybench.scenarios import usage
from proxybench.scenarios.recorder import cluster_ip
from proxybench.scenarios.sync import record_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxybench.nodes.watch import HeldSeen, Seen
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.recorder import Recorder
    from proxybench.subjects.driver import ProxyMetrics

LEAD_S = 0.3
"""How long is watched before an event and after it."""

_OVER_CLUSTER_IP = cluster_ip()


@dataclass
class Watch:
    """A watch; what it saw is known when it has ended."""

    seen: WatchResult | None = None

    @property
    def result(self) -> WatchResult:
        """What it saw. Raises MeasurementError while it goes on."""
        if self.seen is None:
            raise MeasurementError("the watch has not ended")
        return self.seen


@contextmanager
def watching(step: StepContext, targets: tuple[Watched, ...]) -> Iterator[Watch]:
    """Let the client watch the targets, from a moment before the body until a moment after it."""
    agent, watch = step.client.agent, Watch()
    begun = agent.call(BeginWatch(targets))
    try:
        step.subject.watched = True
        step.clock.sleep(LEAD_S)
        yield watch
        step.clock.sleep(LEAD_S)
    finally:
        step.subject.watched = False
        watch.seen = agent.call(EndWatch(begun.pid))


def measure_event(
    step: StepContext,
    scenario: Scenario,
    targets: tuple[Watched, ...],
    act: Callable[[ProxyMetrics], None],
    *,
    reborn: bool = False,
) -> WatchResult:
    """Record what an event did to those who connect, and what it cost; return what was seen.

    ``act`` makes it happen and waits until it is over; it is told the proxy's metrics before. ``reborn``: it starts the
    proxy anew, whose counters begin at zero then.
    """
    before = usage.ZERO_METRICS
    if reborn:
        reading = usage.before_birth(usage.read(step), step.proxy.cgroup)
    else:
        opened = usage.begin(step)
        before, reading = opened.metrics, opened.reading
    with watching(step, targets) as watch:
        act(before)
    result = watch.result
    reading = replace(reading, agents_ns=reading.agents_ns - result.cpu_ns)
    metrics = usage.end(step, scenario, usage.Opened(before, reading))
    record_loop(step.recorder, scenario, before, metrics)
    record_seen(step.recorder, scenario, result.targets, result.end_ns)
    record_held(step.recorder, scenario, result.held)
    return result


def record_seen(recorder: Recorder, scenario: Scenario, targets: Mapping[str, Seen], end_ns: int) -> None:
    """Record what became of new connections: of the Service that fared worst how long, of all how many."""
    seen = targets.values()
    if not seen:
        return
    found = [outage for one in seen for outage in one.outages()]
    longest = max(found, key=lambda one: (end_ns if one.end_ns is None else one.end_ns) - one.start_ns, default=None)
    if longest is None:
        took, censored, uncertainty = 0, False, max(one.gap_ns for one in seen)
    else:
        censored = longest.end_ns is None
        took = (longest.end_ns if longest.end_ns is not None else end_ns) - longest.start_ns
        uncertainty = longest.uncertainty_ns
    recorder.add(
        Metric.EVENT_OUTAGE, scenario, took, censored=censored, uncertainty=uncertainty, where=_OVER_CLUSTER_IP
    )
    counts = (
        (Metric.EVENT_LOST, sum(one.lost for one in seen)),
        (Metric.EVENT_REFUSED, sum(one.count(REFUSED) for one in seen)),
        (Metric.EVENT_ATTEMPTS, sum(one.attempts for one in seen)),
    )
    for metric, count in counts:
        recorder.add(metric, scenario, count, where=_OVER_CLUSTER_IP)


def record_held(recorder: Recorder, scenario: Scenario, held: Mapping[str, HeldSeen]) -> None:
    """Record what became of connections that were established before; a silence that did not end is a lower bound."""
    if held:
        broken = sum(bool(one.broken) for one in held.values())
        recorder.add(Metric.EVENT_BROKEN, scenario, broken, where=_OVER_CLUSTER_IP)
        worst = max(held.values(), key=lambda one: (one.longest_ns, one.broken == SILENT))
        recorder.add(
            Metric.EVENT_STALL, scenario, worst.longest_ns, censored=worst.broken == SILENT, where=_OVER_CLUSTER_IP
        )


def places_watched(step: StepContext, interval_ms: int) -> tuple[Watched, ...]:
    """Return what watches the Services at first, middle and last position: new connections, and one that is held."""
    population = step.population
    found: dict[int, str] = {}
    for position in (Position.FIRST, Position.MIDDLE, Position.LAST):
        found.setdefault(step.places.at(position).index, str(position))
    targets = []
    for index, label in found.items():
        host, expect = population.plan.vip(index), tuple(pod.address for pod in population.pods(index))
        for kind in ("tcp", "held"):
            name = label if kind == "tcp" else f"{label}, held"
            targets.append(Watched(name, host, objects.PORT, kind, interval_ms, expect=expect))
    return tuple(targets)
