from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.targets.lab.kernel_probe import PROGRAMS, SCRIPTS, Trial, try_mode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def unshare(folder: Path, script: str) -> None:
    (folder / "unshare").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "unshare").chmod(0o755)


def test_every_mode_has_its_script_and_the_programs_that_it_runs() -> None:
    assert set(SCRIPTS) == set(PROGRAMS) == set(Mode)
    for mode, script in SCRIPTS.items():
        run = set(re.findall(r"^(?:t\(\) \{ )?([a-z-]+) ", script, re.MULTILINE)) - {"t", "ip", "table"}
        assert run == set(PROGRAMS[mode]), mode


@pytest.mark.parametrize("mode", Mode)
def test_a_script_is_a_shells(mode: Mode) -> None:
    subprocess.run(["sh", "-n", "-c", SCRIPTS[mode]], check=True, timeout=10)


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_is_tried_in_a_namespace_with_a_run_folder_of_its_own(programs: Path, mode: Mode) -> None:
    unshare(programs, f'printf "%s\\n" "$@" > {programs}/tried')
    assert try_mode(mode) == Trial(0, "")
    tried = (programs / "tried").read_text()
    assert tried.startswith("--net\n--mount\nsh\n-e\n-c\nmount -t tmpfs run /run; ")
    assert tried.endswith(f"{SCRIPTS[mode]}\n")


def test_a_refusal_is_the_programs_last_line(programs: Path) -> None:
    unshare(programs, "echo first >&2; echo '  the last line' >&2; exit 3")
    assert try_mode(Mode.IPVS) == Trial(3, "the last line")


def test_a_trial_that_hangs_is_given_up(programs: Path) -> None:
    unshare(programs, f"exec {shutil.which('sleep')} 30")
    assert try_mode(Mode.IPVS, 0.2) == Trial(124, "no answer in 0 s")
