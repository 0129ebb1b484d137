from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.targets.lab.kernel_probe import Trial, programs, script, try_mode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def unshare(folder: Path, script: str) -> None:
    (folder / "unshare").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "unshare").chmod(0o755)


TRIALS = [*((mode, "legacy") for mode in Mode), *((mode, "nft") for mode in Mode if mode is not Mode.NFTABLES)]


@pytest.mark.parametrize(("mode", "backend"), TRIALS)
def test_the_programs_of_a_trial_are_those_that_its_script_runs(mode: Mode, backend: str) -> None:
    run = set(re.findall(r"^(?:t\(\) \{ )?([a-z-]+) ", script(mode, backend), re.MULTILINE)) - {"t", "ip", "table"}
    assert run == set(programs(mode, backend))


def test_a_backend_is_tried_by_its_own_program() -> None:
    assert script(Mode.IPVS, "nft").startswith('t() { xtables-nft-multi iptables -w "$@"; }\nt -t nat -N TRY\n')
    assert programs(Mode.IPTABLES, "nft") == {"xtables-nft-multi": "iptables"}
    assert script(Mode.NFTABLES, "nft") == script(Mode.NFTABLES)


@pytest.mark.parametrize(("mode", "backend"), TRIALS)
def test_a_script_is_a_shells(mode: Mode, backend: str) -> None:
    subprocess.run(["sh", "-n", "-c", script(mode, backend)], check=True, timeout=10)


@pytest.mark.parametrize(("mode", "backend"), TRIALS)
def test_a_mode_is_tried_in_a_namespace_with_a_run_folder_of_its_own(path: Path, mode: Mode, backend: str) -> None:
    unshare(path, f'printf "%s\\n" "$@" > {path}/tried')
    assert try_mode(mode, backend) == Trial(0, "")
    tried = (path / "tried").read_text()
    assert tried.startswith("--net\n--mount\nsh\n-e\n-c\nmount -t tmpfs run /run; ")
    assert tried.endswith(f"{script(mode, backend)}\n")


def test_a_refusal_is_the_programs_last_line(path: Path) -> None:
    unshare(path, "echo first >&2; echo '  the last line' >&2; exit 3")
    assert try_mode(Mode.IPVS) == Trial(3, "the last line")


def test_a_trial_that_hangs_is_given_up(path: Path) -> None:
    unshare(path, f"exec {shutil.which('sleep')} 30")
    assert try_mode(Mode.IPVS, limit=0.2) == Trial(124, "no answer in 0 s")
