from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.here import last_line, run_here

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_is_run_in_a_folder_with_an_environment_of_its_own(tmp_path: Path) -> None:
    ended = run_here(["sh", "-c", 'echo "$A"; pwd >&2; cat; exit 3'], 10.0, env={"A": "b"}, folder=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "b\n", f"{tmp_path}\n")


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert run_here(["printf", r"v\374"], 10.0).stdout == r"v\xfc"


def test_what_does_not_end_is_given_up() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_here(["sleep", "30"], 0.1)
    with pytest.raises(FileNotFoundError):
        run_here(["/nowhere/program"], 0.1)


@pytest.mark.parametrize(
    ("out", "err", "line"), [("a\nb\n", "c\nd\n", "d"), ("a\nb\n", " \n", "b"), ("", "", "no output")]
)
def test_the_last_line_is_an_errors_if_there_is_one(out: str, err: str, line: str) -> None:
    assert last_line(subprocess.CompletedProcess([], 1, out, err)) == line
