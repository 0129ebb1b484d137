"""``proxybench lab``: the embedded lab by hand."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import click

from proxybench.cli.terminal import plain_table, print_json, print_table

if TYPE_CHECKING:
    from proxybench.nodes.cluster import Cluster

_KINDS = ("auto", "netns", "vm")
_CLOCKS = ("auto", "wall", "instructions")


class Manager(Protocol):
    """What is called: the functions of ``proxybench.targets.lab.manage``. One lab per user stays up between calls."""

    def up(self, kind: str, clock: str) -> Cluster:
        """Build a lab that stays; raise LabError when one is up already."""
        ...

    def status(self) -> Cluster | None:
        """Return the lab that is up, None for none."""
        ...

    def shell(self, node: str) -> int:
        """Open a shell on a node and return its exit code; raise LabError for an unknown node or no lab."""
        ...

    def down(self) -> bool:
        """Remove the lab; return False when there was none."""
        ...


def _manager() -> Manager:
    # By name, and so late: managing imports all of the lab.
    return cast("Manager", import_module("proxybench.targets.lab.manage"))


@click.group()
def lab() -> None:
    """Build, look at, enter and remove a lab by hand."""


@lab.command()
@click.option("--kind", type=click.Choice(_KINDS), default="auto", show_default=True, help="What nodes are made of.")
@click.option("--clock", type=click.Choice(_CLOCKS), default="auto", show_default=True, help="Whose time they read.")
def up(kind: str, clock: str) -> None:
    """Build a lab that stays up until it is removed."""
    _print_nodes(_manager().up(kind, clock))


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Tell whether a lab is up, and its nodes."""
    cluster = _manager().status()
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
    return _manager().shell(node)


@lab.command()
def down() -> None:
    """Remove the lab and all that it made."""
    click.echo("the lab is removed" if _manager().down() else "no lab is up")


def _print_nodes(cluster: Cluster) -> None:
    click.echo(f"lab {cluster.kind}, clock {cluster.clock}, {cluster.accelerator}")
    table = plain_table("node", "role", "address", "pods")
    for node in _nodes(cluster):
        table.add_row(node["name"], node["role"], node["address"], node["pod_cidr"] or "-")
    print_table(table)


def _nodes(cluster: Cluster) -> list[dict[str, str | None]]:
    roles = {cluster.client.name: "client", cluster.measured.name: "measured"}
    return [
        {"name": node.name, "role": roles.get(node.name, "other"), "address": node.address, "pod_cidr": node.pod_cidr}
        for node in cluster.nodes
    ]


def _as_json(cluster: Cluster) -> dict[str, object]:
    """Return what may be told: no token, no key."""
    return {"lab": cluster.kind, "clock": str(cluster.clock), "nodes": _nodes(cluster)}
