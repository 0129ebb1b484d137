from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from proxybench.cli.experiment import EXPERIMENT, validate
from proxybench.cli.main import cli
from proxybench.experiment.load import load_experiment
from proxybench.experiment.packaged import packaged

GOOD = "version: 1\nname: good\nmodes: [ipvs]\nscale: {services: [10]}\nmeasure: {sync: true}\n"
BAD = GOOD.replace("ipvs", "ipv")


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)


def test_validate_says_how_much_a_right_file_measures() -> None:
    result = call("validate", "good.yaml", "--set", "repetitions=1")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "good.yaml: ok, 1 step (1 size x 1 subject, with repetitions)\n",
        "",
    )


def test_validate_checks_every_file_before_it_fails() -> None:
    result = call("validate", "bad.yaml", "none.yaml", "good.yaml")
    assert result.exit_code == 2
    assert result.stdout == "good.yaml: ok, 3 steps (1 size x 1 subject, with repetitions)\n"
    assert result.stderr == (
        'bad.yaml:3:9: modes, number 1: "ipv" is not a mode; did you mean "ipvs"?\n'
        "none.yaml:1:1: cannot be read: No such file or directory\n"
    )


def test_a_wrong_setting_is_told_once_for_all_files() -> None:
    result = call("validate", "bad.yaml", "good.yaml", "--set", "modes=3")
    assert result.exit_code == 2
    assert result.stderr == ("--set modes:1:1: modes: 3 is not a list; write modes: [iptables, ipvs, userspace]\n")


def test_validate_prints_json_for_programs() -> None:
    result = call("validate", "--json", "bad.yaml", "good.yaml")
    assert (result.exit_code, result.stderr) == (2, "")
    message = 'modes, number 1: "ipv" is not a mode; did you mean "ipvs"?'
    problem = {"file": "bad.yaml", "line": 3, "column": 9, "message": message}
    steps = "3 steps (1 size x 1 subject, with repetitions)"
    assert json.loads(result.stdout) == [
        {"file": "bad.yaml", "valid": False, "steps": "", "problems": [problem]},
        {"file": "good.yaml", "valid": True, "steps": steps, "problems": []},
    ]
    assert call("validate", "--json", "good.yaml").exit_code == 0


def test_schema_prints_what_is_committed() -> None:
    committed = Path(__file__).parents[3] / "experiments" / "experiment.schema.json"
    result = call("schema")
    assert (result.exit_code, result.stdout) == (0, committed.read_text(encoding="utf-8"))


def test_the_packaged_experiments_are_listed_with_what_they_are_for() -> None:
    result = call("experiments")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    names = {name.rstrip(): text.strip() for name, text in lines.items()}
    assert list(names) == list(packaged())
    assert names["quickstart"] == load_experiment(packaged()["quickstart"]).description
    assert len({line.index(text) for line, text in zip(result.stdout.splitlines(), names.values(), strict=True)}) == 1


def test_a_packaged_experiment_is_printed_byte_for_byte() -> None:
    result = call("experiments", "quickstart")
    assert (result.exit_code, result.stdout) == (0, packaged()["quickstart"].read_text("utf-8"))


def test_a_packaged_experiment_that_is_none() -> None:
    result = call("experiments", "quickstrat")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: Invalid value for '[")
    assert "'quickstrat' is not one of 'calibrate', 'cluster'," in result.stderr


def test_names_are_completed_and_files_are_left_to_the_shell() -> None:
    context = click.Context(validate)
    (argument,) = (one for one in validate.params if one.name == "experiments")
    found = EXPERIMENT.shell_complete(context, argument, "qui")
    assert [(one.value, one.type) for one in found] == [("quickstart", "plain"), ("qui", "file")]
    assert [one.type for one in EXPERIMENT.shell_complete(context, argument, "./q")] == ["file"]
