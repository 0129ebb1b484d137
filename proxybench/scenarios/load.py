"""Concurrent new connections at a set rate: locust on the client nodes, and its raw records."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.load.command import time_limit
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import TIMEOUT, UNSERVED
from proxybench.model import ClockKind, Metric, Scenario
from proxybench.scenarios import usage
from proxybench.scenarios.recorder import cluster_ip

if TYPE_CHECKING:
    from proxybench.experiment.spec import LoadSpec
    from proxybench.load.result import LoadResult
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.places import Places
    from proxybench.scenarios.recorder import Recorder

MOST_FAILED = 0.01
"""A point of which a greater share failed is broken: what its other connections took says nothing of its load."""

_KINDS = {
    "wrong-endpoint": Metric.LOAD_WRONG_ENDPOINT,
    "refused": Metric.LOAD_REFUSED,
    TIMEOUT: Metric.LOAD_UNANSWERED,
    UNSERVED: Metric.LOAD_UNSERVED,
}
_TIMEOUT_MS = 2000
_GUEST_IS_SLOW = 3.0  # a second of an emulated guest takes that many of the orchestrator's
_IMPORT_LIMIT = 300.0  # seconds; importing locust takes 47 s in an emulated guest, more in an overloaded one


@dataclass(frozen=True)
class Load:
    """The load of an experiment at one size."""

    name: ClassVar = str(Scenario.LOAD)
    vital: ClassVar = False

    spec: LoadSpec

    def run(self, step: StepContext) -> None:
        """Run it and record every connection. Raises MeasurementError, also when the point is broken; HostError."""
        opened = usage.begin(step)
        result = self._connections(step)
        record(step.recorder, result)
        usage.end(step, Scenario.LOAD, opened)
        if not result.failures:
            return
        kinds = ", ".join(f"{count} x {kind}" for kind, count in result.failures.items())
        told = f"{result.failed} of {result.slots} connections failed: {kinds}"
        if broken(result):
            raise MeasurementError(f"broken, since more than {100 * MOST_FAILED:g} % of it failed: {told}")
        step.result.notes.append(f"load: {told}")

    def _connections(self, step: StepContext) -> LoadResult:
        if step.load is None:
            raise MeasurementError("locust was not started")
        load = plan(self.spec, step.places)
        step.load.ready(step.deadline.left(_IMPORT_LIMIT))
        return step.load.run(load, step.clocks, step.deadline.left(time_limit(load) * _GUEST_IS_SLOW))


def plan(spec: LoadSpec, places: Places) -> LoadPlan:
    """Return the load for a cell: Services spread evenly over all positions, each with endpoints in one place."""
    population = places.population
    chosen = [place.index for place in places.spread(spec.services_used)]
    targets = tuple(
        Target(population.plan.vip(index), PORT, tuple(pod.address for pod in population.pods(index)))
        for index in chosen
    )
    return LoadPlan(targets, spec.rate / spec.users, spec.users, spec.duration, _TIMEOUT_MS)


def broken(result: LoadResult) -> bool:
    """Tell whether too many connections failed for the others' times to mean anything."""
    return result.failed > MOST_FAILED * result.slots


def record(recorder: Recorder, result: LoadResult) -> None:
    """Record what was offered, achieved and failed, by kind; and unless the point is broken, what connections took."""
    _record_counts(recorder, result)
    if not broken(result):
        _record_times(recorder, result)


def _record_counts(recorder: Recorder, result: LoadResult) -> None:
    counts = {metric: result.failures.get(kind, 0) for kind, metric in _KINDS.items()}
    rates = {Metric.LOAD_OFFERED: round(result.offered), Metric.LOAD_ACHIEVED: round(result.achieved)}
    share = round(1_000_000 * result.failed / result.slots)
    failed = {Metric.LOAD_FAILURE_RATE: share, Metric.LOAD_FAILED: result.failed}
    for metric, value in (rates | failed | counts).items():
        recorder.add(metric, Scenario.LOAD, value, where=cluster_ip())


def _record_times(recorder: Recorder, result: LoadResult) -> None:
    """Record service times (connect() to first byte), times from the intended start, and the generator's own lag.

    Whoever was answered too late waited at least the limit: a censored sample. Who was refused, answered by a wrong
    endpoint or never served has no time at all. A generator sleeps until a start: by the instruction clock that wait is
    the host's, so nothing is counted from it.
    """
    where = cluster_ip()
    late = [result.timeout_ns] * result.failures.get(TIMEOUT, 0)
    series = [(Metric.FORWARDING_LOAD, result.first_byte_ns, 0)]
    if recorder.clock_kind is ClockKind.WALL:
        lags = result.lag_ns.tolist()
        # What the generator itself was late by is in the time from the intended start, and no proxy's doing.
        series.append((Metric.FORWARDING_LOAD_INTENDED, result.intended_ns, round(median(lags)) if lags else 0))
        recorder.add_all(Metric.LOAD_LAG, Scenario.LOAD, lags, where=where)
    for metric, values, unsure in series:
        recorder.add_all(metric, Scenario.LOAD, values.tolist(), uncertainty=unsure, where=where)
        recorder.add_all(metric, Scenario.LOAD, late, censored=True, where=where)
