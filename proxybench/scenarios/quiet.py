"""Waiting until a proxy has nothing to do: after a change, and before one, so that no rate limiter decides it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.nodes.answers import Usage
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics

BURST = 2
"""Syncs that may follow each other at once after a rest, as in kube-proxy."""

_POLL = 0.25  # seconds of the orchestrator's time between two looks at a proxy
_QUIET_SHARE = 0.03  # of a core: a proxy that spends less is waiting
_QUIET_POLLS = 2
_STEADY_POLLS = 4
_STEADY_MOST = 0.5  # of a core: one that works for itself takes what it gets
_STEADY_SPREAD = 0.5  # of their mean: how far apart the shares may lie
_LOOK = 0.5  # seconds between two looks at the metrics of a proxy whose CPU time is not known
_LONGEST_LOOK = 10.0  # seconds for a sync that goes on to end, and be seen
_REST = 0.5  # seconds without a sync
_SYNCS = 2  # a rest is as long as so many of its syncs


def pause(step: StepContext, syncs: int = 1) -> None:
    """Wait until the rate limiter lets ``syncs`` syncs begin at once: minSyncPeriod must pass for each.

    Else a change would wait for its turn, and what looks like a mode's latency would be the limiter's.
    """
    step.clock.sleep(step.min_sync_period * syncs)


def settle(step: StepContext, before: ProxyMetrics | None = None) -> None:
    """Wait until the measured proxy has nothing left to do, and has synced since ``before`` if that is given.

    It is watched through its cgroup's CPU time, since reading its metrics would make work for it. One that relays the
    connections of a watch itself is never without work: there, a steady one is taken for theirs. One that has no cgroup
    is watched through its metrics all the same: that work is in the node's CPU time then, but not in its own, which is
    not told, nor in what a change took, which is over. Raises MeasurementError when the step's time is up.
    """
    while True:
        if step.proxy.cgroup is None:
            metrics = _wait_unchanged(step, before)
        else:
            _wait_quiet(step, step.proxy.cgroup)
            metrics = step.proxy.metrics()
        if not metrics.pending and (before is None or metrics.sync_count > before.sync_count):
            return


def busy(step: StepContext) -> bool:
    """Tell whether the proxy is at work: whether it spends CPU time, or syncs where that is not known."""
    agent, cgroup = step.measured.agent, step.proxy.cgroup
    if cgroup is None:
        before = step.proxy.metrics()
        step.clock.sleep(min(max(_LOOK, _SYNCS * _usual_sync(before, before)), _LONGEST_LOOK))
        now = step.proxy.metrics()
        return now.pending > 0 or now.sync_count > before.sync_count
    first = agent.usage([cgroup])
    step.clock.sleep(_POLL)
    later = agent.usage([cgroup])
    there = cgroup in first.groups and cgroup in later.groups
    return there and not _quiet(first, later, cgroup)


def _quiet(earlier: Usage, later: Usage, cgroup: str) -> bool:
    return _share(earlier, later, cgroup) < _QUIET_SHARE


def _share(earlier: Usage, later: Usage, cgroup: str) -> float:
    """Return how much of a core it spent between two looks."""
    spent = later.groups[cgroup].usage_ns - earlier.groups[cgroup].usage_ns
    return spent / max(1, later.at_ns - earlier.at_ns)


def _steady(shares: Sequence[float]) -> bool:
    mean = sum(shares) / len(shares)
    return max(shares) < _STEADY_MOST and max(shares) - min(shares) < _STEADY_SPREAD * mean


def _wait_unchanged(step: StepContext, before: ProxyMetrics | None) -> ProxyMetrics:
    """Wait until no change is pending and no sync has ended for a while; return the metrics then.

    A sync is counted when it has ended, and what it took up is not pending any more: one that goes on is not seen. So
    the while is longer than its syncs are: than the mean of those since ``before``, and than that of full ones.
    """
    last = step.proxy.metrics()
    first, since = before or last, step.clock.monotonic_ns()
    while True:
        step.clock.sleep(step.deadline.left(_LOOK))
        now = step.proxy.metrics()
        if now.pending or now.sync_count != last.sync_count:
            since = step.clock.monotonic_ns()
        last = now
        rest = max(_REST, _SYNCS * _usual_sync(first, now))
        if step.clock.monotonic_ns() - since >= rest * NS_PER_S:
            return now


def _usual_sync(first: ProxyMetrics, now: ProxyMetrics) -> float:
    """Return how long a sync takes, in seconds: the larger of two means, 0 where nothing is known."""
    full = (now.full_sync_sum or now.sync_sum, now.full_sync_count or now.sync_count)
    sums = (full, (now.sync_sum - first.sync_sum, now.sync_count - first.sync_count))
    return max(total / count if count > 0 else 0.0 for total, count in sums)


def _wait_quiet(step: StepContext, cgroup: str) -> None:
    agent = step.measured.agent
    last = agent.usage([cgroup])
    shares: deque[float] = deque(maxlen=_STEADY_POLLS if step.relays else _QUIET_POLLS)
    while True:
        step.clock.sleep(step.deadline.left(_POLL))
        now = agent.usage([cgroup])
        shares.append(_share(last, now, cgroup))
        last = now
        latest = list(shares)[-_QUIET_POLLS:]
        if len(latest) == _QUIET_POLLS and max(latest) < _QUIET_SHARE:
            return
        if step.relays and len(shares) == _STEADY_POLLS and _steady(shares):
            return
