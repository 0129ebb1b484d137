"""Whatever is printed, nobody may read it to its end (``| head``): that is quiet, and never taken for a regression."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.report.synthetic import synthetic_frame, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 120
EXPERIMENT = "experiments/quickstart.yaml"
HEAD = """\
import json, os, sys, tempfile
from proxybench.cli.main import entry
import proxybench.cli.gate, proxybench.report.advice, proxybench.report.page

for line in sys.stdin:
    arguments, both = json.loads(line)
    read, write = os.pipe()
    os.close(read)
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            os.dup2(write, 1)
            os.dup2(write if both else errors.fileno(), 2)
            sys.argv[1:] = arguments
            entry()
        _, status = os.waitpid(child, 0)
        os.close(write)
        errors.seek(0)
        print(json.dumps([os.waitstatus_to_exitcode(status), errors.read().decode()]), flush=True)
"""
"""Calls the program, again and again without starting anew, with a standard output that is closed at its other end."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("results")
    frame = synthetic_frame(connects=3, sizes=(100, 1000), clock="wall", modes=("iptables", "ipvs"))
    synthetic_run(base, frame, clock="wall", state="complete", matrix=[])
    return base


def verbs(results: Path) -> list[list[str]]:
    """Return a call of each verb that prints, for people and for programs."""
    run = str(results / "scale" / "latest")
    advise = ["advise", run, "--from", "iptables", "--to", "ipvs", "--services", "300"]
    gate = ["gate", run, "--baseline", run]
    return [
        ["--help"],
        ["--version"],
        ["gate", "--help"],
        ["experiments"],
        ["experiments", "quickstart"],
        ["schema"],
        ["validate", EXPERIMENT],
        ["validate", EXPERIMENT, "--json"],
        ["run", EXPERIMENT, "--dry-run"],
        ["run", EXPERIMENT, "--dry-run", "--json"],
        ["completion", "bash"],
        ["lab", "status"],
        ["kube-proxy", "list"],
        ["report", run],
        advise,
        [*advise, "--json"],
        ["compare", run, run],
        ["compare", run, run, run, "--json"],
        gate,
        [*gate, "--annotations", "--all"],
        [*gate, "--json"],
        ["trend", str(results)],
        ["trend", str(results), "--json"],
        ["baseline", "save", run, "--out", str(results / "baseline.json")],
    ]


def call(*calls: tuple[list[str], bool]) -> list[tuple[int, str]]:
    """Return exit code and standard error of each call; with True, standard error is closed, too."""
    text = "".join(f"{json.dumps(each)}\n" for each in calls)
    done = subprocess.run(
        [sys.executable, "-c", HEAD], input=text, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_verb_ends_quietly(results: Path) -> None:
    arguments = verbs(results)
    found = call(*((each, False) for each in arguments))
    assert dict(zip(map(" ".join, arguments), found, strict=True)) == dict.fromkeys(map(" ".join, arguments), (141, ""))


def test_so_does_one_whose_errors_go_the_same_way() -> None:
    wrong = [["gate", "nowhere", "--baseline", "nowhere"], ["gate", "x", "--baseline", "x", "--only", "y"], ["rum"]]
    assert call(*((each, True) for each in [["schema"], *wrong])) == [(141, "")] * 4


def test_files_are_written_whoever_reads(results: Path, tmp_path: Path) -> None:
    """They were lost, since the table came first."""
    run = str(results / "scale" / "latest")
    names = ("junit", "markdown", "benchmark-action", "bencher")
    files = [word for name in names for word in (f"--{name}", str(tmp_path / name))]
    found = call(
        (["gate", run, "--baseline", run, *files], False),
        (["trend", str(results), "--csv", str(tmp_path / "csv")], False),
    )
    assert found == [(141, "")] * 2
    assert {path.name for path in tmp_path.iterdir()} == {*names, "csv"}
