"""``proxybench inventory``: a first version of the file that names a cluster's hosts."""

from __future__ import annotations

import click


@click.group()
def inventory() -> None:
    """Draft the file that names the hosts of your own cluster."""


@inventory.command("from-kubeconfig")
@click.option("--kubeconfig", metavar="FILE", help="How the API is reached; else $KUBECONFIG or ~/.kube/config.")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig; else the current one.")
def from_kubeconfig(kubeconfig: str | None, context: str | None) -> None:
    """Print an inventory of the API's nodes, for you to give the roles."""
    from proxybench.targets.cluster.draft import draft  # noqa: PLC0415 - keeps help fast

    click.echo(draft(kubeconfig, context), nl=False)
