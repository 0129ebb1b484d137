"""How `proxybench run` ends: its exit codes, by the real command in a lab of namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.labs import eventually, processes_naming

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

HOME = Path(__file__).parents[2]
PROGRAM = "from proxybench.cli.main import entry; entry()"
EXPERIMENT = """\
version: 1
name: ends
target: {lab: {kind: netns}}
modes: [iptables]
scale: {services: [5, 20]}
repetitions: 1
measure: {sync: {scenarios: [cold-start], timeout: 2s}}
limits: {cell: 30s}
"""
# Stands before the real one in PATH: it does not take more than ten Services.
TIMID = """\
#!/bin/sh
case "$*" in *restore*) ;; *) exec {real} "$@" ;; esac
rules=$(cat)
if [ "$(printf '%s\\n' "$rules" | grep -c '^-A KUBE-SERVICES .*KUBE-SVC-')" -gt 10 ]; then
    echo "no room for so many Services" >&2
    exit 4
fi
printf '%s\\n' "$rules" | {real} "$@"
"""


def run(folder: Path, experiment: str, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run an experiment file to its end, with a temporary directory of its own; nothing may be left in that."""
    (folder / "experiment.yaml").write_text(experiment)
    (folder / "scratch").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "scratch"), "PATH": f"{path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", PROGRAM, "run", str(folder / "experiment.yaml"), "--out", str(folder / "out")]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=200, check=False, cwd=HOME, env=environment
    )
    assert "Traceback" not in done.stderr
    assert eventually(lambda: processes_naming(str(folder / "scratch"))) == {}
    assert list((folder / "scratch").iterdir()) == []
    return done


def test_a_complete_run_ends_with_0(tmp_path: Path) -> None:
    done = run(tmp_path, EXPERIMENT, "--set", "scale.services=[5]")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out/ends/latest/manifest.json").read_text())
    assert manifest["state"] == "complete"


def test_a_file_that_cannot_be_right_ends_with_2_and_makes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, EXPERIMENT.replace("repetitions: 1", "repetitions: none"))
    assert done.returncode == 2
    file = tmp_path / "experiment.yaml"
    assert done.stderr.startswith(f"{file}:6:14: ")
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_run_of_which_a_point_failed_ends_with_3_and_keeps_the_others(tmp_path: Path) -> None:
    real = subprocess.run(["which", "xtables-legacy-multi"], capture_output=True, text=True, check=True).stdout.strip()
    timid = tmp_path / "bin" / "xtables-legacy-multi"
    timid.parent.mkdir()
    timid.write_text(TIMID.format(real=real))
    timid.chmod(0o755)
    done = run(tmp_path, EXPERIMENT, path=str(timid.parent))
    assert done.returncode == 3, done.stderr
    folder = tmp_path / "out/ends/latest"
    manifest = json.loads((folder / "manifest.json").read_text())
    states = {step["cell"]["services"]: step["state"] for step in manifest["matrix"]}
    assert states == {5: "done", 20: "failed"}
    problem = next(step["problem"] for step in manifest["matrix"] if step["state"] == "failed")
    assert problem in done.stderr + done.stdout
    records = json.loads((folder / "summary.json").read_text())
    # That it took longer than it was given is a number: "> N s".
    late = [(record["metric"], record["n"], record["censored"]) for record in records if record["services"] == 20]
    assert late == [("sync.end_to_end", 1, 1)]
    assert {record["censored"] for record in records if record["services"] == 5} == {0}
    page = (folder / "report.html").read_text()
    assert problem.endswith("iptables-restore ended with code 4: no room for so many Services")
    assert page.count('<td data-label="Where">') == 1
    assert '<td data-label="Where">at 20 Services, repetition 1</td>\n<td data-label="Why">' + problem in page
