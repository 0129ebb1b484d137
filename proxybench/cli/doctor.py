"""``proxybench doctor``: what this machine can measure."""

from __future__ import annotations

from dataclasses import asdict

import click

from proxybench.cli.terminal import plain_table, print_json, print_table
from proxybench.errors import ExitCode


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def doctor(as_json: bool) -> int:
    """Tell for each mode and kind of lab: yes, or why not and the command that fixes it.

    Exits 3 when nothing can be measured here at all.
    """
    from proxybench.targets.lab.capabilities import examine  # noqa: PLC0415 - imports all of the lab

    modes = examine()
    if as_json:
        print_json([asdict(found) for found in modes])
    else:
        table = plain_table("lab", "mode", "supported", "why not", "to fix it")
        for found in modes:
            supported = "yes" if found.supported else "no"
            table.add_row(str(found.kind), str(found.mode), supported, found.reason, found.fix)
        print_table(table)
    return ExitCode.PASS if any(found.supported for found in modes) else ExitCode.RUN_FAILED
