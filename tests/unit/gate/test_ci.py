"""What CI makes of the run's and the gate's exit codes: `.ci/run` itself, with stand-ins for the programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci/run"
PROGRAM = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  run*) exit "$RUN_CODE" ;;
  *--json) cat "$OUTCOME"; exit "$GATE_CODE" ;;
  gate*) exit "$GATE_CODE" ;;
esac
"""
MAKE = """#!/bin/sh
echo "make $*" >> "$CALLS"
"""
GATE = "gate results/gate/latest --baseline results/baselines/gate.json"
JUDGED = f"{GATE} --junit results/gate.xml --markdown results/gate.md --annotations"
SAVE = """\
gate: if that is here to stay, save a new baseline of several runs, and commit it (docs/ci.md):
gate:   for i in $(seq 10); do .venv/bin/proxybench run experiments/gate.yaml --out results/aa; done
gate:   .venv/bin/proxybench baseline save results/aa/gate/2*Z-* --out results/baselines/gate.json
"""


class House:
    """A clone in which only stand-ins are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        programs = {folder / ".venv/bin/proxybench": PROGRAM, folder / "bin/make": MAKE}
        for path, text in programs.items():
            path.parent.mkdir(parents=True)
            path.write_text(text)
            path.chmod(0o700)
        (folder / ".venv/bin/python").symlink_to(sys.executable)
        (folder / ".ci").mkdir()
        shutil.copy(SCRIPT, folder / ".ci/run")

    def __call__(self, run: int, gate: int, **outcome: list[str]) -> subprocess.CompletedProcess[str]:
        (self.folder / "outcome.json").write_text(json.dumps([{"differing": [], "undecided": [], **outcome}]))
        words = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "CALLS": str(self.calls_file),
            "OUTCOME": str(self.folder / "outcome.json"),
            "RUN_CODE": str(run),
            "GATE_CODE": str(gate),
        }
        return subprocess.run(
            [self.folder / ".ci/run"], env=os.environ | words, capture_output=True, text=True, timeout=20, check=False
        )

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_all_is_well(house: House) -> None:
    done = house(0, 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert house.calls() == ["make check", "run experiments/gate.yaml", JUDGED, "make test"]


@pytest.mark.parametrize("code", [1, 2])
def test_a_regression_ends_it(house: House, code: int) -> None:
    assert house(0, code).returncode == code
    assert house.calls()[-1] == JUDGED


def test_a_run_that_failed_ends_it_whatever_a_gate_would_make_of_it(house: House) -> None:
    assert house(3, 4).returncode == 3
    assert house.calls()[-1] == "run experiments/gate.yaml"


def test_another_kernel_is_told_with_what_to_do_and_goes_on(house: House) -> None:
    done = house(0, 4, differing=["kernel: a -> b", "python: 3.11.7 -> 3.11.2"], undecided=["sync.build"])
    assert done.returncode == 0
    assert house.calls()[-2:] == [f"{GATE} --json", "make test"]
    assert (
        done.stderr
        == (
            "gate: undecided (exit code 4), which does not fail this build:\n"
            "gate:   not comparable with the baseline, whose fingerprint differs in kernel: a -> b\n"
            "gate:   not comparable with the baseline, whose fingerprint differs in python: 3.11.7 -> 3.11.2\n"
        )
        + SAVE
    )


def test_noise_is_told_by_metric_and_goes_on(house: House) -> None:
    done = house(0, 4, undecided=["cpu.control_loop", "sync.build"])
    assert done.returncode == 0
    assert (
        done.stderr
        == (
            "gate: undecided (exit code 4), which does not fail this build:\n"
            "gate:   cpu.control_loop: too many of its numbers are too noisy, or lacking on one side\n"
            "gate:   sync.build: too many of its numbers are too noisy, or lacking on one side\n"
        )
        + SAVE
    )


def test_all_tests_hold_those_of_the_wheel() -> None:
    """What `make test` would call, the last thing that CI does."""
    told = subprocess.run(
        ["make", "--dry-run", "test"], cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=20, check=True
    )
    calls = [line for line in told.stdout.splitlines() if " -m pytest " in line]
    assert [call.split(" -m pytest ")[1].split()[0] for call in calls] == ["tests/unit", "tests/lab", "tests/wheel"]
