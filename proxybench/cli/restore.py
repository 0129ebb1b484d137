"""``proxybench restore``: what a run that was killed had changed in a cluster goes back."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore(run: Path) -> None:
    """Remove what a run that was killed has left in a cluster, and put back what it had switched; may be repeated."""
    from proxybench.results.folder import held  # noqa: PLC0415 - keeps help fast
    from proxybench.targets.cluster.switch.recovery import recover  # noqa: PLC0415 - keeps help fast

    with held(run):
        for line in recover(run):
            click.echo(line)
