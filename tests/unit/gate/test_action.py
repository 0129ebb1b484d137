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
  run) mkdir -p "$4/gate/latest"; exit "$RUN_CODE" ;;
  gate) echo '### words' > "$RESULTS/gate.md"; exit "$GATE_CODE" ;;
esac
"""


@pytest.mark.parametrize(
    ("run_code", "gate_code", "threshold", "code"), [(0, 0, "", 0), (0, 1, "2%", 1), (0, 4, "", 4), (3, 0, "", 3)]
)
def test_its_script(tmp_path: Path, run_code: int, gate_code: int, threshold: str, code: int) -> None:
    steps = YAML(typ="safe").load(ACTION.read_text())["runs"]["steps"]
    program = tmp_path / "proxybench"
    program.write_text(STAND_IN)
    program.chmod(0o700)
    results = tmp_path / "with blank" / "results"
    files = {name: tmp_path / name for name in ("CALLS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    words = {
        "PROXYBENCH": program,
        "EXPERIMENT": "e.yaml",
        "BASELINE": "b; exit 9",
        "THRESHOLD": threshold,
        "RESULTS": results,
        "RUN_CODE": run_code,
        "GATE_CODE": gate_code,
    }
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", steps[1]["run"]],
        env=os.environ | {name: str(word) for name, word in (files | words).items()},
        timeout=20,
        check=False,
    )
    assert done.returncode == code
    assert files["GITHUB_OUTPUT"].read_text() == f"exit-code={code}\njunit={results}/gate.xml\n"
    first, *rest = files["CALLS"].read_text().splitlines()
    assert first == f"run e.yaml --out {results}/gate-runs"
    if run_code:
        assert rest == []
        return
    assert files["GITHUB_STEP_SUMMARY"].read_text() == "### words\n"
    assert rest[0].startswith(f"gate {results}/gate-runs/gate/latest --baseline b; exit 9 --annotations --junit")
    assert rest[0].endswith("--threshold 2%") == bool(threshold)


def test_inputs_never_stand_in_a_script() -> None:
    steps = YAML(typ="safe").load(ACTION.read_text())["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step["run"]]
