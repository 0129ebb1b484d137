"""The Action's own script, run by bash as the runner would, with a stand-in for the program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ACTION = Path(__file__).parents[3] / "action.yml"
STAND_IN = """#!/bin/sh
echo "$@" >> "$CALLS"
case $1 in
  run) mkdir -p "$4/$NAME/latest"; exit "$RUN_CODE" ;;
  gate)
    if [ "$GATE_CODE" -ne 2 ]; then echo '### words' > "$RESULTS/gate.md"; echo '<x/>' > "$RESULTS/gate.xml"; fi
    exit "$GATE_CODE" ;;
esac
"""


class Runner:
    """Runs the script as GitHub's runner would, each time with files of its own for outputs and summary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "with blank" / "results"
        self.script = YAML(typ="safe").load(ACTION.read_text())["runs"]["steps"][1]["run"]
        self.count = 0
        program = folder / "temp" / "proxybench-venv/bin/proxybench"
        program.parent.mkdir(parents=True)
        program.write_text(STAND_IN)
        program.chmod(0o700)

    def __call__(self, *, run: int, gate: int, threshold: str = "", name: str = "gate") -> int:
        self.count += 1
        words = {
            "RUNNER_TEMP": self.folder / "temp",
            "EXPERIMENT": "e.yaml",
            "BASELINE": "b; exit 9",
            "THRESHOLD": threshold,
            "RESULTS": self.results,
            "RUN_CODE": run,
            "GATE_CODE": gate,
            "NAME": name,
        }
        files = {word: self.file(word) for word in ("CALLS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", self.script],
            env=os.environ | {word: str(value) for word, value in (files | words).items()},
            timeout=20,
            check=False,
        ).returncode

    def file(self, word: str) -> Path:
        return self.folder / f"{word}-{self.count}"

    def calls(self) -> list[str]:
        return self.file("CALLS").read_text().splitlines()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.mark.parametrize(
    ("run_code", "gate_code", "threshold", "code"), [(0, 0, "", 0), (0, 1, "2%", 1), (0, 4, "", 4), (3, 0, "", 3)]
)
def test_its_script(runner: Runner, run_code: int, gate_code: int, threshold: str, code: int) -> None:
    assert runner(run=run_code, gate=gate_code, threshold=threshold) == code
    results = runner.results
    assert runner.file("GITHUB_OUTPUT").read_text() == f"exit-code={code}\njunit={results}/gate.xml\n"
    (own,) = (results / "gate-runs").iterdir()
    first, *rest = runner.calls()
    assert first == f"run e.yaml --out {own}"
    if run_code:
        assert rest == []
        return
    assert runner.file("GITHUB_STEP_SUMMARY").read_text() == "### words\n"
    assert rest[0].startswith(f"gate {own}/gate/latest --baseline b; exit 9 --annotations --junit {results}/gate.xml")
    assert rest[0].endswith("--threshold 2%") == bool(threshold)


def test_each_call_judges_the_run_that_it_made(runner: Runner) -> None:
    for name in ("alpha", "zeta"):
        assert runner(run=0, gate=0, name=name) == 0
        made, judged = runner.calls()
        assert judged.startswith(f"gate {made.removeprefix('run e.yaml --out ')}/{name}/latest ")


def test_nothing_of_an_earlier_call_stands_for_a_gate_that_wrote_nothing(runner: Runner) -> None:
    assert runner(run=0, gate=1) == 1
    assert runner(run=0, gate=2) == 2
    assert not runner.file("GITHUB_STEP_SUMMARY").exists()
    assert not (runner.results / "gate.xml").exists()
    assert runner(run=0, gate=0) == 0
    assert runner(run=3, gate=0) == 3
    assert not (runner.results / "gate.xml").exists()


def test_it_names_no_path_of_the_host_which_a_container_does_not_have() -> None:
    text = ACTION.read_text()
    assert "github.action_path" not in text
    assert "runner.temp" not in text


def test_inputs_never_stand_in_a_script() -> None:
    steps = YAML(typ="safe").load(ACTION.read_text())["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step["run"]]
