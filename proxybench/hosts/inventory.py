"""What the orchestrator knows of a cluster before it starts; the lab returns one, a file describes another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.model import ClockKind, LabKind


@dataclass(frozen=True)
class SshTarget:
    """How to reach one sshd. ``host_key`` is the public key line ("ssh-ed25519 AAAA…"): checked strictly."""

    host: str
    port: int
    user: str
    identity: Path
    host_key: str
    jump: SshTarget | None = None


@dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    ``roles``: "client" sends traffic, "proxy" runs a control loop. ``address`` is its InternalIP. ``pod_cidr`` is
    the range of its pods. ``cgroup_root`` is a cgroup v2 folder below which groups may be made.
    """

    name: str
    roles: frozenset[str]
    ssh: SshTarget
    address: str
    pod_cidr: str | None
    cgroup_root: str = "/sys/fs/cgroup/proxybench"


@dataclass(frozen=True)
class ApiAccess:
    """The Kubernetes API: as the orchestrator reaches it, and as the nodes do. The token is a secret."""

    url: str
    node_url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Inventory:
    """The cluster to measure.

    ``python`` is the interpreter on the nodes that has proxybench installed (lab), ``workdir`` a folder there that
    may be written, ``iptables`` the multi-call binary of the backend to use (its full path), ``iptables_backend``
    "legacy" or "nft". ``backend_port`` is the TCP and UDP port on which every pod address answers.
    ``one_kernel``: all nodes share one kernel, so their monotonic clocks are one.
    """

    nodes: tuple[Node, ...]
    api: ApiAccess
    lab: LabKind
    clock: ClockKind
    accelerator: str
    cluster_cidr: str
    service_cidr: str
    python: str
    workdir: str
    iptables: str
    iptables_backend: str
    backend_port: int
    one_kernel: bool

    def with_role(self, role: str) -> tuple[Node, ...]:
        """Return the nodes that have the role, in order."""
        return tuple(node for node in self.nodes if role in node.roles)
