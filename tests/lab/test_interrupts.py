"""Ctrl-C and its kin at odd moments of a run: one line, their exit code, nothing left, and what is done is kept."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.cache import cache_folder
from proxybench.results.folder import open_run
from proxybench.targets.lab.artifacts import ensure
from proxybench.targets.lab.leftovers import STATE_PREFIX, cgroup_name
from tests.lab.labs import cgroups, descendants, eventually, processes_naming, root_network

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
    pytest.mark.timeout(250),
]

HOME = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "proxybench"]
EXPERIMENT = """\
version: 1
name: odd
target: {lab: {kind: netns}}
modes: [iptables]
scale: {services: [5]}
repetitions: 2
measure: {cpu: {idle: 2s}}
"""
LINES = {
    signal.SIGINT: (130, "error: interrupted"),
    signal.SIGTERM: (143, "error: ended by SIGTERM"),
    signal.SIGHUP: (129, "error: ended by SIGHUP"),
}
AGAIN = "cleaning up; once more to give up"


class Run:
    """A run with a temporary folder of its own, in a session of its own, as of a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        (folder / "odd.yaml").write_text(EXPERIMENT)
        command = [
            "env",
            "--default-signal=HUP",
            *PROGRAM,
            "run",
            str(folder / "odd.yaml"),
            "--out",
            str(folder / "out"),
        ]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HOME,
            env={**os.environ, "TMPDIR": str(self.scratch)},
            start_new_session=True,
        )
        self.said: list[str] = []
        self.below: dict[int, str] = {}
        self.groups: set[str] = set()

    def until(self, sign: str) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if sign in line:
                return
        raise AssertionError(f"{sign!r} was never said: {self.said}")

    def hit(self, number: signal.Signals) -> None:
        """Signal the whole group, as a terminal does: whoever is to clean up must not lose what it needs for that."""
        self.below |= descendants(self.process.pid)
        self.groups |= {cgroup_name(state) for state in self.scratch.glob(f"{STATE_PREFIX}*")}
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[int, list[str]]:
        """Wait for the end; return its code, and what was said since the sign. Nothing may be left."""
        before = len(self.said)
        try:
            self.said += self.process.communicate(timeout=60)[1].splitlines()
        finally:
            self.process.kill()
            self.process.communicate(timeout=20)
        assert not any("Traceback" in line or "Exception" in line for line in self.said), self.said
        assert eventually(lambda: [pid for pid in self.below if Path(f"/proc/{pid}").exists()]) == []
        assert processes_naming(str(self.scratch)) == {}
        assert list(self.scratch.iterdir()) == []
        assert self.groups & {*cgroups("proxybench-")} == set()
        return self.process.returncode, self.said[before:]

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self.folder / "out/odd").glob("2*/manifest.json")]


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    network = root_network()
    yield
    assert root_network() == network


@pytest.mark.parametrize(
    ("sign", "after", "number", "kept"),
    [
        ("looking at what this machine can do", 0.3, signal.SIGINT, 0),
        ("making the namespaces", 0.1, signal.SIGTERM, 0),
        ("connecting to the nodes", 0.2, signal.SIGHUP, 0),
        ("[1/2]", 1.5, signal.SIGTERM, 0),
        ("repetition 2: done in", 0.1, signal.SIGINT, 2),
        ("writing the report", 0.05, signal.SIGTERM, 2),
    ],
)
def test_at_each_stage(tmp_path: Path, sign: str, after: float, number: signal.Signals, kept: int) -> None:
    run = Run(tmp_path)
    run.until(sign)
    time.sleep(after)
    run.hit(number)
    code, said = run.end()
    ended, line = LINES[number]
    assert (code, said[-1]) == (ended, line), run.said
    assert not any("error" in one for one in said[:-1]), said
    for manifest in run.manifests():
        assert manifest["state"] in {"interrupted", "complete"}
        states = [step["state"] for step in manifest["matrix"]]
        assert states.count("done") >= kept, states
        samples = open_run(next((tmp_path / "out/odd").glob("2*"))).samples(["repetition"])
        assert {*samples["repetition"]} >= {step + 1 for step, state in enumerate(states) if state == "done"}
    assert run.manifests() or not kept


def test_a_signal_to_all_of_a_terminal_does_not_cut_the_cleaning_of_cgroups() -> None:
    name = "proxybench-interrupted"
    hold = (
        "mount -t cgroup2 cgroup /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/$0/node1 && "
        "echo $$ > /sys/fs/cgroup/$0/node1/cgroup.procs && echo there && exec sleep 60"
    )
    busy = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hold, name]
    clean = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: None)\n"
    clean += f"from proxybench.targets.lab.leftovers import remove_cgroups; print(flush=True); remove_cgroups({name!r})"
    with subprocess.Popen(busy, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "there\n"
        with subprocess.Popen(
            [sys.executable, "-c", clean], cwd=HOME, stdout=subprocess.PIPE, start_new_session=True
        ) as cleaner:
            assert cleaner.stdout
            cleaner.stdout.readline()
            time.sleep(0.5)  # it is tried again and again for two seconds, as long as somebody is in it
            os.killpg(cleaner.pid, signal.SIGINT)
            time.sleep(0.1)
            holder.kill()
            holder.wait()
            assert cleaner.wait(20) == 0
    assert cgroups(name) == []


def test_twice_in_a_row_and_then_it_is_resumed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.until("repetition 1: done in")
    time.sleep(0.5)
    run.hit(signal.SIGINT)
    time.sleep(0.05)
    run.hit(signal.SIGINT)
    code, said = run.end()
    assert (code, said[-1], said.count(AGAIN)) == (130, "error: interrupted", 1), said
    (folder,) = (tmp_path / "out/odd").glob("2*")
    again = Run(tmp_path, "--resume", str(folder))
    code, said = again.end()
    assert (code, "resuming: 1 of 2 steps are done" in said) == (0, True), said
    assert {*open_run(folder).samples()["repetition"]} == {1, 2}
    assert open_run(folder).manifest.state == "complete"


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and nothing can be written there any more."""
    run = tmp_path / "odd.yaml"
    run.write_text(EXPERIMENT)
    (tmp_path / "scratch").mkdir()
    pid, master = pty.fork()
    if pid == 0:
        environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch"), "TERM": "xterm"}
        os.chdir(HOME)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(  # noqa: S606 - the program itself
            sys.executable, [*PROGRAM, "run", str(run), "--out", str(tmp_path / "out")], environment
        )
    said = b""
    while b"[1/2]" not in said:
        said += os.read(master, 1 << 16)
    time.sleep(1.0)
    below = descendants(pid)
    os.close(master)
    assert _ended(pid) == 129
    assert eventually(lambda: [one for one in below if Path(f"/proc/{one}").exists()]) == []
    assert list((tmp_path / "scratch").iterdir()) == []
    (manifest,) = (tmp_path / "out/odd").glob("2*/manifest.json")
    assert json.loads(manifest.read_text())["state"] == "interrupted"


def test_progress_that_nobody_reads_ends_no_run(tmp_path: Path) -> None:
    """As of ``run … 2>&1 | head``: what is measured is in the folder all the same."""
    run = Run(tmp_path)
    run.until("[1/2]")
    assert run.process.stderr
    run.process.stderr.close()
    assert run.process.wait(60) == 0
    assert [manifest["state"] for manifest in run.manifests()] == ["complete"]


@pytest.mark.parametrize("after", [0.5, 1.5])
def test_a_lab_by_hand_whose_building_is_interrupted(tmp_path: Path, after: float) -> None:
    ensure(None)
    scratch, cache = tmp_path / "scratch", tmp_path / "cache"
    scratch.mkdir()
    cache.mkdir()
    (cache / "sshd").symlink_to(cache_folder() / "sshd")
    command = [*PROGRAM, "lab", "up", "--kind", "netns"]
    environment = {**os.environ, "TMPDIR": str(scratch), "PROXYBENCH_CACHE": str(cache)}
    up = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=HOME, env=environment
    )
    time.sleep(after)
    below = descendants(up.pid)
    up.terminate()
    _, stderr = up.communicate(timeout=60)
    if up.returncode == 0:  # it was quicker
        assert manage_down(environment) == "the lab is removed\n"
    else:
        assert (up.returncode, stderr) == (143, "error: ended by SIGTERM\n")
    assert eventually(lambda: [pid for pid in below if Path(f"/proc/{pid}").exists()]) == []
    assert processes_naming(str(scratch)) == {}
    assert list(scratch.iterdir()) == []
    assert manage_down(environment) == "no lab is up\n"


def manage_down(environment: dict[str, str]) -> str:
    command = [*PROGRAM, "lab", "down"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=HOME, env=environment
    ).stdout


def _ended(pid: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("it did not end")
