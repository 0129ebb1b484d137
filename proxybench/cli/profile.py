"""``proxybench profile``: the shape of a cluster's Services, without names or addresses, to be replayed in the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from proxybench.cli.output import FILE, write_out

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_S = 3600.0


@click.command(epilog="Replay it in the lab: scale: {profile: FILE} in an experiment. See docs/profile.md.")
@click.option("--kubeconfig", metavar="FILE", help="How the API is reached; else $KUBECONFIG or ~/.kube/config.")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig; else the current one.")
@click.option(
    "--watch", metavar="DURATION", default="60s", show_default=True, help="How long changes are counted; 0s: not."
)
@click.option("-o", "--out", metavar="FILE", type=FILE, help="Else standard output.")
def profile(kubeconfig: str | None, context: str | None, watch: str, out: Path | None) -> None:
    """Write the shape of a cluster's Services: how many of which kind, with how many endpoints. Changes nothing.

    Names, labels, addresses and port numbers are not in it. Needs list and watch of services and endpointslices.
    """
    from proxybench.experiment.words import parse_duration  # noqa: PLC0415 - keeps help fast
    from proxybench.targets.cluster.profiling.look import look  # noqa: PLC0415 - as above
    from proxybench.targets.cluster.profiling.text import as_yaml  # noqa: PLC0415 - as above

    try:
        seconds = parse_duration(watch)
    except ValueError as error:
        raise click.UsageError(f"--watch: {error}") from None
    if seconds > _LONGEST_S:
        raise click.UsageError(f"--watch: {watch} is too long; write at most 1h")
    found, folded = look(kubeconfig, context, seconds, lambda line: click.echo(line, err=True))
    text = as_yaml(found)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_out(out, text.encode())
        shapes = len(found.shapes)
        click.echo(f"{out}: {found.services:,} Services in {shapes} shape{'s' if shapes > 1 else ''}", err=True)
    single = sum(shape.services == 1 for shape in found.shapes)
    if single:
        what = "is that of a single Service" if single == 1 else "are those of single Services"
        click.echo(f"{single} of the shapes {what}; read the file before you give it away", err=True)
    if folded:
        click.echo(f"{folded} Services of rare shapes are counted among the commonest of their type", err=True)
