"""``proxybench doctor``: what this machine can measure."""

from __future__ import annotations

from dataclasses import asdict

import click

from proxybench.cli.terminal import plain_table, print_json, print_table
from proxybench.errors import ExitCode


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def doctor(as_json: bool) -> int:
    """Tell for each mode and kind of lab: yes, or why not and the command that mends it.

    Exits 3 when nothing can be measured here at all.
    """
    from proxybench.targets.lab.doctor import examine  # noqa: PLC0415 - imports all of the lab

    abilities = examine()
    if as_json:
        print_json([asdict(ability) for ability in abilities])
    else:
        table = plain_table("lab", "mode", "able", "why not", "to mend it")
        for ability in abilities:
            able = "yes" if ability.able else "no"
            table.add_row(str(ability.kind), str(ability.mode), able, ability.reason, ability.mend)
        print_table(table)
    return ExitCode.PASS if any(ability.able for ability in abilities) else ExitCode.RUN_FAILED
