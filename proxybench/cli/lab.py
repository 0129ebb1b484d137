"""``proxybench lab``: the embedded lab by hand. What it calls is imported late: it imports all of the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from proxybench.cli.terminal import plain_table, print_json, print_table

if TYPE_CHECKING:
    from proxybench.nodes.cluster import Cluster

_KINDS = ("auto", "netns", "vm")
_CLOCKS = ("auto", "wall", "instructions")
_KERNELS = ("6.1", "6.12")


@click.group()
def lab() -> None:
    """Build, look at, enter and remove a lab by hand."""


@lab.command()
@click.option("--kind", type=click.Choice(_KINDS), default="auto", show_default=True, help="What nodes are made of.")
@click.option("--clock", type=click.Choice(_CLOCKS), default="auto", show_default=True, help="Whose time they read.")
@click.option("--kernel", type=click.Choice(_KERNELS), default="6.1", show_default=True, help="Which Linux a VM boots.")
def up(kind: str, clock: str, kernel: str) -> None:
    """Build a lab that stays up until it is removed."""
    from proxybench.targets.lab.manage import up as build  # noqa: PLC0415 - see above

    _print_nodes(build(kind, clock, kernel))


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Tell whether a lab is up, and its nodes."""
    from proxybench.targets.lab.manage import status as look  # noqa: PLC0415 - see above

    cluster = look()
    if as_json:
        print_json(None if cluster is None else _as_json(cluster))
    elif cluster is None:
        click.echo("no lab is up")
    else:
        _print_nodes(cluster)


@lab.command()
@click.argument("node")
def shell(node: str) -> int:
    """Open a shell on a node; exits as the shell does."""
    from proxybench.targets.lab.manage import shell as enter  # noqa: PLC0415 - see above

    return enter(node)


@lab.command()
def down() -> None:
    """Remove the lab and all that it made."""
    from proxybench.targets.lab.manage import down as remove  # noqa: PLC0415 - see above

    click.echo("the lab is removed" if remove() else "no lab is up")


def _print_nodes(cluster: Cluster) -> None:
    click.echo(f"lab {cluster.kind}, clock {cluster.clock}, {cluster.accelerator}")
    table = plain_table("node", "role", "address", "pods")
    for node in _nodes(cluster):
        table.add_row(node["name"], node["role"], node["address"], node["pod_cidr"] or "-")
    print_table(table)


def _nodes(cluster: Cluster) -> list[dict[str, str | None]]:
    roles = {**{node.name: "client" for node in cluster.clients}, cluster.measured.name: "measured"}
    return [
        {"name": node.name, "role": roles.get(node.name, "other"), "address": node.address, "pod_cidr": node.pod_cidr}
        for node in cluster.nodes
    ]


def _as_json(cluster: Cluster) -> dict[str, object]:
    """Return what may be told: no token, no key."""
    return {"lab": cluster.kind, "clock": str(cluster.clock), "nodes": _nodes(cluster)}
