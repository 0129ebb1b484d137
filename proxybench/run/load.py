"""The locust load of one step: put its plan on the client node, run it there, and read its raw records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.load.command import build_request, folder, time_limit
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import LoadResult, parse
from proxybench.model import CLUSTER_IP, ClockKind, Metric, Scenario

if TYPE_CHECKING:
    from proxybench.deadline import Deadline
    from proxybench.experiment.spec import LoadSpec
    from proxybench.kube.objects import Population
    from proxybench.run.testbed import Testbed
    from proxybench.scenarios.recorder import Recorder

_TIMEOUT_MS = 2000
_GUEST_IS_SLOW = 3.0  # a second of an emulated guest takes that many of the orchestrator's
_IMPORT_LIMIT = 300.0  # seconds; importing locust takes 47 s in an emulated guest, more in an overloaded one


def plan(spec: LoadSpec, population: Population, services: int, output: str) -> LoadPlan:
    """Return the load for a cell: Services spread evenly over all positions, each with endpoints in one place."""
    used = min(spec.services_used, services)
    near = [index for index in range(services) if population.on_first_node(index)]
    chosen = sorted({near[number * (len(near) - 1) // max(1, used - 1)] for number in range(used)})
    targets = tuple(
        Target(population.plan.vip(index), PORT, tuple(pod.address for pod in population.pods(index)))
        for index in chosen
    )
    return LoadPlan(targets, spec.rate / spec.users, spec.users, spec.duration, _TIMEOUT_MS, output)


def run_load(bench: Testbed, population: Population, recorder: Recorder, deadline: Deadline) -> None:
    """Run the load on the client node and record every connection. Raises MeasurementError, HostError."""
    spec = bench.experiment.load
    if spec is None:
        raise MeasurementError("the experiment has no load")
    if bench.load is None:
        raise MeasurementError("locust was not started")
    place = folder(bench.client.node.workdir)
    executor = bench.client.executor
    load = plan(spec, population, recorder.cell.services, f"{place}/records")
    executor.put(load.to_json(), f"{place}/plan.json")
    request = build_request(
        load,
        locustfile_path=f"{place}/locustfile.py",
        plan_path=f"{place}/plan.json",
        log_path=f"{place}/log",
    )
    bench.load.ready(deadline.left(_IMPORT_LIMIT))
    bench.load.run(request, deadline.left(time_limit(load) * _GUEST_IS_SLOW))
    record(recorder, parse(executor.get(load.output).decode()))


def record(recorder: Recorder, result: LoadResult) -> None:
    """Record service times (connect() to first byte) and times from the intended start; failures are censored.

    A generator sleeps until a start. By the instruction clock that wait is the host's, so nothing is counted from it.
    """
    series = [(Metric.FORWARDING_LOAD, result.first_byte_ns)]
    if recorder.clock_kind is ClockKind.WALL:
        series.append((Metric.FORWARDING_LOAD_INTENDED, result.intended_ns))
    for metric, values in series:
        recorder.add_all(metric, Scenario.LOAD, values.tolist(), path=CLUSTER_IP)
        recorder.add_all(metric, Scenario.LOAD, [result.timeout_ns] * result.censored, censored=True, path=CLUSTER_IP)
