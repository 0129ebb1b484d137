"""Stands for a run in the lab: writes a folder of made-up samples for every step of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proxybench.experiment.matrix import expand
from proxybench.model import CLUSTER_IP, ClockKind, LabKind, Metric, Point, Position, Sample, Scenario
from proxybench.results.folder import RunFolder
from proxybench.results.manifest import Fingerprint, LabFacts, Manifest, NodeFacts, Step, SubjectFacts
from proxybench.run.outcome import RunOutcome
from proxybench.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxybench.experiment.matrix import Step as Planned
    from proxybench.experiment.spec import Experiment
    from proxybench.model import Subject
    from proxybench.run.progress import Progress

LEVEL = 50_000_000  # ns of a sync's CPU


def _same(subject: Subject) -> float:
    return 1.0


@dataclass
class FakeMeasure:
    """``slower`` gives the factor of the CPU of adding one Service; ``fails`` names steps that bring nothing."""

    slower: Callable[[Subject], float] = _same
    fails: Callable[[Subject], bool] = lambda _: False
    noise: float = 0.002
    seed: int = 1
    experiments: list[Experiment] = field(default_factory=list)

    def __call__(self, experiment: Experiment, out: Path, *, resume: Path | None, progress: Progress) -> RunOutcome:
        assert resume is None
        self.experiments.append(experiment)
        steps = expand(experiment)
        progress.plan(steps, 1)
        number = len(self.experiments)
        rng = np.random.default_rng([self.seed, number])
        folder = RunFolder.create(out, experiment.name, FakeClock(number * 10**12, may_sleep=False))
        failed = [step for step in steps if self.fails(step.cell.subject)]
        done = [step for step in steps if step not in failed]
        folder.add(sample for step in done for sample in self._samples(folder.run, experiment, step, rng))
        folder.write_manifest(
            Manifest(
                run=folder.run,
                name=experiment.name,
                created="2026-01-01T00:00:00Z",
                lab=LabFacts(LabKind.VM, ClockKind.INSTRUCTIONS, "tcg"),
                subjects=tuple(SubjectFacts(each, 1.0, 600.0) for each in {step.cell.subject: None for step in steps}),
                state="incomplete" if failed else "complete",
                matrix=tuple(
                    Step(step.index, step.repetition, step.cell, "failed" if step in failed else "done")
                    for step in steps
                ),
                fingerprint=Fingerprint(nodes={"node-1": NodeFacts(kernel="6.1.0", cpu="x")}),
            )
        )
        folder.finish([])
        problems = dict.fromkeys(f"{step.cell.subject.label}: did not start" for step in failed)
        return RunOutcome(folder.path, tuple(problems), ())

    def _samples(self, run: str, experiment: Experiment, step: Planned, rng: np.random.Generator) -> Iterator[Sample]:
        cell, measure = step.cell, experiment.measure
        rows = [(scenario, "none", Position.NONE, Metric.CPU_CONTROL_LOOP) for scenario in _scenarios(experiment)]
        rows.append((Scenario.COLD_START, "none", Position.NONE, Metric.SYNC_END_TO_END))
        if measure.forwarding:
            rows += [
                (Scenario.STEADY, CLUSTER_IP, position, Metric.FORWARDING_CONNECT)
                for position in measure.forwarding.positions
            ]
        for scenario, path, position, metric in rows:
            factor = self.slower(cell.subject) if scenario is Scenario.ADD_ONE else 1.0
            point = Point(cell.subject, cell.services, cell.endpoints_per_service, scenario, path, position=position)
            value = round(LEVEL * factor * np.exp(self.noise * rng.normal()))
            yield Sample(
                run, point, step.repetition, "node-1", metric, value, "ns", ClockKind.INSTRUCTIONS, censored=False, at=0
            )


def _scenarios(experiment: Experiment) -> tuple[Scenario, ...]:
    assert experiment.measure.sync
    return experiment.measure.sync.scenarios
