from __future__ import annotations

import errno
import logging
import re
import signal
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from proxybench import __version__
from proxybench.cli.group import Verb
from proxybench.cli.main import VERBS, cli
from proxybench.errors import (
    ApiError,
    CommandFailedError,
    ExitCode,
    ExperimentError,
    IncomparableError,
    LabError,
    Problem,
    ProxybenchError,
    ResultsError,
    UsageError,
)
from proxybench.interrupts import Interrupted
from tests.factories import stand_in

HINT = " (proxybench --debug … shows where)"


def act(error: BaseException | int | None, *flags: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run the real group with one verb that ends like this; return exit code, standard output, standard error."""

    @click.command()
    def verb() -> int | None:
        click.echo("data")
        if isinstance(error, BaseException):
            raise error
        return error

    stand_in(monkeypatch, "pbt_verbs", verb=verb)
    monkeypatch.setitem(VERBS, "act", Verb("pbt_verbs:verb", "Act."))
    result = CliRunner().invoke(cli, [*flags, "act"])
    return result.exit_code, result.stdout, result.stderr


ENDS: dict[str, tuple[BaseException | int | None, int, str]] = {
    "nothing": (None, 0, ""),
    "pass": (ExitCode.PASS, 0, ""),
    "regression": (ExitCode.REGRESSION, 1, ""),
    "usage": (UsageError("no such thing"), 2, "error: no such thing\n"),
    "results": (ResultsError("no run here"), 2, "error: no run here\n"),
    "experiment": (
        ExperimentError([Problem("b.yaml", 2, 1, "two"), Problem("a.yaml", 1, 1, "one")]),
        2,
        "a.yaml:1:1: one\nb.yaml:2:1: two\n",
    ),
    "lab": (LabError("no kernel\nno root"), 3, "error: no kernel\nerror: no root\n"),
    "api": (ApiError("refused", 403), 3, "error: refused\n"),
    "command": (CommandFailedError("iptables: 1"), 3, "error: iptables: 1\n"),
    "silent": (ProxybenchError(), 3, "error: ProxybenchError\n"),
    "incomparable": (IncomparableError("kernels differ"), 4, "error: kernels differ\n"),
    "inconclusive": (ExitCode.INCONCLUSIVE, 4, ""),
    "unexpected": (ValueError("odd\nvery"), 3, f"error: unexpected ValueError: odd{HINT}\n"),
    "a path that may not be used": (
        PermissionError(errno.EACCES, "Permission denied", "/root/a"),
        2,
        "error: /root/a: Permission denied\n",
    ),
    "a disk that fails": (
        OSError(errno.EIO, "Input/output error", b"/data/a"),
        3,
        "error: /data/a: Input/output error\n",
    ),
    "unexpected and silent": (KeyError(), 3, f"error: unexpected KeyError{HINT}\n"),
    "end of file": (EOFError("closed"), 3, f"error: unexpected EOFError: closed{HINT}\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "error: interrupted\n"),
    "SIGTERM": (Interrupted(signal.SIGTERM), 143, "error: ended by SIGTERM\n"),
    "abort": (click.Abort(), 130, "error: interrupted\n"),
    "click's own": (click.ClickException("no"), 2, "error: no\n"),
    "click's file": (click.FileError("x", "gone"), 2, "error: Could not open file 'x': gone\n"),
    "click's exit": (click.exceptions.Exit(4), 4, ""),
    "system exit": (SystemExit(1), 1, ""),
}


@pytest.mark.parametrize(("error", "code", "stderr"), ENDS.values(), ids=ENDS)
def test_each_end_has_its_code_and_lines(
    error: BaseException | int | None, code: int, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert act(error, monkeypatch=monkeypatch) == (code, "data\n", stderr)


def test_debug_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    code, stdout, stderr = act(ValueError("odd"), "--debug", monkeypatch=monkeypatch)
    assert (code, stdout) == (3, "data\n")
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert "in verb\n" in stderr
    assert stderr.endswith("\nValueError: odd\nerror: unexpected ValueError: odd\n")
    code, _, stderr = act(LabError("no kernel"), "--debug", monkeypatch=monkeypatch)
    assert code == 3
    assert stderr.startswith("Traceback")
    assert stderr.endswith("\nerror: no kernel\n")


@pytest.mark.parametrize(("flags", "lines"), [((), "warning: b\n"), (("--debug",), "debug: a\nwarning: b\n")])
def test_logs_go_to_standard_error(flags: tuple[str, ...], lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def verb() -> None:
        logging.getLogger("proxybench.targets.lab").debug("a")
        logging.getLogger("proxybench.targets.lab").warning("b")

    stand_in(monkeypatch, "pbt_verbs", verb=verb)
    monkeypatch.setitem(VERBS, "act", Verb("pbt_verbs:verb", "Act."))
    result = CliRunner().invoke(cli, [*flags, "act"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", lines)


@pytest.mark.parametrize(
    ("args", "stderr"),
    [
        (
            ["rum"],
            "error: No such command 'rum'. Did you mean 'run'?\nUsage: cli [OPTIONS] COMMAND [ARGS]...\nhelp: cli -h\n",
        ),
        (["zzz"], "error: No such command 'zzz'.\nUsage: cli [OPTIONS] COMMAND [ARGS]...\nhelp: cli -h\n"),
        (
            ["baseline", "sav"],
            (
                "error: No such command 'sav'. Did you mean 'save'?\nUsage: cli baseline [OPTIONS] COMMAND [ARGS]...\n"
                "help: cli baseline -h\n"
            ),
        ),
        (
            ["validate"],
            (
                "error: Missing argument 'EXPERIMENT...'.\nUsage: cli validate [OPTIONS] EXPERIMENT...\n"
                "help: cli validate -h\n"
            ),
        ),
        (
            ["run", "x.yaml", "--outt", "y"],
            (
                "error: No such option '--outt'. Did you mean '--out'?\nUsage: cli run [OPTIONS] EXPERIMENT\n"
                "help: cli run -h\n"
            ),
        ),
        (
            ["completion", "tcsh"],
            (
                "error: Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'.\n"
                "Usage: cli completion [OPTIONS] {bash|zsh|fish}\nhelp: cli completion -h\n"
            ),
        ),
    ],
)
def test_wrong_usage_exits_2(args: list[str], stderr: str) -> None:
    result = CliRunner().invoke(cli, args)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", stderr)


def test_without_a_verb_the_help_goes_to_standard_error() -> None:
    result = CliRunner().invoke(cli, [])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: cli [OPTIONS] COMMAND [ARGS]...\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_goes_to_standard_output_and_names_the_exit_codes(flag: str) -> None:
    result = CliRunner().invoke(cli, [flag])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  validate     Check experiment files; tell every problem at once.\n" in result.stdout
    words = " ".join(result.stdout.split())
    assert (
        "Exit codes: 0 pass, 1 regression, 2 usage, 3 run failed or incomplete, 4 inconclusive, 130 interrupted."
        in words
    )


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"proxybench, version {__version__}\n")


def test_the_version_is_that_of_the_newest_changes_and_stands_in_one_place() -> None:
    root = Path(__file__).parents[3]
    newest = next(line for line in (root / "CHANGELOG.md").read_text("utf-8").splitlines() if line.startswith("## "))
    found = re.match(r"## (\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)", newest)
    assert found is not None
    assert __version__ == f"{found[1]}.0{'.dev0' if found[2] == 'unreleased' else ''}"
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "proxybench/__init__.py"}


def test_every_verb_that_is_offered_can_be_imported_and_says_in_help_what_the_list_says() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert isinstance(command, click.Command), name
        assert command.name == name


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "_PROXYBENCH_COMPLETE=bash_complete"),
        ("zsh", "#compdef proxybench"),
        ("fish", "_PROXYBENCH_COMPLETE=fish_complete"),
    ],
)
def test_completion_prints_the_script_of_the_shell(shell: str, line: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert line in result.stdout


@pytest.mark.parametrize("verb", ["validate", "run", "report", "advise", "gate", "compare", "trend", "restore"])
def test_a_name_that_no_disk_takes_is_refused_in_one_line(verb: str) -> None:
    more = {"advise": ["--from", "a", "--to", "b", "--services", "1"], "gate": ["--baseline", "b"], "compare": ["b"]}
    result = CliRunner().invoke(cli, [verb, "x" * 5000, *more.get(verb, [])])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unexpected" not in result.stderr
    assert result.stderr.startswith("error: ")
