"""The whole run, on a target in memory: what becomes of it when that fails, or when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import LabError, ResultsError, RunError, UsageError
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, Metric, Mode, Point, Sample, Scenario
from proxybench.nodes.machine import Machine
from proxybench.results.folder import open_run
from proxybench.run.leg import Leg
from proxybench.run.lineup import Lineup
from proxybench.run.run import Run
from proxybench.scenarios.result import StepResult
from proxybench.targets.base import TargetFacts
from proxybench.testing.clock import FakeClock
from tests.unit.run.log import ProgressLog
from tests.unit.run.world import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from proxybench.deadline import Deadline
    from proxybench.experiment.matrix import Step
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.run.session import Assignment

SPEC = {"version": 1, "name": "t", "modes": ["ipvs"], "scale": {"services": [10]}, "measure": {"cpu": True}}
EXPERIMENT = Experiment.model_validate(SPEC)


MACHINE = Machine("6.1.0-56", "QEMU", 1, 1 << 30, "1.8.9", "legacy", "3.11.7", {})
NATIVE = TargetFacts("netns", ClockKind.WALL, "none", "as asked")


class FakeTarget:
    """Opens clusters, of which none is there, or raises ``error`` instead; ``log`` says what was opened and closed."""

    def __init__(self, clusters: int = 1, error: BaseException | None = None, facts: TargetFacts = NATIVE) -> None:
        self.facts = facts
        self.clusters = clusters
        self.error = error
        self.log: list[str] = []

    def capacity(self) -> int:
        return self.clusters

    @contextmanager
    def open(self, count: int, report: Callable[[str], None]) -> Iterator[tuple[Cluster, ...]]:
        self.log.append(f"open {count}")
        try:
            if self.error:
                raise self.error
            yield (CLUSTER,) * count
        finally:
            self.log.append("close")


class FakeSession:
    """Takes each step as ``take`` does."""

    broken = False

    def __init__(self, assignment: Assignment, take: Callable[[Step], StepResult]) -> None:
        self.assignment = assignment
        self.taken = take

    def capture(self) -> Mapping[str, KernelState]:
        return {}

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        raise AssertionError("no connection was lost")

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        return {"node1": MACHINE}, ["node1"]

    def get_ready(self, whole: Deadline) -> None: ...

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        assert steps == self.assignment.steps

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        return self.taken(step)


def a_run(
    target: FakeTarget | Sequence[FakeTarget],
    take: Callable[[Step], StepResult] = lambda _: StepResult(),
    experiment: Experiment = EXPERIMENT,
    progress: ProgressLog | None = None,
) -> Run:
    def connect(cluster: Cluster, assignment: Assignment, stack: ExitStack) -> FakeSession:
        assert cluster is CLUSTER
        assert (assignment.experiment, assignment.run.startswith("1970")) == (experiment, True)
        return FakeSession(assignment, take)

    lineup = Lineup({spec.subject: spec for spec in requests(experiment)}, {})
    targets = [target] if isinstance(target, FakeTarget) else target
    return Run(experiment, [Leg(one, connect) for one in targets], progress or ProgressLog(), lineup, FakeClock())


def sample(step: Step) -> Sample:
    point = Point(step.cell.subject, step.cell.services, 2, Scenario.IDLE)
    return Sample(
        "r", point, step.repetition, "node1", Metric.CPU_WINDOW, 9, "ns", ClockKind.WALL, censored=False, at=5
    )


def the_manifest(out: Path) -> dict[str, Any]:
    (path,) = (path for path in (out / "t").glob("*/manifest.json") if not path.parent.is_symlink())
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_step_is_taken_and_the_clusters_are_given_back(tmp_path: Path) -> None:
    target, progress = FakeTarget(), ProgressLog()
    outcome = a_run(target, progress=progress).start(tmp_path)
    assert (outcome.problems, outcome.records) == ((), ())
    assert target.log == ["open 1", "close"]
    assert progress.stages == ["opening a cluster", "connecting to the nodes"]
    assert progress.plans == [(3, 1)]
    manifest = the_manifest(tmp_path)
    assert (manifest["state"], [step["state"] for step in manifest["matrix"]]) == ("complete", ["done"] * 3)


def test_a_worker_whose_disk_refuses_ends_no_other(tmp_path: Path) -> None:
    failed = Event()

    def take(step: Step) -> StepResult:
        if step.cell.services != 20:
            (folder,) = (path for path in (tmp_path / "t").iterdir() if not path.is_symlink())
            (folder / "logs/log").mkdir(exist_ok=True)
            failed.set()
            return StepResult(logs={"log": "it cannot be written"})
        assert failed.wait(10)
        return StepResult()

    several = Experiment.model_validate({**SPEC, "repetitions": 1, "scale": {"services": [10, 20, 30]}})
    target = FakeTarget(3)
    outcome = a_run(target, take, several).start(tmp_path)
    (problem,) = outcome.problems
    assert problem.startswith(f"{outcome.folder}/logs/log: cannot be written (Is a directory)")
    assert target.log == ["open 3", "close"]
    states = {step["cell"]["services"]: step["state"] for step in the_manifest(tmp_path)["matrix"]}
    assert states == {10: "pending", 20: "done", 30: "pending"}


def test_a_cluster_that_cannot_be_had_is_the_runs_problem(tmp_path: Path) -> None:
    target = FakeTarget(error=LabError("no room"))
    outcome = a_run(target).start(tmp_path)
    assert (outcome.problems, outcome.records) == (("no room",), ())
    assert target.log == ["open 1", "close"]
    assert the_manifest(tmp_path)["state"] == "incomplete"


def test_an_interrupt_goes_through_once_the_clusters_are_gone_and_the_folder_says_so(tmp_path: Path) -> None:
    target = FakeTarget(error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        a_run(target).start(tmp_path)
    assert target.log == ["open 1", "close"]
    assert the_manifest(tmp_path)["state"] == "interrupted"


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_cluster_of_others_is_given_back_when_the_worker_has_ended(tmp_path: Path) -> None:
    target = FakeTarget(facts=replace(NATIVE, starts_proxies=False))
    leg = Leg(target, lambda cluster, assignment, stack: Writing(assignment, lambda _: StepResult()))

    class Writing(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)  # a Ctrl-C in the middle of a step
            assert leg.stop.wait(10)
            time.sleep(0.3)  # a write that is under way
            target.log.append("written")
            return super().take(step, whole, report)

    lineup = Lineup({spec.subject: spec for spec in requests(EXPERIMENT)}, {})
    with pytest.raises(KeyboardInterrupt):
        Run(EXPERIMENT, [leg], ProgressLog(), lineup, FakeClock()).start(tmp_path)
    assert target.log == ["open 1", "written", "close"]
    assert the_manifest(tmp_path)["state"] == "interrupted"


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_worker_that_does_not_notice_is_cut_before_the_cluster_is_given_back(tmp_path: Path) -> None:
    """What it would still write reaches nobody: its connections are gone by then."""
    target = FakeTarget(facts=replace(NATIVE, starts_proxies=False))
    gone = Event()

    class Deaf(FakeSession):
        def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)
            assert gone.wait(10)
            time.sleep(0.2)
            target.log.append("noticed")
            raise RunError("the connection is closed")

    def connect(cluster: Cluster, assignment: Assignment, stack: ExitStack) -> FakeSession:
        stack.callback(gone.set)
        stack.callback(target.log.append, "cut")
        return Deaf(assignment, lambda _: StepResult())

    lineup, progress = Lineup({spec.subject: spec for spec in requests(EXPERIMENT)}, {}), ProgressLog()
    run = Run(EXPERIMENT, [Leg(target, connect)], progress, lineup, FakeClock(), patience=0.1)
    with pytest.raises(KeyboardInterrupt):
        run.start(tmp_path)
    assert target.log == ["open 1", "cut", "close", "noticed"]
    assert progress.notes == [
        "a step has not ended within 0.1 s; its connections are cut, and the cluster is given back"
    ]
    assert [step["state"] for step in the_manifest(tmp_path)["matrix"]] == ["pending"] * 3


BOTH = Experiment.model_validate(
    {**SPEC, "modes": ["ipvs", "iptables"], "repetitions": 1, "target": {"lab": {"clock": ["wall", "instructions"]}}}
)


def the_two(error: BaseException | None = None) -> list[FakeTarget]:
    """Return this kernel without IPVS, and a guest."""
    native = TargetFacts("netns", ClockKind.WALL, "none", "without ipvs", lacks={(Mode.IPVS, "legacy"): "no ip_vs"})
    guest = TargetFacts("vm", ClockKind.INSTRUCTIONS, "tcg", "as asked", "6.1")
    return [FakeTarget(error=error, facts=native), FakeTarget(facts=guest)]


def test_with_two_clocks_each_has_its_lab_and_the_modes_that_run_there(tmp_path: Path) -> None:
    native, guest = the_two()
    progress = ProgressLog()
    outcome = a_run([native, guest], experiment=BOTH, progress=progress).start(tmp_path)
    assert (outcome.problems, native.log, guest.log) == ((), ["open 1", "close"], ["open 1", "close"])
    assert progress.plans == [(1, 1), (2, 1)]
    manifest = the_manifest(tmp_path)
    assert [(step["index"], step["cell"]["subject"]["mode"], step["clock"]) for step in manifest["matrix"]] == [
        (1, "iptables", "wall"),
        (2, "ipvs", "instructions"),
        (3, "iptables", "instructions"),
    ]
    assert [lab["clock"] for lab in (manifest["lab"], *manifest["other_labs"])] == ["wall", "instructions"]
    (missing,) = manifest["not_measured"]
    assert missing["reason"] == "reference 0.1.0 (iptables=legacy): not by the wall clock: no ip_vs"
    assert manifest["fingerprint"]["nodes"].keys() == {"node1 (wall)", "node1 (instructions)"}


def test_where_one_clock_cannot_be_had_the_other_goes_on(tmp_path: Path) -> None:
    native, guest = the_two(error=LabError("no room"))
    outcome = a_run([native, guest], experiment=BOTH).start(tmp_path)
    assert (outcome.problems, guest.log) == (("no room",), ["open 1", "close"])
    manifest = the_manifest(tmp_path)
    assert (manifest["state"], [step["state"] for step in manifest["matrix"]]) == (
        "incomplete",
        ["pending", "done", "done"],
    )
    resumed = a_run(the_two(), experiment=BOTH).resume(outcome.folder)
    assert (resumed.problems, the_manifest(tmp_path)["state"]) == ((), "complete")


def test_a_run_of_two_clocks_is_not_resumed_by_one(tmp_path: Path) -> None:
    folder = a_run(the_two(error=LabError("no room")), experiment=BOTH).start(tmp_path).folder
    with pytest.raises(UsageError, match="ran in another kind of lab or by another clock"):
        a_run(the_two()[:1], experiment=BOTH).resume(folder)


def test_a_run_is_resumed_with_what_is_left(tmp_path: Path) -> None:
    taken: list[int] = []

    def take(step: Step) -> StepResult:
        taken.append(step.index)
        return StepResult(problems=["no"] if len(taken) == 2 else [])

    folder = a_run(FakeTarget(), take).start(tmp_path).folder
    progress = ProgressLog()
    outcome = a_run(FakeTarget(), take, progress=progress).resume(folder)
    assert (taken, outcome.problems) == ([1, 2, 3, 2], ())
    assert progress.notes == ["resuming: 2 of 3 steps are done"]
    assert the_manifest(tmp_path)["state"] == "complete"


def test_a_step_whose_samples_are_lost_is_taken_again(tmp_path: Path) -> None:
    taken: list[int] = []

    def take(step: Step) -> StepResult:
        taken.append(step.index)
        return StepResult([sample(step)], problems=["no"] if step.index == 3 and len(taken) == 3 else [])

    folder = a_run(FakeTarget(), take).start(tmp_path).folder
    (folder / "parts/part-000001.parquet").write_bytes(b"PAR1")
    progress = ProgressLog()
    outcome = a_run(FakeTarget(), take, progress=progress).resume(folder)
    assert (taken, outcome.problems) == ([1, 2, 3, 1, 3], ())
    assert progress.notes[0] == "resuming: 1 of 3 steps are done"
    assert progress.notes[1].startswith(f"{folder}/parts/part-000001.parquet: cannot be read as samples (")
    assert progress.notes[1].endswith("; its step is measured again")
    assert len(open_run(folder).samples()) == 3


def test_a_run_that_still_goes_on_is_not_resumed_beside_itself(tmp_path: Path) -> None:
    refused: list[str] = []

    def take(step: Step) -> StepResult:
        (folder,) = (tmp_path / "t").iterdir()
        with pytest.raises(ResultsError) as raised:
            a_run(FakeTarget()).resume(folder)
        refused.append(str(raised.value))
        return StepResult(problems=["no"])

    folder = a_run(FakeTarget(), take).start(tmp_path).folder
    assert refused == [f"{folder}: another proxybench is measuring into it; wait until that has ended"] * 3
    assert not (folder / "parts/abandoned").exists()
    assert a_run(FakeTarget()).resume(folder).problems == ()


def test_a_fault_of_our_own_outside_of_steps_is_the_runs_problem(tmp_path: Path) -> None:
    def connect(cluster: Cluster, assignment: Assignment, stack: ExitStack) -> FakeSession:
        raise KeyError("nowhere")

    target = FakeTarget()
    leg = Leg(target, connect)
    lineup = Lineup({spec.subject: spec for spec in requests(EXPERIMENT)}, {})
    outcome = Run(EXPERIMENT, [leg], ProgressLog(), lineup, FakeClock()).start(tmp_path)
    assert outcome.problems == ("unexpected KeyError: 'nowhere'",)
    assert (target.log, the_manifest(tmp_path)["state"]) == (["open 1", "close"], "incomplete")


def test_a_run_is_not_resumed_with_another_experiment(tmp_path: Path) -> None:
    folder = a_run(FakeTarget(error=LabError("no room"))).start(tmp_path).folder
    other = Experiment.model_validate({**SPEC, "repetitions": 7})
    with pytest.raises(UsageError) as raised:
        a_run(FakeTarget(), experiment=other).resume(folder)
    assert str(raised.value) == f"{folder}: was made from another experiment; resume it with the one that it holds"


def test_what_measures_loads_nothing_that_draws() -> None:
    script = "import sys, proxybench.run.run, proxybench.run.session as _; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
