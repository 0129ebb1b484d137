"""The program as a process: what only shows outside of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_disk_without_room_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, cwd=HOME, check=False
        )
    assert (done.returncode, done.stderr) == (3, "error: standard output: No space left on device\n")


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
