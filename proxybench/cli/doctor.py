"""``proxybench doctor``: what this machine can measure, and whether an experiment can run here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxybench.cli.experiment import EXPERIMENT, SET
from proxybench.cli.terminal import plain_table, print_json, print_table
from proxybench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.cli.examine import Findings
    from proxybench.targets.cluster.checkup import Row as Host


@click.command(
    epilog="Examples: proxybench doctor; proxybench doctor experiments/scale.yaml --online. "
    "Exit codes: 2 the file is wrong, 3 it cannot run here, or nothing can."
)
@click.argument("experiment", metavar="[EXPERIMENT]", type=EXPERIMENT, required=False)
@SET
@click.option("--online", is_flag=True, help="Ask the network whether releases can be had; nothing is downloaded.")
@click.option(
    "--inventory",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Look at the hosts of your own cluster instead: what each lacks, and what would mend it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    experiment: Path | None, overrides: tuple[str, ...], online: bool, inventory: Path | None, as_json: bool
) -> int:
    """Tell for each subject and kind of node: yes, or why not, and what would mend it.

    The subjects are those of an experiment file, or else kube-proxy v1.37.2 in each mode that it has. Each mode's
    rules are made once, in a namespace that ends with the try. Nothing is asked of the network without --online. Of an
    experiment with target.cluster the hosts of its inventory are looked at instead, over SSH, and its API is asked
    whether a kube-proxy that would have to be switched can be.
    """
    if inventory is not None:
        if experiment is not None or online:
            raise UsageError("--inventory is about a cluster's hosts; name no experiment beside it")
        return _hosts(inventory, as_json=as_json)
    if overrides and experiment is None:
        raise UsageError("--set changes an experiment; name its file, too")
    from proxybench.cli.examine import examine  # noqa: PLC0415 - imports all of the lab

    found = examine(experiment, overrides, online=online)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)
        if experiment is not None:
            click.echo(_verdict(experiment, found))
    able = found.fits if experiment is not None else [row for row in found.rows if row.supported]
    return ExitCode.PASS if able else ExitCode.RUN_FAILED


def _hosts(inventory: Path, *, as_json: bool) -> int:
    from proxybench.targets.cluster.checkup import checkup  # noqa: PLC0415 - imports what speaks SSH

    rows = checkup(inventory)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print_hosts(rows)
    return ExitCode.RUN_FAILED if any(row.lacks for row in rows) else ExitCode.PASS


def _print_hosts(rows: Sequence[Host]) -> None:
    modes = next((tuple(row.modes) for row in rows if row.modes), ())
    table = plain_table("node", "roles", "lacks", "to mend it", "note", *map(str, modes))
    for row in rows:
        of_modes = [(row.modes[mode] or "nothing lacks") if row.modes else "" for mode in modes]
        table.add_row(row.node, ", ".join(row.roles), row.lacks or "nothing", row.fix, row.note, *of_modes)
    print_table(table)


def _print(found: Findings) -> None:
    if found.hosts:
        _print_hosts(found.hosts)
        click.echo()
    rows = plain_table("subject", "node", "can run", "program", "why not, or what to know", "to mend it")
    for row in found.rows:
        rows.add_row(row.subject, row.node, "yes" if row.supported else "no", row.binary, row.reason, row.fix)
    print_table(rows)
    for influence in found.influences:
        click.echo(f"note: {influence.what}: {influence.reach}")


def _verdict(path: Path, found: Findings) -> str:
    if not found.fits:
        places = " and ".join(found.allowed)
        return f"{path}: cannot run here: it allows {places}, where something that it needs is lacking"
    place = found.fits[0]
    absent = [row.subject for row in found.rows if row.node == place and not row.supported]
    return f"{path}: can run here, on {place}" + (f", without {', '.join(absent)}" if absent else "")
