"""Rule-sync latency: one change, probed for from before it until the data plane answers for it.

Every scenario after the cold start is one or a few writes, sent by the agent on the client, which probes from before
the write: both ends of a latency are read by the same clock. Of a batch the agent sends the first write and the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.clocks import Instant, Span
from proxybench.model import Metric, Position, Scenario
from proxybench.nodes.requests import Change, Write
from proxybench.scenarios import usage
from proxybench.scenarios.canary import SERVICES
from proxybench.scenarios.observe import ApiWrite, observe, observe_last, sent_again, write
from proxybench.scenarios.phases import record_phases
from proxybench.scenarios.quiet import BURST, pause, settle
from proxybench.scenarios.recorder import cluster_ip
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from proxybench.kube.objects import Object
    from proxybench.nodes.answers import AwaitResult
    from proxybench.nodes.requests import Await
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.observe import Observation
    from proxybench.scenarios.recorder import Recorder
    from proxybench.subjects.driver import ProxyMetrics


def measure_change(
    step: StepContext, scenario: Scenario, change: ApiWrite, probe: Await, batch: tuple[Object, ...] = ()
) -> None:
    """Make a change and record what it took; ``batch`` is written before it and part of it."""
    pause(step, BURST if batch else 1)  # all modes begin a batch with the same number of syncs to spare
    opened = usage.begin(step)
    begun = _write_batch(step, scenario, batch) if batch else None
    seen = (observe_last if batch else observe)(step.client, change, (probe,))
    # What reads Endpoints objects hands new endpoints to its relays at once, without a sync.
    unsynced = step.in_endpoints and scenario is Scenario.CHANGE_ENDPOINT
    settle(step, None if unsynced else opened.metrics)
    metrics = usage.end(step, scenario, opened)
    start = seen.triggered if begun is None else begun
    (answer,) = seen.probes
    took = step.clocks.between(start, Instant(ended(answer), step.client.node.clock))
    unsure = seen.uncertainty_ns if begun is None else 0
    record_end(step.recorder, scenario, Span(took.ns, took.uncertainty_ns + unsure), answer)
    if scenario is Scenario.CHANGE_ENDPOINT:
        record_stale(step.recorder, seen, answer)
    record_loop(step.recorder, scenario, opened.metrics, metrics)
    if not answer.censored:
        record_phases(
            step, scenario, (start, Instant(ended(answer), step.client.node.clock)), (opened.metrics, metrics)
        )


def _write_batch(step: StepContext, scenario: Scenario, batch: tuple[Object, ...]) -> Instant:
    """Write a batch; return when its first write was acknowledged, by the client's clock."""
    first, *others = batch
    begun = write(step.client, Change((Write("POST", SERVICES, first),), ())).ack_ns
    if again := sent_again(step.api.create_many(others)):
        step.result.notes.append(f"{scenario}: {again}")
    return Instant(begun, step.client.node.clock)


def ended(seen: AwaitResult) -> int:
    """Return when a probe was decided, or given up, by the client's clock (ns)."""
    return seen.end_ns if seen.first_ns is None else seen.first_ns


def record_end(recorder: Recorder, scenario: Scenario, took: Span, seen: AwaitResult, rank: int | None = None) -> None:
    """Record the time from the trigger until the data plane answered for the change.

    It is uncertain by what the deciding attempt took, by its distance from the one before it, and by what the span is.
    A data plane that was faster than the acknowledgement counts as 0 ns; its span is uncertain by how late that was.
    """
    recorder.add(
        Metric.SYNC_END_TO_END,
        scenario,
        max(0, took.ns),
        censored=seen.censored,
        uncertainty=took.uncertainty_ns + seen.uncertainty_ns,
        where=cluster_ip(Position.LAST, rank),
    )


def record_stale(recorder: Recorder, change: Observation, seen: AwaitResult) -> None:
    """Record the time from the acknowledgement until the last answer by the old endpoint; nothing if there was none.

    It could have answered until the next attempt: the time is uncertain by the distance of the two, and as the change's
    own moment is.
    """
    if seen.last_other_ns is not None:
        stale = max(0, seen.last_other_ns - change.triggered.ns)
        unsure = seen.uncertainty_ns + change.uncertainty_ns
        where = cluster_ip(Position.LAST)
        recorder.add(Metric.SYNC_STALE, Scenario.CHANGE_ENDPOINT, stale, uncertainty=unsure, where=where)


def record_loop(recorder: Recorder, scenario: Scenario, before: ProxyMetrics, after: ProxyMetrics) -> None:
    """Record the proxy's own word: the difference of its metrics around the change.

    ``sync.control_loop`` is the time spent in all syncs that the change took; waits between them are not in it, but
    are ``sync.wait``: how long something was known to have changed while the proxy had to let its minimum period pass.
    """
    pairs = (
        (Metric.SYNC_CONTROL_LOOP, before.sync_sum, after.sync_sum),
        (Metric.SYNC_FULL, before.full_sync_sum, after.full_sync_sum),
        (Metric.SYNC_PARTIAL, before.partial_sync_sum, after.partial_sync_sum),
        (Metric.SYNC_BUILD, before.build, after.build),
        (Metric.SYNC_TOOL, before.tool, after.tool),
        (Metric.SYNC_KERNEL, before.kernel, after.kernel),
        (Metric.SYNC_WAIT, before.wait, after.wait),
    )
    for metric, earlier, later in pairs:
        if later is not None:  # kube-proxy shows a kind of sync from its first one on
            recorder.add(metric, scenario, round((later - (earlier or 0.0)) * NS_PER_S))
    counts = (
        (Metric.SYNC_COUNT, before.sync_count, after.sync_count or None),  # a command tells of none
        (Metric.SYNC_FULL_COUNT, before.full_sync_count, after.full_sync_count),
        (Metric.SYNC_PARTIAL_COUNT, before.partial_sync_count, after.partial_sync_count),
    )
    for metric, fewer, more in counts:
        if more is not None:
            recorder.add(metric, scenario, more - (fewer or 0))
    programmed = after.programming_count - before.programming_count
    if programmed > 0:
        mean = (after.programming_sum - before.programming_sum) / programmed
        recorder.add(Metric.SYNC_NETWORK_PROGRAMMING, scenario, round(mean * NS_PER_S))
