"""CPU and memory: what the proxy's cgroup, the node and our own agents spent between two readings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.model import Metric
from proxybench.nodes.answers import GroupFigures
from proxybench.subjects.driver import ProxyMetrics
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.model import Scenario
    from proxybench.nodes.answers import Usage
    from proxybench.nodes.node import NodeHandle
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.recorder import Recorder

TICK_NS = NS_PER_S // 100
"""One clock tick: the kernel tells every program of a hundred in a second, whatever its own are."""

ZERO_METRICS = ProxyMetrics(
    sync_sum=0.0,
    sync_count=0,
    full_sync_sum=0.0,
    full_sync_count=0,
    partial_sync_sum=0.0,
    partial_sync_count=0,
    build=0.0,
    tool=0.0,
    kernel=0.0,
    wait=0.0,
    relay_cpu=0.0,
)
"""A proxy's metrics before it was started."""


@dataclass(frozen=True)
class Reading:
    """The counters at one moment: of the measured node, and the CPU time of all agents together (ns)."""

    usage: Usage
    agents_ns: int


def before_birth(reading: Reading, cgroup: str | None) -> Reading:
    """Return the reading with no usage of a cgroup that did not exist yet; None: of none."""
    if cgroup is None:
        return reading
    empty = GroupFigures(usage_ns=0, user_ns=0, system_ns=0, memory_peak=None, memory_current=None)
    return replace(reading, usage=replace(reading.usage, groups={**reading.usage.groups, cgroup: empty}))


@dataclass(frozen=True)
class Window:
    """A stretch of time: the readings at its ends, and the CPU time of relaying in it (ns; None without a relay).

    Relaying is done by a process of the control loop's cgroup, and would else count as its work.
    """

    before: Reading
    after: Reading
    relay_ns: int | None = None


@dataclass(frozen=True)
class Opened:
    """What a measured stretch begins with."""

    metrics: ProxyMetrics
    reading: Reading


def read_nodes(measured: NodeHandle, others: Iterable[NodeHandle], cgroup: str | None = None) -> Reading:
    """Read the measured node's counters, with those of a cgroup, and what our agents on all nodes have spent."""
    usage = measured.agent.usage([cgroup] if cgroup else [])
    return Reading(usage, usage.self_ns + sum(handle.agent.usage().self_ns for handle in others))


def read(step: StepContext, cgroup: str | None = None) -> Reading:
    """Read the counters of a step's nodes."""
    return read_nodes(step.measured, (step.client, *step.others), cgroup)


def begin(step: StepContext) -> Opened:
    """Read the proxy's metrics, then the counters: reading the metrics makes work for the proxy."""
    return Opened(step.proxy.metrics(), read(step, step.proxy.cgroup))


def end(step: StepContext, scenario: Scenario, opened: Opened) -> ProxyMetrics:
    """Record what was spent since ``opened``; return the proxy's metrics now."""
    after = read(step, step.proxy.cgroup)
    metrics = step.proxy.metrics()
    relayed = None
    if metrics.relay_cpu is not None:
        # What a relay does right after its answer to a batch is told with its next one: a little may come off here.
        relayed = max(0, round((metrics.relay_cpu - (opened.metrics.relay_cpu or 0.0)) * NS_PER_S))
    record_usage(step.recorder, scenario, step.proxy.cgroup, Window(opened.reading, after, relayed))
    return metrics


def record_usage(recorder: Recorder, scenario: Scenario, cgroup: str | None, window: Window) -> None:
    """Record what was spent in a window on the measured node; nothing of a control loop without a cgroup (None).

    ``cpu.control_loop`` is without ``cpu.relay``; its user and system parts are of the whole cgroup. ``cpu.softirq``
    and ``cpu.node`` are the whole machine's. In a lab, whose nodes share one kernel, they are the lab's. What the
    kernel counts in clock ticks is uncertain by one. Raises MeasurementError when the cgroup is missing.
    """
    before, after = window.before, window.after
    ends = None if cgroup is None else _ends(cgroup, window)
    if ends is not None:
        _record_loop(recorder, scenario, ends, window.relay_ns)
    old, new = before.usage.stat, after.usage.stat
    recorder.add(Metric.CPU_SOFTIRQ, scenario, new.softirq_ns - old.softirq_ns, uncertainty=TICK_NS)
    recorder.add(Metric.CPU_NODE, scenario, new.busy_ns - old.busy_ns, uncertainty=TICK_NS)
    recorder.add(Metric.CPU_AGENT, scenario, after.agents_ns - before.agents_ns)
    recorder.add(Metric.CPU_WINDOW, scenario, after.usage.at_ns - before.usage.at_ns)
    if ends is not None:
        _record_memory(recorder, scenario, ends[1])


def _record_loop(
    recorder: Recorder, scenario: Scenario, ends: tuple[GroupFigures, GroupFigures], relay_ns: int | None
) -> None:
    earlier, later = ends
    used = later.usage_ns - earlier.usage_ns
    # The relay is read a moment before and after the counters, and may close connections in between.
    relaying = min(relay_ns or 0, used)
    recorder.add(Metric.CPU_CONTROL_LOOP, scenario, used - relaying)
    if relay_ns is not None:
        recorder.add(Metric.CPU_RELAY, scenario, relaying)
    in_ticks = (
        (Metric.CPU_CONTROL_LOOP_USER, later.user_ns - earlier.user_ns),
        (Metric.CPU_CONTROL_LOOP_SYSTEM, later.system_ns - earlier.system_ns),
    )
    for metric, value in in_ticks:
        recorder.add(metric, scenario, value, uncertainty=TICK_NS)


def _record_memory(recorder: Recorder, scenario: Scenario, later: GroupFigures) -> None:
    peak = later.memory_peak if later.memory_peak is not None else later.memory_current
    if peak is not None:
        recorder.add(Metric.MEMORY_CONTROL_LOOP, scenario, peak)
    if later.resident_peak:
        recorder.add(Metric.MEMORY_RESIDENT, scenario, later.resident_peak)


def spent(cgroup: str, window: Window) -> int:
    """Return the CPU time of a cgroup in a window, in ns. Raises MeasurementError when the cgroup is missing."""
    earlier, later = _ends(cgroup, window)
    return later.usage_ns - earlier.usage_ns


def _ends(cgroup: str, window: Window) -> tuple[GroupFigures, GroupFigures]:
    try:
        return window.before.usage.groups[cgroup], window.after.usage.groups[cgroup]
    except KeyError:
        raise MeasurementError(f"the control loop's cgroup {cgroup} is missing from what was read") from None
