"""A run of many hours in a minute: memory over its steps, the time to write each down, and to resume it.

Run it from the repository: ``python -m benchmarks.long_run [STEPS]``. Steps take no time and bring as many samples as a
real one of a dozen scenarios; all that a run keeps between them is real: its worker, its journal, its folder. It is cut
off after nine tenths, as by a power cut, and then resumed. Memory counts as flat when its growth over the second half
is under a tenth of a MiB per hundred steps.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from benchmarks.silent import Silent
from proxybench.deadline import Deadline
from proxybench.experiment.matrix import expand
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, Metric, Scenario
from proxybench.run.journal import RunJournal
from proxybench.run.lineup import Lineup
from proxybench.run.worker import Worker
from proxybench.scenarios.recorder import NOWHERE, Recorder, cluster_ip
from proxybench.scenarios.result import StepResult
from proxybench.targets.base import TargetFacts
from proxybench.units import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.experiment.matrix import Step
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.nodes.machine import Machine

STEPS: Final = 2_000
CUT: Final = 0.9
LIMIT: Final = 0.1  # MiB per hundred steps
TARGET: Final = TargetFacts("netns", ClockKind.WALL, "none", "made up")
CONNECTIONS: Final = 900
METRICS: Final = (Metric.CPU_CONTROL_LOOP, Metric.CPU_NODE, Metric.CPU_WINDOW, Metric.SYNC_END_TO_END)


class Stops(Silent):
    """Stops the run after so many steps; the memory after each."""

    def __init__(self, stop: Event, after: int) -> None:
        self.stop = stop
        self.left = after
        self.memory: list[float] = []

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Note the memory; stop when it is time."""
        del step, seconds, problem
        self.memory.append(resident())
        self.left -= 1
        if not self.left:
            self.stop.set()


class Quick:
    """A Session whose steps take no time."""

    broken = False

    def capture(self) -> Mapping[str, KernelState]:
        """Capture nothing."""
        return {}

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        """Restore nothing."""

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        """Describe no node."""
        return {}, ["node1"]

    def get_ready(self, whole: Deadline) -> None:
        """Be ready."""

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        """Be warm."""

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        """Bring what a step of a dozen scenarios brings, with a log."""
        del whole, report
        result = StepResult(logs={f"{step.index:03d}-{step.cell.mode}-node1.log": "a line of kube-proxy's\n" * 500})
        recorder = Recorder("r", step.cell, step.repetition, "node1", ClockKind.WALL, SystemClock(), result.samples)
        recorder.add_all(Metric.FORWARDING_CONNECT, Scenario.STEADY, range(CONNECTIONS), where=cluster_ip())
        for scenario in (Scenario.IDLE, Scenario.ADD_ONE, Scenario.DELETE_ONE, Scenario.COLD_START):
            for metric in METRICS:
                recorder.add(metric, scenario, step.index, where=NOWHERE)
        return result


def resident() -> float:
    """Return this process's resident memory in MiB."""
    words = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(words[0]) / 1024


def walk(journal: RunJournal, steps: Sequence[Step], after: int) -> Stops:
    """Take so many of the steps."""
    stop = Event()
    progress = Stops(stop, after)
    Worker(lambda _: Quick(), steps, journal, progress, SystemClock(), stop).work(
        Deadline(SystemClock(), 86_400, "the run")
    )
    return progress


def main() -> int:
    """Take the steps, cut off, resume; return 1 when memory grows."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    sizes = list(range(10, 70))
    subjects = {"modes": ["iptables", "ipvs"], "measure": {"cpu": True}}
    words = {"version": 1, "name": "long", **subjects, "scale": {"services": sizes}}
    experiment = Experiment.model_validate({**words, "repetitions": -(-count // (2 * len(sizes)))})
    lineup = Lineup({spec.subject: spec for spec in requests(experiment)}, {})
    steps = expand(experiment)
    with tempfile.TemporaryDirectory() as base:
        journal = RunJournal.create(Path(base), experiment, steps, (TARGET,), SystemClock(), lineup)
        begun = time.monotonic_ns()
        progress = walk(journal, steps, round(CUT * len(steps)))
        each = (time.monotonic_ns() - begun) / NS_PER_S / len(progress.memory)
        memory = progress.memory
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            place = min(round(share * len(memory)), len(memory) - 1)
            print(f"after {place + 1:5} steps: {memory[place]:.1f} MiB")
        begun = time.monotonic_ns()
        resumed, done = RunJournal.resume(journal.folder.path, experiment, (TARGET,), SystemClock())
        seconds = (time.monotonic_ns() - begun) / NS_PER_S
        walk(resumed, [step for step in steps if step.index not in done], len(steps))
        rows = len(resumed.folder.samples(["value"]))
        manifest = (journal.folder.path / "manifest.json").stat().st_size
    half = memory[len(memory) // 2 :]
    growth = (half[-1] - half[0]) / len(half) * 100
    whole = rows == len(steps) * (CONNECTIONS + 4 * len(METRICS))
    print(f"{len(steps)} steps, {each * 1000:.0f} ms to write each down")
    print(f"memory: {growth:.3f} MiB more per 100 steps (limit {LIMIT})")
    print(f"resumed after {len(done)} steps in {seconds:.2f} s (manifest: {manifest / 1e6:.1f} MB)")
    print(f"samples: {rows:,}, {'all of them, each once' if whole else 'WRONG'}")
    return 0 if growth <= LIMIT and whole else 1


if __name__ == "__main__":
    sys.exit(main())
