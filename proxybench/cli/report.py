"""``proxybench report``: the pages of a run, made again from its samples."""

from __future__ import annotations

from pathlib import Path

import click

from proxybench.cli.output import check_folder
from proxybench.errors import ResultsError


@click.command(epilog="For example: proxybench report results/native/latest.")
@click.argument("run", metavar="RUN", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run: Path | None) -> None:
    """Write report.html and the figures of a run, and print the page's path.

    RUN is its folder, or its experiment's folder for the newest one; left out, it is the newest run below results.
    """
    from proxybench.report.page import write_report  # noqa: PLC0415 - imports pandas and matplotlib

    run = run or _newest(Path("results"))
    check_folder(run)
    click.echo(str(write_report(run)))


def _newest(results: Path) -> Path:
    # Runs are named by the time at which they began.
    runs = sorted((link.resolve() for link in results.glob("*/latest") if link.is_dir()), key=lambda run: run.name)
    if not runs:
        raise ResultsError(f"{results}: no run in it has ended; name a run's folder")
    return runs[-1]
