"""Folders with odd names, a locale without UTF-8, a narrow terminal and a user's settings change no result."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[3]
GOLDEN = HOME / "tests/golden/run-v1"
PROGRAM = (
    sys.executable,
    "-c",
    "import sys; sys.path.insert(0, sys.argv.pop(1));from proxybench.cli.main import entry; entry()",
    str(HOME),
)
LIMIT = 120
EXPERIMENT = "version: 1\nname: odd\nmodes: [ipvs]\nscale: {services: [10]}\nmeasure: {sync: true}\n"
RC = "font.size: 30\naxes.facecolor: red\nsavefig.bbox: tight\ntext.usetex: True\npath.sketch: 1, 100, 2\n"
PLACES = ("a blank", "100%s", 'it\'s "quoted"', "\u00fcml\u00e4ut", "x" * 200)
LOCALES = {
    "utf-8": {"LC_ALL": "C.UTF-8"},
    "c": {"LC_ALL": "C"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def call(folder: Path, *args: str, **environment: str) -> tuple[int, str, str]:
    """Run the program in a folder, with nothing of this process's environment but PATH."""
    done = subprocess.run(
        [*PROGRAM, *args],
        capture_output=True,
        timeout=LIMIT,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **environment},
        umask=0o077,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose report was drawn in a usual place."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(GOLDEN, folder / "run")
    assert call(folder, "report", "run", LC_ALL="C.UTF-8")[0] == 0
    return folder / "run"


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_a_file_is_checked_in_an_odd_place(tmp_path: Path, locale: dict[str, str]) -> None:
    folder = tmp_path.joinpath(*PLACES)
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (folder / "wrong.yaml").write_text(EXPERIMENT.replace("modes", "m\u00f6des"), encoding="utf-8")
    checked = call(folder, "validate", str(folder / "experiment.yaml"), COLUMNS="20", **locale)
    assert (checked[0], checked[2]) == (0, "")
    assert checked[1].endswith("/experiment.yaml: ok, 3 steps (1 size x 1 subject, with repetitions)\n")
    code, _, errors = call(folder, "validate", "wrong.yaml", COLUMNS="20", **locale)
    assert code == 2
    assert errors.splitlines()[-1] == 'wrong.yaml:3:1: unknown key "mödes"; did you mean "modes"?'


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_a_report_is_the_same_in_an_odd_place_with_a_users_settings(
    tmp_path: Path, plain: Path, locale: dict[str, str]
) -> None:
    folder = tmp_path.joinpath(*PLACES)
    folder.mkdir(parents=True)
    (folder / "matplotlibrc").write_text(RC, encoding="utf-8")
    shutil.copytree(GOLDEN, folder / "run")
    code, _, errors = call(folder, "report", "run", COLUMNS="20", **locale)
    assert (code, "Traceback" in errors) == (0, False)
    drawn = {path.name: path.read_bytes() for path in (plain / "figures").iterdir()}
    assert drawn
    assert {path.name: path.read_bytes() for path in (folder / "run/figures").iterdir()} == drawn
    assert (folder / "run/report.html").read_bytes() == (plain / "report.html").read_bytes()
    assert stat.S_IMODE((folder / "run/report.html").stat().st_mode) == 0o600


def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path: Path, plain: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "run")
    # Nobody can make a folder there, root neither.
    code, _, errors = call(tmp_path, "report", "run", HOME="/proc/no-home", LC_ALL="C.UTF-8")
    assert (code, "Traceback" in errors) == (0, False)
    assert (tmp_path / "run/report.html").read_bytes() == (plain / "report.html").read_bytes()


def test_a_table_in_a_pipe_is_not_folded_by_a_narrow_terminal(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT, encoding="utf-8")
    code, table, _ = call(tmp_path, "run", "experiment.yaml", "--dry-run", COLUMNS="20", LC_ALL="C")
    assert code == 0
    assert " ".join(table.splitlines()[1].split()) == "1 1 reference 0.1.0 ipvs (iptables=legacy) 10 2 13 s"
