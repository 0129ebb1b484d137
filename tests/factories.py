"""What tests make over and over: nodes, a cluster of three, ways to reach them. Nothing here is real."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from proxybench.clocks import ClockDomain
from proxybench.hosts.inventory import SshTarget
from proxybench.model import ClockKind
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits
from proxybench.nodes.node import Node

if TYPE_CHECKING:
    import pytest

MARK = "0123456789abcdef"
"""What ends each command's output (hosts.batch), with the fixture ``known_mark``."""

DOMAIN = ClockDomain("one kernel")
API = ApiAccess("https://127.0.0.1:1", "https://10.0.2.2:1", "the CA", "secret")
LAB = Traits(exclusive=True)


def make_target(**changes: Any) -> SshTarget:
    """Return a way to reach an sshd on this machine."""
    known: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 22,
        "user": "root",
        "identity": Path("/key"),
        "host_key": "ssh-ed25519 A",
    }
    return SshTarget(**{**known, **changes})


def make_node(name: str = "node1", address: str = "198.18.1.11", pod_cidr: str | None = None, **changes: Any) -> Node:
    """Return a node with both backends of iptables, of the one kernel that all have."""
    known: dict[str, Any] = {
        "ssh": make_target(),
        "clock": DOMAIN,
        "cgroup_root": f"/cgroup/{name}",
        "python": "/python",
        "workdir": "/run/pb",
        "iptables": {"legacy": "/xtables", "nft": "/xtables-nft"},
    }
    return Node(name=name, address=address, pod_cidr=pod_cidr, **{**known, **changes})


CLIENT = make_node("client", "198.18.1.10")
NODE1 = make_node("node1", "198.18.1.11", "10.244.0.0/17")
NODE2 = make_node("node2", "198.18.1.12", "10.244.128.0/17")


def make_cluster(**changes: Any) -> Cluster:
    """Return the cluster that a lab of namespaces is: a client, the measured node1, and node2."""
    known: dict[str, Any] = {
        "client": CLIENT,
        "measured": NODE1,
        "others": (NODE2,),
        "api": API,
        "clock": ClockKind.WALL,
        "kind": "netns",
        "accelerator": "none",
        "cluster_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/12",
        "backend_port": 8080,
        "traits": LAB,
    }
    return Cluster(**{**known, **changes})


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    """Put a module with these functions in the place of one that is imported late, such as all that measures."""
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)
