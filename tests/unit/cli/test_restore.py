from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, ["restore", *args])


def test_a_run_that_had_changed_nothing_yet() -> None:
    Path("run/undo.jsonl").write_text('{"server": "https://192.')
    result = call("run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "nothing had been changed\n", "")


def test_a_run_without_an_undo_log_is_a_mistake() -> None:
    result = call("run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: run: has no undo.jsonl; that run has written nothing to a cluster\n"


def test_a_folder_that_is_not_there() -> None:
    result = call("none")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        2,
        "error: Invalid value for 'RUN': Directory 'none' does not exist.",
    )
