"""An inventory as JSON and back, and as an ssh configuration. Pure; the result holds secrets: write it mode 0600."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxybench.hosts.inventory import ApiAccess, Inventory, Node, SshTarget
from proxybench.model import ClockKind, LabKind


def to_json(inventory: Inventory) -> dict[str, Any]:
    """Return the inventory as JSON values."""
    values = asdict(inventory)
    for node in values["nodes"]:
        node["roles"] = sorted(node["roles"])
        target = node["ssh"]
        while target:
            target["identity"] = str(target["identity"])
            target = target["jump"]
    return values


def from_json(values: dict[str, Any]) -> Inventory:
    """Read what ``to_json`` wrote; raises KeyError, TypeError or ValueError for anything else."""
    nodes = tuple(
        Node(**{**node, "roles": frozenset(node["roles"]), "ssh": _target(node["ssh"])}) for node in values["nodes"]
    )
    kinds = {"lab": LabKind(values["lab"]), "clock": ClockKind(values["clock"])}
    return Inventory(**{**values, **kinds, "nodes": nodes, "api": ApiAccess(**values["api"])})


def ssh_config(inventory: Inventory, known_hosts: Path) -> str:
    """Return a configuration with which a plain ``ssh NODE`` reaches each node, host keys checked."""
    lines: list[str] = []
    for node in inventory.nodes:
        lines += _host(node.name, node.ssh, known_hosts)
        if node.ssh.jump:
            lines += [f"  ProxyJump {node.name}-jump", *_host(f"{node.name}-jump", node.ssh.jump, known_hosts)]
    return "\n".join(lines) + "\n"


def known_hosts(inventory: Inventory) -> str:
    """Return the public keys of all nodes and jump hosts, under the names of ``ssh_config``."""
    lines = []
    for node in inventory.nodes:
        lines.append(f"{node.name} {node.ssh.host_key}")
        if node.ssh.jump:
            lines.append(f"{node.name}-jump {node.ssh.jump.host_key}")
    return "\n".join(lines) + "\n"


def _host(name: str, target: SshTarget, known: Path) -> list[str]:
    return [
        f"Host {name}",
        f"  HostName {target.host}",
        f"  Port {target.port}",
        f"  User {target.user}",
        f"  IdentityFile {target.identity}",
        "  IdentitiesOnly yes",
        f"  HostKeyAlias {name}",
        f"  UserKnownHostsFile {known}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
    ]


def _target(values: dict[str, Any]) -> SshTarget:
    jump = _target(values["jump"]) if values["jump"] else None
    return SshTarget(**{**values, "identity": Path(values["identity"]), "jump": jump})
