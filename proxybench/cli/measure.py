"""Puts together what measures, and runs it: importing this module imports all of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.requests import requests
from proxybench.run.run import Run
from proxybench.run.session import Sessions
from proxybench.subjects.reference import reference_proxies
from proxybench.targets.registry import make_target

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
    modes = tuple(dict.fromkeys(request.mode for request in requests(experiment)))
    target = make_target(experiment.target, modes, progress.note)
    facts = target.facts
    progress.note(f"target: {facts.kind}, clock: {facts.clock} ({facts.why})")
    run = Run(experiment, target, Sessions(reference_proxies).connect, progress)
    return run.start(out) if resume is None else run.resume(resume)
