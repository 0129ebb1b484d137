"""Cold start: the proxy starts on a node without rules, with all Services present."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant, Span
from proxybench.errors import CommandTimeoutError, HostError, LateError, MeasurementError, ProxierError
from proxybench.kube.objects import PORT
from proxybench.model import ClockKind, Family, Metric, Position, Scenario, Transport
from proxybench.nodes.requests import AskClocks
from proxybench.scenarios import usage
from proxybench.scenarios.canary import appears
from proxybench.scenarios.observe import ProxyStart, observe
from proxybench.scenarios.phases import note_untold, record_phases, told_apart
from proxybench.scenarios.places import spread
from proxybench.scenarios.quiet import busy, settle
from proxybench.scenarios.recorder import cluster_ip
from proxybench.scenarios.sync import ended, record_end, record_loop
from proxybench.subjects.driver import rule_key
from proxybench.subjects.proxy_log import families_made_ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.kube.objects import Population
    from proxybench.nodes.answers import AwaitResult, ClockReading
    from proxybench.nodes.requests import Await
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.observe import Observation
    from proxybench.subjects.driver import ProxyMetrics, RunningProxy, SyncRecord

PROBED = 8
"""Services that are awaited, or all that a smaller cell has: IPVS mode programs them one by one in random order."""

LONGEST_S = 3600.0
"""What the agent may wait for an answer."""

_WHY_S = 1.0


@dataclass(frozen=True)
class ColdStart:
    """``recorded``: whether it is asked for; everything after it needs it in any case. ``limit_s``: for all answers."""

    name: ClassVar = "cold start"
    vital: ClassVar = True

    recorded: bool
    limit_s: float = LONGEST_S

    def run(self, step: StepContext) -> None:
        """Start the proxy and wait until all probed Services answer and it has nothing left to do."""
        before = usage.read(step)
        limit = step.deadline.left(self.limit_s)
        indices = probed(step.population, step.cell.services)
        seen = self._observe(step, probes(step.population, indices, limit))
        if late := sum(one.censored for one in seen.probes):
            if self.recorded:
                _record_end(step, indices, seen)
            what = f"{late} of {len(indices)} probed Services did not answer within {limit:.0f} s of the start"
            if busy(step):
                if self.recorded:
                    _give_up(step, Metric.SYNC_PROGRAMMED)
                raise LateError(f"{what}, and it was still at work")
            step.proxy.wait_ready(step.deadline, _WHY_S)  # it knows better why
            raise MeasurementError(what)
        try:
            _wait(step)
        except LateError:
            if self.recorded:
                _record_end(step, indices, seen)
                _give_up(step, Metric.SYNC_PROGRAMMED)
            raise
        if self.recorded:
            opened = usage.Opened(usage.ZERO_METRICS, usage.before_birth(before, step.proxy.cgroup))
            metrics = usage.end(step, Scenario.COLD_START, opened)
            record_loop(step.recorder, Scenario.COLD_START, usage.ZERO_METRICS, metrics)
        read_ranks(step)
        if self.recorded:
            _record_end(step, indices, seen)
            record_programmed(step, Scenario.COLD_START, metrics)
            last = Instant(ended(seen.probes[last_to_answer(seen.probes)[0]]), step.client.node.clock)
            record_phases(step, Scenario.COLD_START, (seen.triggered, last), (usage.ZERO_METRICS, metrics))

    def _observe(self, step: StepContext, probes: tuple[Await, ...]) -> Observation:
        """Start it and probe. Raises LateError where a guest's time goes so slowly that nothing is heard in ours."""
        try:
            return observe(step.client, ProxyStart(step.subject), probes)
        except CommandTimeoutError as error:
            if step.cluster.clock is not ClockKind.INSTRUCTIONS:
                raise
            if self.recorded:
                _give_up(step, Metric.SYNC_END_TO_END, Metric.SYNC_PROGRAMMED)
            raise LateError("the guest was too busy to say more within its time") from error


def _give_up(step: StepContext, *late: Metric) -> None:
    """Record of these what is there by now, or that it takes longer: nobody knows when it will be.

    The first full sync may stand in the log while a later one goes on. A guest that is too busy to say what time it is,
    or what its log tells, leaves it at that.
    """
    with suppress(HostError, ProxierError):
        clocks = step.measured.agent.call(AskClocks())
        took = step.clocks.between(step.proxy.started_at, Instant(clocks.monotonic_ns, step.measured.node.clock))
        if Metric.SYNC_END_TO_END in late:
            where = cluster_ip(Position.LAST)
            step.recorder.add(Metric.SYNC_END_TO_END, Scenario.COLD_START, took.ns, censored=True, where=where)
        if Metric.SYNC_PROGRAMMED in late:
            syncs = step.proxy.syncs()
            sync = _first_full_sync(step, syncs)
            if sync is None and not told_apart(syncs):
                note_untold(step, Scenario.COLD_START, Metric.SYNC_PROGRAMMED)
                return
            ns = took.ns if sync is None else _since_start(step, sync.ended_utc_ns, clocks)
            step.recorder.add(Metric.SYNC_PROGRAMMED, Scenario.COLD_START, ns, censored=sync is None)


def _wait(step: StepContext) -> None:
    """Wait until the proxy is ready and has nothing left to do, for as long as the step may take.

    Raises LateError when its time is up and it is still at work; otherwise what ``wait_ready`` and ``settle`` raise.
    """
    try:
        step.proxy.wait_ready(step.deadline, step.deadline.left(LONGEST_S))
        settle(step)
    except (MeasurementError, ProxierError) as error:
        if not busy(step):
            raise
        raise LateError("the probed Services answered, but it was still at work when the step's time was up") from error


def probed(population: Population, services: int) -> tuple[int, ...]:
    """Return the Services that are awaited: the last one first, since that is awaited alone, then others evenly apart.

    All have their endpoints on the measured node.
    """
    last = population.measured(services, Position.LAST)
    near = [index for index in range(last) if population.on_first_node(index)]
    return (last, *(near[place] for place in spread(len(near), PROBED - 1) if near))


def last_to_answer(probes: Sequence[AwaitResult]) -> tuple[int, int]:
    """Return which probe's Service answered last, and by how much that is uncertain beyond its own probing (ns).

    The first probe was awaited alone. One of the others whose first attempt, right after that, was answered may have
    answered long before: it was not later than that. A probe that was given up is later than all.
    """
    later = [number for number, one in enumerate(probes) if number and (one.censored or one.interval_at_success_ns)]
    last = max((0, *later), key=lambda number: (probes[number].censored, ended(probes[number])))
    at_once = [ended(one) for number, one in enumerate(probes) if number and number not in later]
    return last, max(0, max(at_once, default=0) - ended(probes[last]) - probes[last].uncertainty_ns)


def first_full_sync(syncs: Sequence[SyncRecord], services: int, family: Family = Family.IPV4) -> SyncRecord | None:
    """Return the first sync that wrote all Services (their ports) of a family.

    None where the log tells of none, or where the first that may be it may be another family's.
    """
    for one in syncs:
        if (
            one.full is not False
            and one.family.lower() in {"", family}
            and (one.services is None or one.services >= services)
        ):
            return one if one.family else None
    return None


def probes(population: Population, indices: Sequence[int], limit: float) -> tuple[Await, ...]:
    """Return the probes for Services, up to ``limit`` seconds."""
    return tuple(
        appears(population.plan.vip(index), tuple(pod.address for pod in population.pods(index)), limit)
        for index in indices
    )


def read_ranks(step: StepContext) -> None:
    """Note where each Service's rule stands in the kernel's order; what hinders that is a note."""
    node_ports = any(exposure.node_port for exposure in step.population.exposures)
    try:
        step.subject.ranks = _ranks(step.proxy, node_ports=node_ports)
        if node_ports and (second := step.subject.second()):
            step.subject.second_ranks = _ranks(second, node_ports=True)
    except ProxierError as error:
        step.result.notes.append(f"positions are the order of creation: {error}")


def _ranks(proxy: RunningProxy, *, node_ports: bool) -> Mapping[str, int] | None:
    ranks = proxy.rule_ranks()
    return ranks if ranks is None or not node_ports else {**ranks, **proxy.node_port_ranks()}


def _record_end(step: StepContext, indices: Sequence[int], seen: Observation) -> None:
    """Record from the start, by the measured node's clock, to the answer, by the client's, if they can be compared.

    If not, no number is made up: the step says so, and what needs one clock only is measured.
    """
    number, more = last_to_answer(seen.probes)
    last = seen.probes[number]
    rank = (step.subject.ranks or {}).get(rule_key(step.population.plan.vip(indices[number]), PORT, Transport.TCP))
    try:
        took = step.clocks.between(seen.triggered, Instant(ended(last), step.client.node.clock))
    except MeasurementError as error:
        step.result.notes.append(f"cold start: {Metric.SYNC_END_TO_END} is not measured: {error}")
    else:
        took = Span(took.ns, took.uncertainty_ns + more)
        record_end(step.recorder, Scenario.COLD_START, took, last, rank)


def record_programmed(step: StepContext, scenario: Scenario, metrics: ProxyMetrics) -> None:
    """Record from the start until all was programmed: the end of the first full sync, by the proxy's own log.

    Where the log tells of no syncs (IPVS mode), until the end of the last one before it rested, by its metrics. Both
    are of the node's UTC. Where either may be another family's, the step says so.
    """
    syncs = step.proxy.syncs()
    sync = _first_full_sync(step, syncs)
    if sync is None and not (told_apart(syncs) and _last_told_apart(step, metrics)):
        note_untold(step, scenario, Metric.SYNC_PROGRAMMED)
        return
    last = metrics.last_sync6_utc_ns if step.cell.family is Family.IPV6 else metrics.last_sync_utc_ns
    ended_utc_ns = last if sync is None else sync.ended_utc_ns
    if ended_utc_ns is not None:
        took = _since_start(step, ended_utc_ns, step.measured.agent.call(AskClocks()))
        step.recorder.add(Metric.SYNC_PROGRAMMED, scenario, took)


def _last_told_apart(step: StepContext, metrics: ProxyMetrics) -> bool:
    """Tell whether the metrics' last sync is known to be of one family: up to 1.30 it is that of whichever was last."""
    return metrics.last_sync6_utc_ns is not None or len(families_made_ready(step.proxy.log())) <= 1


def _first_full_sync(step: StepContext, syncs: Sequence[SyncRecord]) -> SyncRecord | None:
    return first_full_sync(syncs, step.population.service_ports(step.cell.services), step.cell.family)


def _since_start(step: StepContext, utc_ns: int, clocks: ClockReading) -> int:
    """Return the nanoseconds from the proxy's start to a moment by the node's UTC."""
    return max(0, utc_ns - (step.proxy.started_at.ns + clocks.utc_ns - clocks.monotonic_ns))
