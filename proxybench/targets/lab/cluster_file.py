"""A cluster as JSON and back, and as an ssh configuration. Pure; the result holds secrets: write it mode 0600."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from proxybench.hosts.inventory import SshTarget
from proxybench.model import ClockKind
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits, untroubled
from proxybench.nodes.node import Node


def to_json(cluster: Cluster) -> dict[str, Any]:
    """Return the cluster as JSON values."""
    values = asdict(replace(cluster, trouble=untroubled))  # which is of this process
    del values["trouble"]
    pods = [values["pod"]] if values["pod"] else []
    for node in (values["client"], values["measured"], *values["others"], *values["more_clients"], *pods):
        target = node["ssh"]
        while target:
            target["identity"] = str(target["identity"])
            target["further"] = [str(file) for file in target["further"]]
            target = target["jump"]
    return values


def from_json(values: dict[str, Any]) -> Cluster:
    """Read what ``to_json`` wrote; raises KeyError, TypeError or ValueError for anything else."""
    return Cluster(
        **{
            **values,
            "client": _node(values["client"]),
            "measured": _node(values["measured"]),
            "others": tuple(_node(node) for node in values["others"]),
            "more_clients": tuple(_node(node) for node in values["more_clients"]),
            "api": ApiAccess(**values["api"]),
            "clock": ClockKind(values["clock"]),
            "traits": Traits(**values["traits"]),
            "endpoints": tuple((node, address) for node, address in values["endpoints"]),
            "taken": tuple(values["taken"]),
            "pod": _node(values["pod"]) if values["pod"] else None,
        }
    )


def ssh_config(cluster: Cluster) -> str:
    """Return a configuration with which a plain ``ssh NODE`` reaches each node, host keys checked.

    It names files of the folder that ssh is started in, known_hosts and those of ``identities``: ssh reads ``%`` and
    ``$`` in a path as signs of its own, and has no way to write the latter.
    """
    lines: list[str] = []
    for node in cluster.nodes:
        lines += _host(node.name, node.ssh)
        if node.ssh.jump:
            lines += [f"  ProxyJump {node.name}-jump", *_host(f"{node.name}-jump", node.ssh.jump)]
    return "\n".join(lines) + "\n"


def identities(cluster: Cluster) -> dict[str, Path]:
    """Return the private key of each node and jump host by the name of the file that ``ssh_config`` wants it in."""
    targets = {node.name: node.ssh for node in cluster.nodes}
    targets |= {f"{node.name}-jump": node.ssh.jump for node in cluster.nodes if node.ssh.jump}
    return {f"{name}.key": target.identity for name, target in targets.items() if target.identity}


def known_hosts(cluster: Cluster) -> str:
    """Return the public keys of all nodes and jump hosts, under the names of ``ssh_config``."""
    lines = []
    for node in cluster.nodes:
        lines.append(f"{node.name} {node.ssh.host_key}")
        if node.ssh.jump:
            lines.append(f"{node.name}-jump {node.ssh.jump.host_key}")
    return "\n".join(lines) + "\n"


def _host(name: str, target: SshTarget) -> list[str]:
    return [
        f"Host {name}",
        f"  HostName {target.host}",
        f"  Port {target.port}",
        f"  User {target.user}",
        f"  IdentityFile {name}.key",
        "  IdentitiesOnly yes",
        f"  HostKeyAlias {name}",
        "  UserKnownHostsFile known_hosts",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
    ]


def _node(values: dict[str, Any]) -> Node:
    return Node(**{**values, "ssh": _target(values["ssh"])})


def _target(values: dict[str, Any]) -> SshTarget:
    jump = _target(values["jump"]) if values["jump"] else None
    further = tuple(Path(file) for file in values["further"])
    return SshTarget(**{**values, "identity": Path(values["identity"]), "further": further, "jump": jump})
