"""``proxybench conformance``: what each subject of an experiment does right, property by property."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from proxybench.cli.experiment import EXPERIMENT, SET
from proxybench.cli.terminal import plain_table, print_json, print_table
from proxybench.columns import flat
from proxybench.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proxybench.run.conformance import Examined


@click.command(epilog="Exit codes: 2 the file is wrong, 3 a property does not hold, or could not be tried.")
@click.argument("experiment", metavar="EXPERIMENT.yaml", type=EXPERIMENT)
@SET
@click.option("--property", "names", metavar="NAME", multiple=True, help="Look at this one only; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def conformance(experiment: Path, overrides: tuple[str, ...], names: tuple[str, ...], as_json: bool) -> int:
    """Try what each subject of an experiment must do for Services; nothing is measured.

    For each subject and property: pass, fail, not applicable or not supported, and what was seen.
    """
    from proxybench.cli.measure import conform  # noqa: PLC0415 - imports everything that measures
    from proxybench.cli.progress import open_progress  # noqa: PLC0415 - keeps help fast
    from proxybench.conformance.registry import chosen  # noqa: PLC0415 - keeps help fast
    from proxybench.experiment.load import load_experiment  # noqa: PLC0415 - keeps help fast

    properties = chosen(names)
    spec = load_experiment(experiment, overrides)
    with closing(open_progress(spec)) as progress:
        examined = conform(spec, properties, folder=experiment.parent, progress=progress)
    if as_json:
        print_json([_as_json(one) for one in examined])
    else:
        _print(examined)
    return ExitCode.PASS if _hold(examined) else ExitCode.RUN_FAILED


def _hold(examined: Sequence[Examined]) -> bool:
    """Tell whether all that was looked at holds, and something was."""
    found = [finding for one in examined for finding in one.findings]
    failed = [finding for finding in found if finding.verdict.outcome == "fail"]
    return bool(found) and not failed and not any(one.problems for one in examined)


def _print(examined: Sequence[Examined]) -> None:
    """Write what was seen, subject by subject, and then the matrix of them all."""
    for number, one in enumerate(examined, 1):
        click.echo(("\n" if number > 1 else "") + f"{number}. {one.subject.label}", nl=not one.skipped)
        if one.skipped:
            click.echo(f": not tried: {one.skipped}")
        if one.findings:
            table = plain_table("property", "verdict", "seen")
            for found in one.findings:
                table.add_row(found.property, str(found.verdict.outcome), found.verdict.evidence)
            print_table(table)
        for problem in one.problems:
            click.echo(f"error: {one.subject.label}: {problem}", err=True)
    tried = {str(number): one for number, one in enumerate(examined, 1) if one.findings}
    if len(tried) > 1:
        click.echo()
        _print_matrix(tried)


def _print_matrix(examined: Mapping[str, Examined]) -> None:
    table = plain_table("property", *examined)
    outcomes = [{found.property: str(found.verdict.outcome) for found in one.findings} for one in examined.values()]
    for name in dict.fromkeys(name for one in outcomes for name in one):
        table.add_row(name, *(one.get(name, "") for one in outcomes))
    print_table(table)


def _as_json(one: Examined) -> dict[str, object]:
    return {
        "subject": flat(one.subject),
        "label": one.subject.label,
        "properties": [
            {
                "property": found.property,
                "claim": found.claim,
                "outcome": str(found.verdict.outcome),
                "evidence": found.verdict.evidence,
            }
            for found in one.findings
        ],
        "problems": list(one.problems),
        "skipped": one.skipped,
    }
