"""The whole run, but without a lab: what becomes of it when there is none, or when it is interrupted."""

from __future__ import annotations

import json
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import LabError, RunError
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, LabKind
from proxybench.run import main
from proxybench.run.step import StepResult
from proxybench.run.worker import Shard
from proxybench.targets.lab.common import Settings
from proxybench.testing.clock import FakeClock
from tests.unit.run.world import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxybench.experiment.matrix import Step
    from proxybench.nodes.cluster import Cluster

SPEC = {"version": 1, "name": "t", "modes": ["ipvs"], "scale": {"services": [10]}, "measure": {"cpu": True}}
EXPERIMENT = Experiment.model_validate(SPEC)


class Told:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None: ...

    def step_started(self, step: Step) -> None: ...

    def step_activity(self, step: Step, text: str) -> None: ...

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None: ...


class Lab:
    """A lab that never comes up."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.downs = 0

    def begin(self) -> None:
        assert self.downs == 0

    def up(self) -> Cluster:
        raise self.error

    def down(self) -> None:
        self.downs += 1


class Choice:
    kind = LabKind.NETNS
    settings = Settings(ClockKind.WALL, "none")
    why = "as asked"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def make(self, say: Callable[[str], None]) -> Lab:
        return self.lab


def a_lab(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Lab:
    lab = Lab(error)
    monkeypatch.setattr(main, "choose", lambda kind, clock, modes, say: Choice(lab))
    return lab


class Up(Lab):
    """A lab that comes up and does nothing."""

    def __init__(self) -> None:
        super().__init__(LabError("never"))

    def up(self) -> Cluster:
        return CLUSTER


def test_a_shard_that_fails_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Up()
    monkeypatch.setattr(main, "choose", lambda kind, clock, modes, say: Choice(lab))
    monkeypatch.setattr(main, "shards_for", lambda experiment, choice: 3)
    failed = Event()

    def work(shard: Shard, cluster: Cluster, steps: Sequence[Step], whole: object) -> None:
        assert cluster is CLUSTER
        if steps[0].cell.services != 20:
            failed.set()
            raise RunError("no space left")
        assert failed.wait(10)
        book = shard._book
        for step in steps:
            book.step_done(step, StepResult(), 1.0)

    monkeypatch.setattr(Shard, "work", work)
    several = Experiment.model_validate({**SPEC, "repetitions": 1, "scale": {"services": [10, 20, 30]}})
    outcome = main.run_experiment(several, tmp_path, resume=None, progress=Told(), clock=FakeClock())
    assert outcome.problems == ("no space left",)
    assert lab.downs == 3
    states = {step["cell"]["services"]: step["state"] for step in the_manifest(tmp_path)["matrix"]}
    assert states == {10: "pending", 20: "done", 30: "pending"}


def the_manifest(out: Path) -> dict[str, Any]:
    (path,) = (path for path in (out / "t").glob("*/manifest.json") if not path.parent.is_symlink())
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_lab_that_cannot_be_built_is_the_runs_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = a_lab(monkeypatch, LabError("no room"))
    told = Told()
    outcome = main.run_experiment(EXPERIMENT, tmp_path, resume=None, progress=told, clock=FakeClock())
    assert (outcome.problems, outcome.report, outcome.records) == (("no room",), None, ())
    assert lab.downs == 1
    assert the_manifest(tmp_path)["state"] == "incomplete"
    assert told.stages[0] == "looking at what this machine can do"
    assert "lab: netns, clock: wall (as asked)" in told.notes


def test_an_interrupt_goes_through_once_the_lab_is_gone_and_the_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = a_lab(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        main.run_experiment(EXPERIMENT, tmp_path, resume=None, progress=Told(), clock=FakeClock())
    assert lab.downs == 1
    assert the_manifest(tmp_path)["state"] == "interrupted"


def test_a_run_is_not_resumed_with_another_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_lab(monkeypatch, LabError("no room"))
    folder = main.run_experiment(EXPERIMENT, tmp_path, resume=None, progress=Told(), clock=FakeClock()).folder
    other = Experiment.model_validate({**SPEC, "repetitions": 7})
    with pytest.raises(RunError) as raised:
        main.run_experiment(other, tmp_path, resume=folder, progress=Told(), clock=FakeClock())
    assert str(raised.value) == (f"{folder}: was made from another experiment; resume it with the one that it holds")
