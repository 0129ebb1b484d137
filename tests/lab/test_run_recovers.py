"""A run that loses a node's connection in the middle of a step: that step fails, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.labs import descendants, eventually, processes_naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

HOME = Path(__file__).parents[2]
PROGRAM = "from proxybench.cli.main import entry; entry()"
LOOP = "refproxy --config"  # not the trial of a mode
EXPERIMENT = """\
version: 1
name: recovers
target: {lab: {kind: netns}}
modes: [iptables]
scale: {services: [5, 10]}
repetitions: 1
measure: {sync: {scenarios: [cold-start], timeout: 10s}, cpu: {idle: 4s}}
limits: {cell: 60s}
"""


class Running:
    """A run that is under way in a folder of its own; what it says is read from a file."""

    def __init__(self, folder: Path) -> None:
        (folder / "experiment.yaml").write_text(EXPERIMENT)
        (folder / "scratch").mkdir()
        self.said_file = folder / "said"
        command = [sys.executable, "-c", PROGRAM, "run", str(folder / "experiment.yaml"), "--out", str(folder / "out")]
        with self.said_file.open("w") as said:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd=HOME,
                env={**os.environ, "TMPDIR": str(folder / "scratch")},
            )

    def said(self) -> str:
        return self.said_file.read_text()

    def until(self, found: Callable[[], object]) -> None:
        deadline = time.monotonic() + 90
        while not found():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def control_loops(self) -> list[int]:
        return [pid for pid, command in descendants(self.process.pid).items() if LOOP in command]


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    one = Running(folder)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
    assert eventually(lambda: processes_naming(str(folder / "scratch"))) == {}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def sshd_of(loop: int) -> int:
    """Return the sshd process of the connection over which a control loop's agent is asked."""
    agent = parent(loop)
    assert b"serve" in Path(f"/proc/{agent}/cmdline").read_bytes().split(b"\0")
    sshd = parent(agent)
    assert Path(f"/proc/{sshd}/comm").read_text().startswith("sshd")
    return sshd


def kill_sshd(loop: int) -> None:
    os.kill(sshd_of(loop), signal.SIGKILL)


def kill_sshd_and_agent(loop: int) -> None:
    """Leave nobody who would end the control loop."""
    sshd = sshd_of(loop)
    os.kill(parent(loop), signal.SIGKILL)
    os.kill(sshd, signal.SIGKILL)


def freeze_agent(loop: int) -> None:
    """Keep the connection, over which no answer comes any more."""
    os.kill(parent(loop), signal.SIGSTOP)


@pytest.mark.timeout(250)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (kill_sshd, "node1: "),
        (kill_sshd_and_agent, "node1: "),
        (freeze_agent, "said nothing within"),
    ],
)
def test_a_lost_connection_costs_one_point(tmp_path: Path, spoil: Callable[[int], None], words: str) -> None:
    with running(tmp_path) as run:
        run.until(lambda: "[1/2]" in run.said())
        run.until(run.control_loops)
        (loop,) = run.control_loops()
        spoil(loop)
        code = run.process.wait(200)
        said = run.said()
    assert code == 3, said
    assert "Traceback" not in said
    assert "connected anew; cleaning the nodes" in said
    folder = tmp_path / "out/recovers/latest"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [(step["cell"]["services"], step["state"]) for step in manifest["matrix"]] == [(5, "failed"), (10, "done")]
    assert words in manifest["matrix"][0]["problem"]
    metrics = {
        record["metric"] for record in json.loads((folder / "summary.json").read_text()) if record["services"] == 10
    }
    assert {"sync.end_to_end", "cpu.control_loop"} <= metrics
    assert list((tmp_path / "scratch").iterdir()) == []
