"""What both kinds of lab share: the state folder, the files in it, and the inventory they end in."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench import scratch
from proxybench.errors import LabError
from proxybench.hosts.inventory import ApiAccess, Inventory, Node, SshTarget
from proxybench.nodes.zipapp import build_zipapp
from proxybench.targets.lab import leftovers, topology
from proxybench.targets.lab.node_script import IPTABLES, Paths
from proxybench.targets.lab.sshd import USERS, Key, make_key, sshd_config

if TYPE_CHECKING:
    from proxybench.model import ClockKind, LabKind
    from proxybench.targets.lab.artifacts import System
    from proxybench.targets.lab.topology import Topology

IPTABLES_BACKEND = "legacy"


@dataclass(frozen=True)
class Settings:
    """What a user may choose of a lab."""

    clock: ClockKind
    accelerator: str
    topology: Topology = topology.DEFAULT


@dataclass(frozen=True)
class Prepared:
    """The state folder, filled: keys, configurations and scripts."""

    paths: Paths
    client_key: Key
    host_keys: dict[str, Key]


def make_state_folder() -> Path:
    """Make the folder of a new lab; only its owner can read it. What killed owners left goes first."""
    leftovers.sweep()
    return scratch.make(leftovers.STATE_PREFIX)


def prepare(state: Path, system: System, layout: Topology) -> Prepared:
    """Write into ``state`` everything that nodes read: the agent, users, keys and sshd configurations."""
    agent = state / "agent.pyz"
    agent.write_bytes(build_zipapp())
    paths = Paths(state, system.root, Path(sys.executable), agent)
    (state / "passwd").write_text(USERS)
    client_key = make_key(state / "identity")
    names = [topology.CTL, *(node.name for node in layout.nodes)]
    host_keys = {name: make_key(state / f"{name}.key") for name in names}
    for name in names:
        config = sshd_config(
            host_key=state / f"{name}.key",
            authorized_keys=state / "identity.pub",
            listen="10.0.2.15" if name == topology.CTL else None,
            jump=name == topology.CTL,
        )
        paths.config(name).write_text(config)
    return Prepared(paths, client_key, host_keys)


def inventory(
    prepared: Prepared,
    *,
    targets: dict[str, SshTarget],
    api: ApiAccess,
    kind: LabKind,
    settings: Settings,
    cgroup: str,
) -> Inventory:
    """Return what the orchestrator needs to know."""
    nodes = tuple(
        Node(
            name=node.name,
            roles=node.roles,
            ssh=targets[node.name],
            address=node.address,
            pod_cidr=node.pod_cidr,
            cgroup_root=f"{cgroup}/{node.name}",
        )
        for node in settings.topology.nodes
    )
    return Inventory(
        nodes=nodes,
        api=api,
        lab=kind,
        clock=settings.clock,
        accelerator=settings.accelerator,
        cluster_cidr=topology.CLUSTER_CIDR,
        service_cidr=topology.SERVICE_CIDR,
        python=str(prepared.paths.python),
        workdir="/run/proxybench",
        iptables=find_iptables(),
        iptables_backend=IPTABLES_BACKEND,
        backend_port=topology.BACKEND_PORT,
        one_kernel=True,
    )


def find_iptables() -> str:
    """Return the full path of the iptables binary of our backend; raise LabError when it is not installed."""
    found = shutil.which(IPTABLES, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise LabError(f"{IPTABLES} is not installed; `apt-get install iptables` brings it")
    return found


def target(prepared: Prepared, name: str, host: str, port: int, jump: SshTarget | None = None) -> SshTarget:
    """Return how to reach the sshd of a node."""
    return SshTarget(host, port, "root", prepared.client_key.private, prepared.host_keys[name].public, jump)
