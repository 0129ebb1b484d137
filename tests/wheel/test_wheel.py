"""The wheel, built and installed into an empty venv, as somebody without a checkout has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # all that proxybench depends on comes from the index

HOME = Path(__file__).parents[2]
NAMES = {path.stem for path in (HOME / "experiments").glob("*.yaml")}
EXPERIMENT = """\
version: 1
name: mine
target: {lab: {kind: netns}}
modes: [iptables]
scale: {services: [10]}
repetitions: 1
measure:
  sync: {scenarios: [cold-start]}
  forwarding: {connections: 20, warmup: 0, established: 0, positions: [first]}
"""


def call(*argv: object, folder: Path, limit: float = 120) -> subprocess.CompletedProcess[str]:
    # What this process has of a checkout must not help.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    return subprocess.run(
        [str(word) for word in argv],
        capture_output=True,
        text=True,
        timeout=limit,
        cwd=folder,
        env=clean,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder, HOME, folder=folder)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index to build with: it has no hatchling")
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Path:
    """Return the folder of the installed programs."""
    home = wheel.parent / "venv"
    venv.create(home, with_pip=True)
    pip = (home / "bin/python", "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check")
    done = call(*pip, wheel, folder=wheel.parent, limit=800)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"no package index with what proxybench depends on: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return home / "bin"


def test_the_wheel_holds_the_programs_and_the_experiments_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    place = "proxybench/experiments/"
    assert {name.removeprefix(place) for name in files if name.startswith(place)} == {
        *(f"{name}.yaml" for name in NAMES),
        "experiment.schema.json",
        "profiles/mixed.yaml",  # of the experiment "profile"
    }
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"proxybench", "refproxy"}
    needed = {"proxybench/py.typed", "proxybench/report/templates/report.html.j2", "refproxy/__main__.py"}
    assert needed <= files.keys()
    assert not [name for name in files if name.endswith(".pyc") or "/tests/" in name or "test_" in name]
    assert not [name for name, data in files.items() if str(HOME).encode() in data]


def test_the_wheel_says_which_pythons_it_is_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(name).decode()
    assert "\nRequires-Python: >=3.11\n" in text
    assert re.findall(r"^Classifier: Programming Language :: Python :: (.*)$", text, re.MULTILINE) == [
        "3.11",
        "3.12",
        "3.13",
        "3.14",
    ]
    assert "\n# proxybench\n" in text  # README.md, for the index's page


def test_experiments_are_found_by_name(installed: Path, tmp_path: Path) -> None:
    checked = call(installed / "proxybench", "validate", *sorted(NAMES), folder=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert len(checked.stdout.splitlines()) == len(NAMES)
    plan = call(installed / "python", "-m", "proxybench", "run", "quickstart", "--dry-run", folder=tmp_path)
    assert plan.stdout.splitlines()[-1].startswith("12 steps (3 sizes x 4 subjects, with repetitions)")
    wrong = call(installed / "proxybench", "run", "quickstrat", folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("; did you mean quickstart?\n")


def test_help_and_completion_stand_alone(installed: Path, tmp_path: Path) -> None:
    text = call(installed / "proxybench", "--help", folder=tmp_path).stdout
    assert all(f"\n  {verb} " in text for verb in ("run", "experiments", "doctor", "setup", "report", "gate"))
    assert all(
        f"proxybench {line}" in text for line in ("doctor ", "setup --yes ", "run quickstart ", "advise results/")
    )
    script = call(installed / "proxybench", "completion", "bash", folder=tmp_path)
    assert "complete -o nosort -F _proxybench_completion proxybench" in script.stdout
    listed = call(installed / "proxybench", "experiments", folder=tmp_path)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == sorted(NAMES)


@pytest.mark.skipif(os.geteuid() != 0, reason="a lab takes root")
def test_a_run_measures_and_reports(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    done = call(installed / "proxybench", "run", "mine.yaml", folder=tmp_path, limit=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/mine/latest/report.html").is_file()
