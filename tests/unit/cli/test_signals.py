"""The program as a process that is told to end, at whatever moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.releases.elf import elf
from tests.unit.releases.mirror import mirror

HOME = Path(__file__).parents[3]
LIMIT = 60
LINES = {
    signal.SIGINT: (130, "error: interrupted\n"),
    signal.SIGTERM: (143, "error: ended by SIGTERM\n"),
    signal.SIGHUP: (129, "error: ended by SIGHUP\n"),
}
WAITING = """
import sys, time, types, click
from proxybench.cli.main import VERBS, entry
from proxybench.cli.group import Verb

@click.command()
def wait():
    try:
        print("ready", flush=True)
        time.sleep(50)
    finally:
        print("cleaning", flush=True)
        time.sleep(float(sys.argv[2]))
        print("clean", flush=True)

sys.argv[1:1] = ["wait"]
sys.modules["verbs"] = types.ModuleType("verbs")
sys.modules["verbs"].wait = wait
VERBS["wait"] = Verb("verbs:wait", "Wait.")
wait.params.append(click.Argument(["seconds"], expose_value=False))
entry()
"""
# Ctrl-C at odd moments of a program's own: in what it does whole, and in a callback, whose exceptions Python drops.
WHOLE = """
from contextlib import ExitStack
from proxybench.interrupts import UndisturbedStack, undisturbed
with UndisturbedStack() as stack:
    stack.callback(print, "second", flush=True)
    stack.callback(lambda: os.kill(os.getpid(), signal.SIGTERM))
    stack.callback(print, "first", flush=True)
print("after it", flush=True)
"""
TWICE = """
from proxybench.interrupts import undisturbed
with undisturbed():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    print("whole", flush=True)
"""
THRICE = TWICE.replace("range(2)", "range(3)")
CALLBACK = """
import time, weakref
class Thing: pass
thing = Thing()
callback = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
del thing
time.sleep(50)
"""
ODD = """
import os, signal
from proxybench.interrupts import Interrupted, Interrupter
Interrupter.install().raises = True
try:
    exec({program!r})
except Interrupted as error:
    print(error, flush=True)
"""
FIRST, AGAIN = "cleaning up first\n", "cleaning up; once more to give up\n"


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # Under nohup a SIGHUP is ignored by all that comes after, and by ours on purpose.
        ["env", "--default-signal=HUP", sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
    )


def waiting(clean_up: str) -> subprocess.Popen[str]:
    process = start(WAITING, clean_up)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", LINES)
def test_a_signal_cleans_up_and_is_told_from_others_by_the_exit_code(number: signal.Signals) -> None:
    process = waiting("0")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert ((process.returncode, stderr), stdout) == (LINES[number], "cleaning\nclean\n")


def test_a_second_signal_does_not_interrupt_the_clean_up() -> None:
    process = waiting("1")
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout, stderr) == (130, "clean\n", f"{AGAIN}error: interrupted\n")


def test_a_third_signal_gives_up() -> None:
    process = waiting("50")
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == AGAIN
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert ((process.returncode, stderr), stdout) == (LINES[signal.SIGTERM], "")


@pytest.mark.parametrize(
    ("program", "stdout", "stderr"),
    [
        (WHOLE, "first\nsecond\nended by SIGTERM\n", FIRST),
        (TWICE, "whole\nended by SIGTERM\n", FIRST + AGAIN),
        (THRICE, "ended by SIGTERM\n", FIRST + AGAIN),
        (CALLBACK, "ended by SIGTERM\n", ""),
    ],
    ids=["at the end of a block", "twice", "three times", "in a callback"],
)
def test_a_signal_at_an_odd_moment_is_neither_lost_nor_cuts_a_clean_up(program: str, stdout: str, stderr: str) -> None:
    assert start(ODD.format(program=program)).communicate(timeout=LIMIT) == (stdout, stderr)


@pytest.mark.parametrize("number", LINES)
def test_a_signal_before_there_is_anything_to_clean_up_ends_at_once(number: signal.Signals) -> None:
    """While Python imports the program, and once it has ended."""
    program = "import os, sys; from proxybench.interrupts import Interrupter; Interrupter.install()\n"
    process = start(f"{program}os.kill(os.getpid(), int(sys.argv[1])); print('on')", str(int(number)))
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert ((process.returncode, stderr), stdout) == (LINES[number], "")


def test_at_whatever_moment_the_end_is_one_line() -> None:
    """From the first of our own lines on; what comes before that is Python's start."""
    begin = "import os; from proxybench.interrupts import Interrupter; Interrupter.install(); os.write(1, b'on\\n')"
    program = f"{begin}; from proxybench.__main__ import main; main()"
    codes = set()
    for moment in (0.0, 0.03, 0.1, 0.25, 0.5):
        process = start(program, "validate", *(["experiments/quickstart.yaml"] * 30))
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        time.sleep(moment)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=LIMIT)
        assert (process.returncode, stderr) in {LINES[signal.SIGTERM], (0, "")}, moment
        codes.add(process.returncode)
    assert 143 in codes  # not always too late


def test_a_download_keeps_what_has_come_and_goes_on_from_there(tmp_path: Path) -> None:
    program = elf("amd64", b"kube-proxy" * 100_000)
    verb = ["kube-proxy", "get", "v1.37.2", "--arch", "amd64", "--source", "release"]
    argv = [sys.executable, "-m", "proxybench", *verb]
    partial = tmp_path / "bin/v1.37.2/amd64/kube-proxy.partial"
    with mirror() as served:
        served.publish("v1.37.2", "amd64", "kube-proxy", program)
        served.stall = threading.Event()
        where = {"PROXYBENCH_CACHE": str(tmp_path), "PROXYBENCH_RELEASES_URL": served.url, "no_proxy": "127.0.0.1"}
        environment = {**os.environ, **where}
        process = subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=HOME, env=environment
        )
        deadline = time.monotonic() + LIMIT
        while not partial.exists() or partial.stat().st_size < len(program) // 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=LIMIT)[1].splitlines()
        assert (process.returncode, said[1:]) == (143, ["error: ended by SIGTERM"])
        assert partial.read_bytes() == program[: len(program) // 2]
        served.stall.set()
        served.stall = None
        served.asked.clear()
        subprocess.run(argv, capture_output=True, timeout=LIMIT, cwd=HOME, env=environment, check=False)
        assert served.asked[1][1] == f"bytes={len(program) // 2}-"


def test_standard_error_that_is_gone_is_no_other_end() -> None:
    """As a terminal's that was closed, which is where SIGHUP comes from."""
    process = waiting("0")
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    with process:
        assert process.wait(LIMIT) == 129
