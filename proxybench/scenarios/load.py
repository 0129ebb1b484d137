"""Concurrent new connections at a set rate: locust on the client nodes, and its raw records."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.load.command import time_limit
from proxybench.load.plan import LoadPlan, Target
from proxybench.model import ClockKind, Metric, Scenario
from proxybench.scenarios import usage
from proxybench.scenarios.recorder import cluster_ip

if TYPE_CHECKING:
    from proxybench.experiment.spec import LoadSpec
    from proxybench.load.result import LoadResult
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.places import Places
    from proxybench.scenarios.recorder import Recorder

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
        """Run it and record every connection. Raises MeasurementError, HostError."""
        opened = usage.begin(step)
        result = self._connections(step)
        record(step.recorder, result)
        usage.end(step, Scenario.LOAD, opened)
        if result.failures:
            kinds = ", ".join(f"{count} x {kind}" for kind, count in result.failures.items())
            step.result.notes.append(f"load: {result.censored} connections failed: {kinds}")

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


def record(recorder: Recorder, result: LoadResult) -> None:
    """Record service times (connect() to first byte) and times from the intended start; failures are censored.

    How late the generator itself was, the rates that were offered and achieved, and the number of failures are metrics
    of their own: they say whether the point can be trusted. A generator sleeps until a start. By the instruction clock
    that wait is the host's, so nothing is counted from it.
    """
    where = cluster_ip()
    series = [(Metric.FORWARDING_LOAD, result.first_byte_ns, 0)]
    if recorder.clock_kind is ClockKind.WALL:
        lags = result.lag_ns.tolist()
        # What the generator itself was late by is in the time from the intended start, and no proxy's doing.
        series.append((Metric.FORWARDING_LOAD_INTENDED, result.intended_ns, round(median(lags)) if lags else 0))
        recorder.add_all(Metric.LOAD_LAG, Scenario.LOAD, lags, where=where)
    for metric, values, unsure in series:
        recorder.add_all(metric, Scenario.LOAD, values.tolist(), uncertainty=unsure, where=where)
        recorder.add_all(metric, Scenario.LOAD, [result.timeout_ns] * result.censored, censored=True, where=where)
    for metric, rate in ((Metric.LOAD_OFFERED, result.offered), (Metric.LOAD_ACHIEVED, result.achieved)):
        recorder.add(metric, Scenario.LOAD, round(rate), where=where)
    recorder.add(Metric.LOAD_FAILED, Scenario.LOAD, result.censored, where=where)
