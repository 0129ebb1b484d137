"""Standard output that nobody reads (… | head), or that takes nothing: a quiet end, never a regression's exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxybench.cli.main import VERBS

HOME = Path(__file__).parents[3]
GOLDEN = "tests/golden/run-v1"
LIMIT = 60
PRINTING = {
    "--help": ["--help"],
    "--version": ["--version"],
    "run": ["run", "quickstart", "--dry-run"],
    "run --help": ["run", "--help"],
    "validate": ["validate", "quickstart", "--json"],
    "validate a right one": ["validate", "quickstart"],
    "experiments": ["experiments"],
    "schema": ["schema"],
    "setup": ["setup"],
    "lab": ["lab", "status"],
    "kube-proxy": ["kube-proxy", "list"],
    "advise": ["advise", GOLDEN, "--from", "ipvs", "--to", "iptables", "--services", "10"],
    "compare": ["compare", GOLDEN, GOLDEN, "--all"],
    "gate": ["gate", GOLDEN, "--baseline", GOLDEN],
    "trend": ["trend", "tests/golden"],
    "completion": ["completion", "bash"],
    "report": ["report"],
    "baseline": ["baseline", "save", GOLDEN, "--out"],
}
ELSEWHERE = {"doctor", "conformance", "inventory", "profile", "restore", "ab"}
"""They try modes, measure, or ask a cluster, and print then by the same functions."""


def call(arguments: list[str], stdout: int, **environment: str) -> tuple[int, str]:
    program = [sys.executable, "-m", "proxybench", *arguments]
    done = subprocess.run(
        program,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT,
        cwd=HOME,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr


def unread(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run the program with a standard output whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    try:
        return call(arguments, write, **environment)
    finally:
        os.close(write)


def test_every_verb_is_tried() -> None:
    assert {arguments[0] for arguments in PRINTING.values()} - {"--help", "--version"} | ELSEWHERE == set(VERBS)


@pytest.mark.parametrize("name", PRINTING)
def test_what_nobody_reads_ends_quietly(name: str, tmp_path: Path) -> None:
    arguments = list(PRINTING[name])
    if name == "report":
        shutil.copytree(HOME / GOLDEN, tmp_path / "run")
        arguments.append(str(tmp_path / "run"))
    if name == "baseline":
        arguments.append(str(tmp_path / "baseline.json"))
    code, stderr = unread(arguments, PROXYBENCH_CACHE=str(tmp_path / "cache"))
    hints = [line for line in stderr.splitlines() if not line.startswith(("to do all that: ", "left out, since "))]
    assert (code, hints) == (141, [])


def test_files_are_written_before_what_nobody_reads(tmp_path: Path) -> None:
    assert unread(["compare", GOLDEN, GOLDEN, "--markdown", str(tmp_path / "page.md")]) == (141, "")
    assert (tmp_path / "page.md").read_text().startswith("### proxybench: ")
    assert unread(["trend", "tests/golden", "--csv", str(tmp_path / "all.csv")])[0] == 141
    assert (tmp_path / "all.csv").exists()


def test_a_disk_without_room_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        assert call(["schema"], full.fileno()) == (3, "error: standard output: No space left on device\n")
