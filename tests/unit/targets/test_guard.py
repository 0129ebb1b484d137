from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.targets.lab.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def until(found: Callable[[], str]) -> str:
    deadline = time.monotonic() + 10
    while not (words := found()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return words


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True) as made:
        child = until(Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text).strip()
        assert until(lambda: "sleep" if Path(f"/proc/{child}/comm").read_text() == "sleep\n" else "")
        yield made
        with contextlib.suppress(ProcessLookupError):  # a test's doing
            os.killpg(made.pid, signal.SIGKILL)


@pytest.fixture
def guard(process: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[Guard]:
    made = Guard({"API server": process}, tmp_path / "ended")
    yield made
    made.close()


def test_all_is_well(guard: Guard) -> None:
    time.sleep(0.6)
    assert guard.trouble() == ""


def test_a_death_is_told_for_ever(guard: Guard, process: subprocess.Popen[bytes]) -> None:
    process.kill()
    words = f"the lab's API server (process {process.pid} of this machine) was ended by SIGKILL"
    assert until(guard.trouble) == words
    assert guard.trouble() == words


def test_the_code_of_an_end_is_told(tmp_path: Path) -> None:
    with subprocess.Popen(["sh", "-c", "exit 3"]) as made:
        guard = Guard({"guest (QEMU)": made})
        words = f"the lab's guest (QEMU) (process {made.pid} of this machine) ended with code 3"
        assert until(guard.trouble) == words
        guard.close()


def test_a_kill_for_want_of_memory_is_told(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 9\noom_kill 4\nballoon 0\n")
    with subprocess.Popen(["sleep", "60"]) as made:
        guard = Guard({"guest (QEMU)": made}, proc=tmp_path)
        made.kill()
        told = f"the lab's guest (QEMU) (process {made.pid} of this machine) was ended by SIGKILL"
        assert until(guard.trouble) == told
        (tmp_path / "vmstat").write_text("pgfault 9\noom_kill 5\nballoon 0\n")
        assert guard.trouble() == f"{told}, for want of memory: oom_kill of this machine's kernel went from 4 to 5"
        guard.close()


@pytest.mark.parametrize("below", [False, True])
def test_what_stood_still_is_told_once_also_when_it_goes_on(
    guard: Guard, process: subprocess.Popen[bytes], *, below: bool
) -> None:
    pid, program = process.pid, "sh"
    if below:
        listed = until(Path(f"/proc/{pid}/task/{pid}/children").read_text)
        pid, program = int(listed), "sleep"
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.6)
    told = f"the lab's API server stood still ({program}, process {pid} of this machine, got SIGSTOP)"
    assert guard.trouble() == told
    assert guard.trouble() == ""


def test_what_the_lab_tells_of_its_own_processes_is_passed_on(guard: Guard, tmp_path: Path) -> None:
    (tmp_path / "ended").write_text("the server of pods1, number 1 was ended by SIGKILL\nthe holder of node2 ended\n")
    assert guard.trouble() == "in the lab, the server of pods1, number 1 was ended by SIGKILL"


def test_nothing_is_looked_at_after_the_end(guard: Guard, process: subprocess.Popen[bytes]) -> None:
    guard.close()
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.7)
    assert guard.trouble() == ""


def test_what_came_later_is_none_of_its_business() -> None:
    with subprocess.Popen(
        ["sh", "-c", "read line; sleep 60 & wait"], stdin=subprocess.PIPE, start_new_session=True
    ) as made:
        guard = Guard({"supervisor": made})
        assert made.stdin is not None
        made.stdin.write(b"\n")
        made.stdin.flush()
        child = int(until(Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text))
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.8)
        assert guard.trouble() == ""
        guard.close()
        os.killpg(made.pid, signal.SIGKILL)
