"""The main job: from an experiment to a folder of results and its report."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from proxybench import __version__
from proxybench.errors import ConnectionLostError, ProxybenchError, RunError
from proxybench.experiment.matrix import expand
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.lab.choose import choose
from proxybench.proxiers.reference_driver import ReferenceProxier
from proxybench.report.page import write_report
from proxybench.results.folder import RunFolder, open_run
from proxybench.results.manifest import (
    Conformance,
    Fingerprint,
    LabFacts,
    Manifest,
    NodeFacts,
    NotMeasured,
    ProxierFacts,
)
from proxybench.results.manifest import Step as StepFacts
from proxybench.runner.bench import Bench, address_plan, read_machines, start_agents
from proxybench.runner.deadline import Deadline
from proxybench.runner.outcome import RunOutcome
from proxybench.runner.population import Populator
from proxybench.runner.step import StepResult, StepRunner
from proxybench.stats.summary import summarise
from proxybench.units import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.lab.choose import Choice
    from proxybench.runner.progress import Progress
    from proxybench.units import Clock


def run_experiment(
    experiment: Experiment, out: Path, *, resume: Path | None, progress: Progress, clock: Clock | None = None
) -> RunOutcome:
    """Walk the matrix in a lab and write results below ``out``, or go on with the run in ``resume``.

    What was measured is on disk after every step. Raises ProxybenchError when the run cannot go on at all, and lets an
    interrupt through, after the lab is gone and the folder says so.
    """
    return _Run(experiment, progress, clock or SystemClock()).go(out, resume)


class _Run:
    """One run: its folder, its manifest so far, and what remains to be done."""

    def __init__(self, experiment: Experiment, progress: Progress, clock: Clock) -> None:
        self._experiment = experiment
        self._progress = progress
        self._clock = clock
        self._steps = expand(experiment)
        self._problems: list[str] = []
        self._folder: RunFolder
        self._manifest: Manifest

    def go(self, out: Path, resume: Path | None) -> RunOutcome:
        """Do it all."""
        spec = self._experiment
        self._progress.stage("looking at what this machine can do")
        choice = choose(spec.target.lab.kind, spec.target.lab.clock, spec.modes, self._progress.note)
        self._progress.note(f"lab: {choice.kind}, clock: {choice.settings.clock} ({choice.why})")
        done = self._open(out, resume, choice)
        try:
            self._walk(choice, [step for step in self._steps if step.index not in done])
        except KeyboardInterrupt:
            self._end("interrupted")
            raise
        except ProxybenchError as error:
            self._problems.append(str(error))
        return self._finish()

    def _open(self, out: Path, resume: Path | None, choice: Choice) -> tuple[int, ...]:
        if resume is None:
            self._folder = RunFolder.create(out, self._experiment.name, self._clock)
            self._manifest = self._first_manifest(choice)
            self._folder.write_manifest(self._manifest)
            return ()
        self._folder = open_run(resume)
        done = self._folder.resume()
        self._manifest = self._folder.manifest
        wanted = self._experiment.model_dump(mode="json")
        if self._manifest.experiment != wanted:
            raise RunError(f"{resume}: was made from another experiment; resume it with the one that it holds")
        if (self._manifest.lab.kind, self._manifest.lab.clock) != (choice.kind, choice.settings.clock):
            raise RunError(f"{resume}: ran in another kind of lab or by another clock; one run never mixes them")
        return done

    def _walk(self, choice: Choice, steps: Sequence[Step]) -> None:
        spec = self._experiment
        whole = Deadline(self._clock, spec.limits.run, "the run")
        with ExitStack() as stack:
            self._progress.stage("building the lab")
            lab = choice.make(self._progress.note)
            stack.callback(lab.down)
            inventory = lab.up()
            self._progress.stage("connecting to the nodes")
            fleet = stack.enter_context(Fleet.connect(inventory))
            agents = start_agents(fleet, inventory)
            for agent in agents.values():
                stack.callback(agent.close)
            api = stack.enter_context(KubernetesServiceApi(inventory.api.url, inventory.api.token))
            executors = {node.name: fleet[node.name] for node in inventory.nodes}
            bench = Bench(
                run=self._folder.run,
                experiment=spec,
                inventory=inventory,
                executors=executors,
                agents=agents,
                api=api,
                plan=address_plan(inventory),
                clock=self._clock,
            )
            for node in inventory.with_role("proxy"):
                api.put_node(node.name, node.address, node.pod_cidr or "")
            self._describe(bench)
            self._progress.plan(steps)
            populator = Populator(api, bench.plan)
            for step in steps:
                self._take(bench, populator, step, whole)

    def _take(self, bench: Bench, populator: Populator, step: Step, whole: Deadline) -> None:
        self._progress.step_started(step)
        started = self._clock.monotonic_ns()
        try:
            result = self._measure(bench, populator, step, whole)
        except ConnectionLostError as error:
            self._note_step(step, self._since(started), [f"{error}"])
            raise
        except ProxybenchError as error:
            result = StepResult(problems=[str(error)])
        self._folder.add(result.samples)
        for name, text in result.logs.items():
            self._folder.write_log(name, text)
        seconds = self._since(started)
        cell = step.cell
        checks = [Conformance(cell.mode, cell.services, c.check, c.passed, c.detail) for c in result.checks]
        self._manifest = replace(self._manifest, conformance=(*self._manifest.conformance, *checks))
        self._note_step(step, seconds, result.problems)
        if not result.problems:
            self._folder.checkpoint(step.index)
        self._progress.step_finished(step, seconds, "; ".join(result.problems) or None)

    def _measure(self, bench: Bench, populator: Populator, step: Step, whole: Deadline) -> StepResult:
        spec, cell = self._experiment, step.cell
        sync = spec.measure.sync
        batch = sync.batch.of(cell.services) if sync and "add-batch" in sync.scenarios else 0
        deadline = Deadline(self._clock, spec.limits.cell, "the step", whole)
        deadline.left(1)
        say = self._progress.step_activity
        population = populator.reach(cell.services, cell.endpoints_per_service, batch, say)
        proxiers = tuple(
            ReferenceProxier(bench.agents[node.name], bench.executors[node.name], node, bench.inventory, self._clock)
            for node in bench.proxy_nodes
        )
        result = StepRunner(bench, step, population, proxiers, deadline, say).take()
        populator.restore(population, batch)
        return result

    def _note_step(self, step: Step, seconds: float, problems: list[str]) -> None:
        cell = step.cell
        text = "; ".join(problems)
        facts = StepFacts(
            step.index, step.repetition, cell, "failed" if problems else "done", round(seconds, 3), text or None
        )
        matrix = tuple(facts if old.index == step.index else old for old in self._manifest.matrix)
        self._manifest = replace(self._manifest, matrix=matrix)
        if problems:
            where = f"{cell.mode} at {cell.services} Services, repetition {step.repetition}"
            self._problems.append(f"{where}: {text}")
            missing = NotMeasured(cell.mode, cell.services, f"repetition {step.repetition}: {text}")
            self._manifest = replace(self._manifest, not_measured=(*self._manifest.not_measured, missing))
        self._folder.write_manifest(self._manifest)

    def _describe(self, bench: Bench) -> None:
        nodes = {name: NodeFacts(**asdict(machine)) for name, machine in read_machines(bench).items()}
        orchestrator = {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        }
        facts = replace(self._manifest.proxier, nodes=tuple(node.name for node in bench.proxy_nodes))
        fingerprint = Fingerprint(orchestrator=orchestrator, nodes=nodes)
        self._manifest = replace(self._manifest, fingerprint=fingerprint, proxier=facts)
        self._folder.write_manifest(self._manifest)

    def _first_manifest(self, choice: Choice) -> Manifest:
        spec = self._experiment
        return Manifest(
            run=self._folder.run,
            name=spec.name,
            created=self._now(),
            lab=LabFacts(choice.kind, choice.settings.clock, choice.settings.accelerator, choice.why),
            proxier=ProxierFacts(
                str(spec.proxier.kind), __version__, spec.proxier.min_sync_period, spec.proxier.sync_period
            ),
            command=("proxybench", *sys.argv[1:]),
            proxybench=__version__,
            experiment=spec.model_dump(mode="json"),
            matrix=tuple(StepFacts(step.index, step.repetition, step.cell) for step in self._steps),
        )

    def _finish(self) -> RunOutcome:
        undone = [step for step in self._manifest.matrix if step.state != "done"]
        self._end("incomplete" if undone else "complete")
        self._progress.stage("writing the report")
        records = summarise(self._folder.samples())
        self._folder.finish(records)
        report = write_report(self._folder.path) if records else None
        rows = tuple(asdict(record) for record in records)
        return RunOutcome(self._folder.path, report, tuple(self._problems), rows)

    def _end(self, state: str) -> None:
        self._manifest = replace(self._manifest, state=state, finished=self._now())  # type: ignore[arg-type] # one of its words
        self._folder.write_manifest(self._manifest)

    def _since(self, started: int) -> float:
        return (self._clock.monotonic_ns() - started) / NS_PER_S

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.utc_ns() / NS_PER_S, UTC).isoformat(timespec="seconds")
