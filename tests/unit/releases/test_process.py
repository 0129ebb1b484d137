from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import BuildError
from proxybench.releases.process import Ended, run

if TYPE_CHECKING:
    from collections.abc import Callable

ENV = {"PATH": "/usr/bin:/bin"}
# Notes the process of a grandchild, which holds the pipes too.
GRANDCHILD = "sleep 60 & echo $! > grandchild; echo started; wait"


def gone(folder: Path) -> bool:
    number = int((folder / "grandchild").read_text())
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_output_and_code(tmp_path: Path) -> None:
    ended = run(["sh", "-c", "pwd; echo $A >&2; exit 3"], folder=tmp_path, env={**ENV, "A": "b"}, limit_s=20)
    assert ended == Ended(3, f"{tmp_path}\n", "b\n")


def test_the_tail_is_what_came_last() -> None:
    lines = [f"line {number}" for number in range(20)]
    assert Ended(1, "", "\n".join(lines)).tail == "\n".join(lines[5:])
    assert Ended(1, "", "").tail == "it wrote nothing"


def test_no_such_command(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as error:
        run(["no-such-command"], folder=tmp_path, env=ENV, limit_s=20)
    assert str(error.value) == "no-such-command cannot be started: No such file or directory"


def test_a_time_out_ends_grandchildren_too(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    (tmp_path / "script").write_text(GRANDCHILD)
    seconds: list[float] = []
    with pytest.raises(BuildError) as error:
        run(["sh", "script"], folder=tmp_path, env=ENV, limit_s=0.5, still=seconds.append, every_s=0.2)
    assert str(error.value) == "sh script did not end within 0 s"
    assert seconds
    assert min(later - earlier for earlier, later in pairwise([0.0, *seconds])) >= 0.2
    eventually(lambda: gone(tmp_path))


INTERRUPTED = """
import os, pathlib, signal
from proxybench.releases.process import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits one that is ignored
still = lambda _: print("still", flush=True)
run(["sh", "script"], folder=pathlib.Path("."), env=os.environ, limit_s=60, still=still, every_s=0.2)
"""

STARTING = """
import os, pathlib, signal, subprocess
from proxybench.interrupts import Interrupter
Interrupter.install().raises = True
real = subprocess.Popen
def signalled(*args, **named):  # the signal comes before anybody knows the program
    return real(*args, preexec_fn=lambda: os.kill(os.getppid(), signal.SIGTERM), **named)
subprocess.Popen = signalled
from proxybench.releases.process import run
run(["sh", "-c", "echo $$ > grandchild; sleep 60"], folder=pathlib.Path("."), env=os.environ, limit_s=60)
"""


def test_a_signal_while_a_command_is_started_ends_it(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STARTING],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=50,
        check=False,
    )
    assert ended.stderr.endswith("Interrupted: ended by SIGTERM\n")
    eventually(lambda: not (tmp_path / "grandchild").exists() or gone(tmp_path))


def test_ctrl_c_ends_grandchildren_too(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    (tmp_path / "script").write_text(GRANDCHILD)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with process:
        assert process.stdout is not None
        while not (tmp_path / "grandchild").exists():
            assert process.stdout.readline() == "still\n"
        process.send_signal(signal.SIGINT)
        process.wait(20)
    eventually(lambda: gone(tmp_path))
