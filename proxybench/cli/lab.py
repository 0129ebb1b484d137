"""``proxybench lab``: the embedded lab by hand."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import click

from proxybench.cli.terminal import plain_table, print_json, print_table

if TYPE_CHECKING:
    from proxybench.hosts.inventory import Inventory

_KINDS = ("auto", "netns", "vm")
_CLOCKS = ("auto", "wall", "instructions")


class Manager(Protocol):
    """What is called: the functions of ``proxybench.targets.lab.manage``. One lab per user stays up between calls."""

    def up(self, kind: str, clock: str) -> Inventory:
        """Build a lab that stays; raise LabError when one is up already."""
        ...

    def status(self) -> Inventory | None:
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
    inventory = _manager().status()
    if as_json:
        print_json(None if inventory is None else _as_json(inventory))
    elif inventory is None:
        click.echo("no lab is up")
    else:
        _print_nodes(inventory)


@lab.command()
@click.argument("node")
def shell(node: str) -> int:
    """Open a shell on a node; exits as the shell does."""
    return _manager().shell(node)


@lab.command()
def down() -> None:
    """Remove the lab and all that it made."""
    click.echo("the lab is removed" if _manager().down() else "no lab is up")


def _print_nodes(inventory: Inventory) -> None:
    click.echo(f"lab {inventory.lab}, clock {inventory.clock}, {inventory.accelerator}")
    table = plain_table("node", "roles", "address", "pods")
    for node in inventory.nodes:
        table.add_row(node.name, ", ".join(sorted(node.roles)), node.address, node.pod_cidr or "-")
    print_table(table)


def _as_json(inventory: Inventory) -> dict[str, object]:
    """Return what may be told: no token, no key."""
    nodes = [
        {"name": node.name, "roles": sorted(node.roles), "address": node.address, "pod_cidr": node.pod_cidr}
        for node in inventory.nodes
    ]
    return {"lab": str(inventory.lab), "clock": str(inventory.clock), "nodes": nodes}
