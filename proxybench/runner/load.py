"""The locust load of one step: put its plan on the client node, run it there, and read its raw records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.load.command import build_command, locustfile, time_limit
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import LoadResult, parse
from proxybench.measure.recorder import TRAFFIC
from proxybench.model import Metric, Scenario

if TYPE_CHECKING:
    from proxybench.experiment.spec import LoadSpec
    from proxybench.kube.objects import Population
    from proxybench.measure.recorder import Recorder
    from proxybench.runner.bench import Bench
    from proxybench.runner.deadline import Deadline

_TIMEOUT_MS = 2000
_GUEST_IS_SLOW = 3.0  # a second of an emulated guest takes that many of the orchestrator's, and so does the start


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


def run_load(bench: Bench, population: Population, recorder: Recorder, deadline: Deadline) -> None:
    """Run the load on the client node and record every connection. Raises MeasurementError, HostError."""
    spec = bench.experiment.load
    if spec is None:
        raise MeasurementError("the experiment has no load")
    folder = f"{bench.inventory.workdir}/load"
    executor = bench.executors[bench.client.name]
    load = plan(spec, population, recorder.cell.services, f"{folder}/records")
    executor.run(["mkdir", "-p", folder])
    executor.put(locustfile(), f"{folder}/locustfile.py")
    executor.put(load.to_json(), f"{folder}/plan.json")
    argv = build_command(
        load,
        python=bench.inventory.python,
        locustfile_path=f"{folder}/locustfile.py",
        plan_path=f"{folder}/plan.json",
    )
    done = executor.run(argv, timeout=deadline.left(time_limit(load) * _GUEST_IS_SLOW), check=False)
    if done.code:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise MeasurementError(f"locust ended with code {done.code} and said: {said}")
    record(recorder, parse(executor.get(load.output).decode()))


def record(recorder: Recorder, result: LoadResult) -> None:
    """Record service times (connect() to first byte) and times from the intended start; failures are censored."""
    for metric, values in (
        (Metric.FORWARDING_LOAD, result.first_byte_ns),
        (Metric.FORWARDING_LOAD_INTENDED, result.intended_ns),
    ):
        recorder.add_all(metric, Scenario.LOAD, values.tolist(), traffic=TRAFFIC)
        recorder.add_all(metric, Scenario.LOAD, [result.timeout_ns] * result.censored, censored=True, traffic=TRAFFIC)
