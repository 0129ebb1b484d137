"""Runs into a small disk again and again, each time a little larger, so that each kind of write is the one that fails.

Usage: ``unshare --mount --propagation private python -m tests.lab.full_disk FOLDER``: prints a JSON line for each size.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxybench.errors import ProxybenchError
from proxybench.model import ClockKind, Metric, Scenario
from proxybench.report.page import write_report
from proxybench.results.folder import RunFolder, open_run
from proxybench.scenarios.recorder import Recorder, cluster_ip
from proxybench.scenarios.result import StepResult
from proxybench.testing.clock import FakeClock
from tests.unit.run.log import ProgressLog
from tests.unit.run.test_run import FakeTarget, a_run

if TYPE_CHECKING:
    from proxybench.experiment.matrix import Step

SIZES = range(16, 340, 18)
"""KiB: from one on which no run can begin, to one that holds a whole run."""
LARGE = 16_384
SAMPLES = 1500


class Counting(ProgressLog):
    """Counts the steps that were written down."""

    written = 0

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        self.written += 1


def take(step: Step) -> StepResult:
    """Bring samples and a log."""
    result = StepResult(logs={f"{step.index:03d}.log": "a line\n" * 4000})
    recorder = Recorder("r", step.cell, step.repetition, "node1", ClockKind.WALL, FakeClock(), result.samples)
    values = [100_000 + (number * number * step.index) % 99_991 for number in range(SAMPLES)]
    recorder.add_all(Metric.FORWARDING_CONNECT, Scenario.STEADY, values, where=cluster_ip())
    return result


def mount(disk: Path, kib: int, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kib}k"]), "disk", disk], check=True)


def used(disk: Path) -> int:
    return shutil.disk_usage(disk).used // 1024


def tried(call: Any) -> tuple[Any, str, int]:
    """Return what a call returns, and the error and exit code that a user sees."""
    try:
        return call(), "", 0
    except ProxybenchError as error:
        return None, str(error), int(error.exit_code)


def run_into(disk: Path, kib: int) -> dict[str, Any]:
    """Run into a disk of that size; give it room, and resume."""
    mount(disk, kib)
    progress = Counting()
    outcome, error, code = tried(lambda: a_run(FakeTarget(), take, progress=progress).start(disk))
    found = {"kib": kib, "error": error, "code": code, "written": progress.written}
    found["problems"] = list(outcome.problems) if outcome else []
    folders = [path.parent for path in disk.glob("t/*/manifest.json") if not path.parent.is_symlink()]
    if folders:
        (folder,) = folders
        found["kept"] = len(RunFolder(folder).completed_steps()) if (folder / "parts").exists() else progress.written
        mount(disk, LARGE, "remount")
        if (folder / "parts").exists():
            tried(lambda: a_run(FakeTarget(), take).resume(folder))
        run = open_run(folder)
        found |= {"state": run.manifest.state, "rows": len(run.samples()), "summaries": len(run.summary())}
        found["left"] = [path.name for path in folder.rglob(".*")]
    subprocess.run(["umount", disk], check=True)
    return found


def report_into(disk: Path) -> dict[str, Any]:
    """Write a report into a disk that has little room, then into one that has enough."""
    mount(disk, LARGE)
    folder = a_run(FakeTarget(), take).start(disk).folder
    mount(disk, used(disk) + 16, "remount")
    _, error, code = tried(lambda: write_report(folder))
    page = (folder / "report.html").exists()
    rows = len(open_run(folder).samples())
    mount(disk, LARGE, "remount")
    whole, _, _ = tried(lambda: write_report(folder))
    subprocess.run(["umount", disk], check=True)
    return {"error": error, "code": code, "page": page, "rows": rows, "whole": whole is not None}


def main(disk: Path) -> None:
    """Print what became of each."""
    for kib in SIZES:
        sys.stdout.write(json.dumps(run_into(disk, kib)) + "\n")
    sys.stdout.write(json.dumps(report_into(disk)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
