"""The program as a process: what only shows outside of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-c", "from proxybench.cli.main import entry; entry()")
LIMIT = 60


def call(*args: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*PROGRAM, *args],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=HOME,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_right_file_exits_0() -> None:
    assert call("validate", "experiments/scale.yaml") == (
        0,
        "experiments/scale.yaml: ok, 16 steps (4 sizes x 4 subjects, with repetitions)\n",
        "",
    )


def test_a_wrong_file_exits_2_and_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nname: b\nmodes: [ipvs]\nscale: {services: [x]}\nmeasure: 3\n")
    path = str(tmp_path / "bad.yaml")
    assert call("run", path) == (
        2,
        "",
        (
            f'{path}:4:20: services, number 1: "x" is not a whole number; write one, such as 10\n'
            f"{path}:5:10: measure: 3 is not a mapping; write measure: {{sync: true, cpu: true, forwarding: true}}\n"
        ),
    )


def test_an_unknown_verb_exits_2() -> None:
    assert call("rum") == (
        2,
        "",
        (
            "error: No such command 'rum'. Did you mean 'run'?\n"
            "Usage: proxybench [OPTIONS] COMMAND [ARGS]...\nhelp: proxybench -h\n"
        ),
    )


def test_completion_completes_verbs() -> None:
    code, stdout, _ = call(_PROXYBENCH_COMPLETE="bash_complete", COMP_WORDS="proxybench va", COMP_CWORD="1")
    assert (code, stdout) == (0, "plain,validate\n")


def test_colours_are_never_written_into_a_pipe() -> None:
    code, stdout, _ = call("run", "experiments/quickstart.yaml", "--dry-run", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in stdout


def test_no_color_is_honoured_where_colour_is_forced() -> None:
    command = ("run", "experiments/quickstart.yaml", "--dry-run")
    assert "\x1b[1m" in call(*command, FORCE_COLOR="1", TERM="xterm-256color")[1]
    assert "\x1b[3" not in call(*command, FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")[1]


def test_a_closed_standard_output_ends_quietly_and_is_no_regression() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*PROGRAM, "schema"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_table_that_nobody_reads_on_is_no_regression() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*PROGRAM, "run", "experiments/quickstart.yaml", "--dry-run"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_verb_that_did_its_work_keeps_its_exit_code_when_nobody_reads_on() -> None:
    """What Python still holds back is written at its end, when the reader (head) may be gone."""
    program = "from proxybench.cli.failure import settle; print('x'); raise SystemExit(settle(lambda: 4, debug=bool))"
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-c", program]
    held_back = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        argv, stdout=write, stderr=subprocess.PIPE, text=True, timeout=LIMIT, cwd=HOME, env=held_back, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (4, "")


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


def waiting(clean_up: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        # Under nohup a SIGHUP is ignored by all that comes after, and by ours on purpose.
        ["env", "--default-signal=HUP", sys.executable, "-c", WAITING, clean_up],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cleans_up_and_exits_130(number: signal.Signals) -> None:
    process = waiting("0")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout, stderr) == (130, "cleaning\nclean\n", "\nerror: interrupted\n")


def test_a_second_signal_does_not_interrupt_the_clean_up() -> None:
    process = waiting("1")
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout) == (130, "clean\n")
    assert stderr == "cleaning up; once more to give up\n\nerror: interrupted\n"


def test_a_third_signal_gives_up() -> None:
    process = waiting("50")
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == "cleaning up; once more to give up\n"
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout, stderr) == (130, "", "\nerror: interrupted\n")
