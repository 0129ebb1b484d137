"""``proxybench validate`` and ``schema``: experiment files without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from proxybench.cli.terminal import print_json
from proxybench.errors import ExitCode, ExperimentError
from proxybench.experiment.packaged import experiment_file, packaged

if TYPE_CHECKING:
    from proxybench.errors import Problem


class _ExperimentFile(click.Path):
    """A file, or the name of one that comes with proxybench.

    Whether a file is there is found out by reading it: one message for all that can be wrong.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ANN401 - click's own
        """Return the file's path. Raises UsageError for a name that is none."""
        del param, ctx
        return experiment_file(str(value))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete names, and files as the shell does."""
        names = [CompletionItem(name) for name in packaged() if name.startswith(incomplete)]
        return names + super().shell_complete(ctx, param, incomplete)


EXPERIMENT = _ExperimentFile()
NAMES = f"EXPERIMENT is a file, or the name of one that comes with proxybench: {', '.join(packaged())}."

OUT = click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where results land, in a folder of their own.",
)
SET = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one word of the file, such as scale.services=[10,100]; may be given again.",
)


@click.command(epilog=NAMES)
@click.argument("experiments", metavar="EXPERIMENT...", type=EXPERIMENT, nargs=-1, required=True)
@SET
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def validate(experiments: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check experiment files; tell every problem of all of them as file:line:column."""
    checked = [(path, *_check(path, overrides)) for path in experiments]
    problems = [problem for _, _, found in checked for problem in found]
    if as_json:
        print_json([_as_json(path, steps, found) for path, steps, found in checked])
        return ExitCode.USAGE if problems else ExitCode.PASS
    for path, steps, found in checked:
        if not found:
            click.echo(f"{path}: ok, {steps}")
    if problems:
        # Two files may share a problem (--set): tell it once.
        raise ExperimentError(list(dict.fromkeys(problems)))
    return ExitCode.PASS


@click.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from proxybench.experiment.load import json_schema_text  # noqa: PLC0415 - keeps help fast

    click.echo(json_schema_text(), nl=False)


@click.command()
@click.argument("name", required=False, type=click.Choice(tuple(packaged())))
def experiments(name: str | None) -> None:
    """List the experiments that come with proxybench, or print the file of one: something to begin with.

    For example: proxybench experiments quickstart > mine.yaml
    """
    from proxybench.experiment.load import load_experiment  # noqa: PLC0415 - keeps help fast

    if name is not None:
        click.echo(packaged()[name].read_text("utf-8"), nl=False)
        return
    width = max(map(len, packaged()), default=0)
    for each, path in packaged().items():
        click.echo(f"{each:<{width}}  {load_experiment(path).description}")


def _check(path: Path, overrides: tuple[str, ...]) -> tuple[str, tuple[Problem, ...]]:
    from proxybench.experiment.load import load_experiment  # noqa: PLC0415 - keeps help fast
    from proxybench.experiment.matrix import estimate  # noqa: PLC0415 - keeps help fast

    try:
        return str(estimate(load_experiment(path, overrides))), ()
    except ExperimentError as error:
        return "", error.problems


def _as_json(path: Path, steps: str, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "file": str(path),
        "valid": not problems,
        "steps": steps,
        "problems": [
            {"file": each.file, "line": each.line, "column": each.column, "message": each.message} for each in problems
        ],
    }
