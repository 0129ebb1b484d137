"""``proxybench report``: the pages of a run, made again from its samples."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run: Path) -> None:
    """Write report.html and the figures of the run in this folder, and print the page's path."""
    from proxybench.report.page import write_report  # noqa: PLC0415 - imports pandas and matplotlib

    click.echo(str(write_report(run)))
