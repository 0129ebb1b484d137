import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.children import run

CLEANS_UP = 'trap "touch cleaned; exit 0" TERM; touch begun; while :; do sleep 0.05; done'
LIMITED = "import sys; from benchmarks.children import *; heed_signals(); run(sys.argv[1:], 60)"


def test_code_and_output_of_a_program() -> None:
    assert run(["sh", "-c", "echo said; exit 4"], 60) == (4, b"said\n")


def test_at_its_limit_a_program_may_clean_up(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", f"cd {tmp_path}; {CLEANS_UP}"], 1)
    assert (tmp_path / "cleaned").exists()


def test_sigterm_of_a_benchmark_lets_the_program_clean_up(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", LIMITED, "sh", "-c", f"cd {tmp_path}; {CLEANS_UP}"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(argv, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE) as outer:
        while not (tmp_path / "begun").exists():
            assert outer.poll() is None
        outer.send_signal(signal.SIGTERM)
        _, said = outer.communicate(timeout=60)
    assert said.endswith(b"Interrupted: ended by SIGTERM\n")
    assert (tmp_path / "cleaned").exists()


# The signal comes while the program is being started, so that nobody knows it yet.
STARTING = f"""
import functools, os, signal, subprocess
real = subprocess.Popen
def signalled(*args, **named):
    return real(*args, preexec_fn=lambda: os.kill(os.getppid(), signal.SIGTERM), **named)
subprocess.Popen = signalled
{LIMITED.replace("; ", chr(10))}
"""


def test_sigterm_while_the_program_is_started_ends_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", STARTING, "sh", "-c", f"echo $$ > {tmp_path}/begun; exec sleep 300"]
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        argv, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert ended.stderr.endswith(b"Interrupted: ended by SIGTERM\n")
    begun = tmp_path / "begun"
    assert not begun.exists() or not Path(f"/proc/{begun.read_text().strip()}").exists()
