"""The run's own record: its folder and manifest, written after every step, by whichever worker took it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from proxybench import __version__
from proxybench.errors import UsageError
from proxybench.metric_facts import methods
from proxybench.model import LabKind
from proxybench.results.folder import RunFolder, open_run
from proxybench.results.manifest import (
    Conformance,
    Fingerprint,
    LabFacts,
    Manifest,
    NodeFacts,
    NotMeasured,
    SubjectFacts,
)
from proxybench.results.manifest import Step as StepFacts
from proxybench.run.leg import why_not
from proxybench.scenarios.plan import not_applicable
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.model import ClockKind, Subject
    from proxybench.nodes.machine import Machine
    from proxybench.results.manifest import RunState, StepState
    from proxybench.run.lineup import Lineup
    from proxybench.scenarios.result import StepResult
    from proxybench.targets.base import TargetFacts
    from proxybench.units import Clock


_SAME = ("kernel", "cpu", "iptables_version", "iptables_backend", "python", "iptables", "nft_version", "real_time")
"""What a node must be throughout a run. What an older program did not note when the run began is not compared."""


class RunJournal:
    """Records what happens; its methods may be called from several threads."""

    def __init__(self, folder: RunFolder, manifest: Manifest, clock: Clock) -> None:
        self.folder = folder
        self._manifest = manifest
        self._clock = clock
        self._lock = Lock()
        self._problems: list[str] = []

    @classmethod
    def create(
        cls,
        out: Path,
        experiment: Experiment,
        steps: Sequence[Step],
        targets: Sequence[TargetFacts],
        clock: Clock,
        lineup: Lineup,
    ) -> RunJournal:
        """Make the folder of a new run and its first manifest; ``targets`` are one for each clock."""
        folder = RunFolder.create(out, experiment.name, clock)
        lab, *others = [
            LabFacts(
                LabKind(target.kind),
                target.clock,
                target.accelerator,
                target.why,
                target.kernel,
                target.exclusive,
                target.starts_proxies,
            )
            for target in targets
        ]
        manifest = Manifest(
            run=folder.run,
            name=experiment.name,
            created=_utc(clock),
            lab=lab,
            other_labs=tuple(others),
            subjects=tuple(
                SubjectFacts(subject, spec.min_sync_period, spec.sync_period, lineup.sources.get(subject, ""))
                for subject, spec in lineup.specs.items()
            ),
            not_measured=_left_out(experiment, targets, lineup),
            methods=dict(methods()),
            command=("proxybench", *sys.argv[1:]),
            proxybench=__version__,
            experiment=experiment.model_dump(mode="json"),
            matrix=tuple(StepFacts(step.index, step.repetition, step.cell, clock=step.clock) for step in steps),
        )
        folder.write_manifest(manifest)
        return cls(folder, manifest, clock)

    @classmethod
    def resume(
        cls, path: Path, experiment: Experiment, targets: Sequence[TargetFacts], clock: Clock
    ) -> tuple[RunJournal, tuple[int, ...]]:
        """Open an unfinished run and return it with the steps that are done. Raises UsageError when it does not fit.

        The others will be taken again: what they brought, and what went wrong in them, no longer counts.
        """
        folder = open_run(path)
        manifest = folder.manifest
        if manifest.experiment != experiment.model_dump(mode="json"):
            raise UsageError(f"{path}: was made from another experiment; resume it with the one that it holds")
        before = [(lab.kind, lab.clock) for lab in manifest.labs]
        if before != [(target.kind, target.clock) for target in targets]:
            raise UsageError(f"{path}: ran in another kind of lab or by another clock; one run never mixes them")
        for lab, target in zip(manifest.labs, targets, strict=True):
            if lab.kernel not in {None, target.kernel}:
                raise UsageError(f"{path}: ran on Linux {lab.kernel}, not {target.kernel}; one run never mixes them")
        done = folder.resume()
        again = replace(
            manifest,
            state="running",
            not_measured=(),
            matrix=tuple(
                step if step.index in done else replace(step, state="pending", seconds=None, problem=None, notes=())
                for step in manifest.matrix
            ),
            conformance=tuple(check for check in manifest.conformance if check.passed),  # one not passed fails its step
        )
        return cls(folder, again, clock), done

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be measured, one line each."""
        with self._lock:
            return tuple(self._problems)

    def record_error(self, text: str) -> None:
        """Record something that is no one step's problem."""
        with self._lock:
            self._problem(" ".join(text.split()))

    def record_machines(self, machines: Mapping[str, Machine], proxies: Sequence[str]) -> None:
        """Record what the nodes and this machine are, and which nodes run a Service proxy.

        Every worker does, again after each lost connection; the clusters of a run are alike, so the first one's word
        stands. A node that is something else by now is a problem: its numbers are not the others'.
        """
        orchestrator = {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        }
        with self._lock:
            known = self._manifest.fingerprint.nodes
            facts = {name: NodeFacts(**asdict(machine)) for name, machine in machines.items()}
            for name in facts.keys() & known.keys():
                self._compare(name, known[name], facts[name])
            if facts.keys() <= known.keys():
                return
            prints = Fingerprint(orchestrator=orchestrator, nodes={**facts, **known})
            ran = dict.fromkeys((*self._manifest.proxy_nodes, *proxies))
            self._write(fingerprint=prints, proxy_nodes=tuple(ran))

    def _compare(self, node: str, before: NodeFacts, now: NodeFacts) -> None:
        changed = [
            f"{field} {getattr(before, field)}, now {getattr(now, field)}"
            for field in _SAME
            if getattr(before, field) and getattr(before, field) != getattr(now, field)
        ]
        if changed:
            self._problem(f"{node} is not what it was when the run began: {'; '.join(changed)}")

    def record_step(self, step: Step, result: StepResult, seconds: float) -> None:
        """Record what a step brought; when this returns, it is on the disk.

        A step of which one part failed has failed, but the samples of its other parts are as good as any.
        """
        cell = step.cell
        checks = tuple(Conformance(cell.mode, cell.services, c.check, c.passed, c.detail) for c in result.checks)
        problem = "; ".join(result.problems)
        text = problem or result.late or result.skipped or None
        state: StepState = "failed" if problem else "skipped" if result.skipped else "done"
        notes = tuple(result.notes)
        facts = StepFacts(step.index, step.repetition, cell, state, round(seconds, 3), text, notes, step.clock)
        with self._lock:
            self.folder.add(result.samples, step.index)
            files = {name: self.folder.write_log(name, log) for name, log in result.logs.items()}
            missing: tuple[NotMeasured, ...] = ()
            if text:
                reason = f"{cell.subject.program}, repetition {step.repetition}: {text}"
                missing = (NotMeasured(cell.mode, cell.services, reason),)
            if problem:
                clock = f" by the {step.clock} clock" if step.clock else ""
                where = f"{cell.subject.label} at {cell.services} Services{clock}, repetition {step.repetition}"
                self._problems.append(f"{where}: {problem}")
            config = files.get(result.config)
            self._write(
                subjects=self._subjects(cell.subject, config, result),
                matrix=tuple(facts if old.index == step.index else old for old in self._manifest.matrix),
                conformance=(*self._manifest.conformance, *checks),
                not_measured=(*self._manifest.not_measured, *missing),
            )
            if state == "done":
                self.folder.checkpoint(step.index)

    def finish(self, state: RunState) -> None:
        """Record how the run ended."""
        with self._lock:
            self._write(state=state, finished=_utc(self._clock))

    @property
    def complete(self) -> bool:
        """Whether every step of the matrix is done, or skipped for a reason that is no fault."""
        with self._lock:
            return all(step.state in {"done", "skipped"} for step in self._manifest.matrix)

    def _subjects(self, subject: Subject, config: Path | None, result: StepResult) -> tuple[SubjectFacts, ...]:
        """Return the facts of the subjects, of this one with what a step told; ``config`` shaped it in that step."""
        place = None if config is None else str(config.relative_to(self.folder.path))

        def now(each: SubjectFacts) -> SubjectFacts:
            least, most = result.periods or (each.min_sync_period, each.sync_period)
            told = replace(each, config=each.config or place, cgroup=each.cgroup or result.cgroup)
            return replace(told, min_sync_period=least, sync_period=most, no_cpu=each.no_cpu or result.no_cpu)

        return tuple(now(each) if each.subject == subject else each for each in self._manifest.subjects)

    def _problem(self, line: str) -> None:
        if line not in self._problems:  # a full disk is each worker's
            self._problems.append(line)

    def _write(self, **changes: object) -> None:
        self._manifest = replace(self._manifest, **changes)  # type: ignore[arg-type] # fields by name
        self.folder.write_manifest(self._manifest)


@dataclass(frozen=True)
class LegJournal:
    """What a worker of one leg records: nodes are told apart by the leg's clock, where there are several."""

    whole: RunJournal
    clock: ClockKind | None

    def record_machines(self, machines: Mapping[str, Machine], proxies: Sequence[str]) -> None:
        """Record what the nodes are."""
        named = {self._name(node): machine for node, machine in machines.items()}
        self.whole.record_machines(named, [self._name(node) for node in proxies])

    def record_step(self, step: Step, result: StepResult, seconds: float) -> None:
        """Record what a step brought."""
        self.whole.record_step(step, result, seconds)

    def _name(self, node: str) -> str:
        return f"{node} ({self.clock})" if self.clock else node


def _lacking(lineup: Lineup, targets: Sequence[TargetFacts]) -> Iterator[NotMeasured]:
    """Yield what some clock has no numbers of."""
    for target in targets:
        for subject, spec in lineup.specs.items():
            if reason := why_not(target, spec):
                text = f"{subject.program}: not by the {target.clock} clock: {reason}"
                yield NotMeasured(subject.mode, None, text)


def _left_out(experiment: Experiment, targets: Sequence[TargetFacts], lineup: Lineup) -> tuple[NotMeasured, ...]:
    """Return what is known beforehand to have no numbers."""
    missing = [
        NotMeasured(subject.mode, None, f"{subject.program}: {reason}") for subject, reason in lineup.missing.items()
    ]
    if reason := not_applicable(experiment.measure, starts=all(target.starts_proxies for target in targets)):
        missing += [NotMeasured(subject.mode, None, f"{subject.program}: {reason}") for subject in lineup.specs]
    return (*missing, *_lacking(lineup, targets))


def _utc(clock: Clock) -> str:
    return datetime.fromtimestamp(clock.utc_ns() / NS_PER_S, UTC).isoformat(timespec="seconds")
