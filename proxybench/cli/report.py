"""``proxybench report``: the pages of a run, made again from its samples."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run: Path) -> None:
    """Write report.html and the figures of the run in this folder, and print the page's path."""
    # By name, and so late: the report imports pandas and matplotlib.
    page: Path = import_module("proxybench.report.page").write_report(run)
    click.echo(str(page))
