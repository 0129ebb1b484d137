"""Puts together what measures, and runs it: importing this module imports all of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.requests import requests
from proxybench.run.run import Run
from proxybench.run.session import Sessions
from proxybench.subjects.reference import ReferenceDriver
from proxybench.targets.registry import make_target
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.experiment.spec import Experiment
    from proxybench.run.outcome import RunOutcome
    from proxybench.run.progress import Progress


def measure(experiment: Experiment, out: Path, *, resume: Path | None, progress: Progress) -> RunOutcome:
    """Run an experiment into a new folder below ``out``, or go on with the run in ``resume``.

    Raises ProxybenchError when the run cannot begin, and lets an interrupt through.
    """
    progress.stage("looking at what this machine can do")
    specs = {spec.subject: spec for spec in requests(experiment)}
    modes = tuple(dict.fromkeys(spec.mode for spec in specs.values()))
    target = make_target(experiment.target, modes, progress.note)
    facts = target.facts
    progress.note(f"target: {facts.kind}, clock: {facts.clock} ({facts.why})")
    drivers = {"reference": ReferenceDriver(SystemClock())}
    run = Run(experiment, target, Sessions(drivers, specs).connect, progress)
    return run.start(out) if resume is None else run.resume(resume)
