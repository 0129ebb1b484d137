"""What both kinds of lab share: the state folder, the files in it, and the cluster they end in."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench import scratch
from proxybench.clocks import ClockDomain
from proxybench.errors import LabError
from proxybench.hosts.inventory import SshTarget
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import node as node_object
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits
from proxybench.nodes.node import Node
from proxybench.nodes.zipapp import build_zipapp
from proxybench.targets.lab import leftovers, process, topology
from proxybench.targets.lab.apiserver import KUBERNETES_VERSION
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL
from proxybench.targets.lab.kernel_probe import IPTABLES_PROGRAMS
from proxybench.targets.lab.node_script import Paths
from proxybench.targets.lab.places import check_places, usual_places
from proxybench.targets.lab.sshd import PASSWORDS, USERS, Key, make_key, sshd_config

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxybench.model import ClockKind, LabKind
    from proxybench.targets.lab.artifacts import System
    from proxybench.targets.lab.topology import Topology


@dataclass(frozen=True)
class Settings:
    """What a user may choose of a lab, and what follows of the subjects: who its API server says to be."""

    clock: ClockKind
    accelerator: str
    kernel: str = DEFAULT_KERNEL  # of a guest; namespaces have this machine's
    topology: Topology = topology.DEFAULT
    kubernetes_version: str = KUBERNETES_VERSION


@dataclass(frozen=True)
class Prepared:
    """The state folder, filled: keys, configurations and scripts."""

    paths: Paths
    client_key: Key
    host_keys: dict[str, Key]


def make_state_folder(system: System, own: Collection[str]) -> Path:
    """Make the folder of a new lab; only its owner can read it. What killed owners left goes first.

    Raises LabError when nodes, which have folders ``own`` of their own, could not use it, or something else they need.
    """
    leftovers.sweep()
    state = scratch.make(leftovers.STATE_PREFIX)
    try:
        check_places(usual_places(state, system.root), own, on_search_path=(system.root,))
    except LabError:
        scratch.remove(state)
        raise
    return state


def prepare(state: Path, system: System, layout: Topology) -> Prepared:
    """Write into ``state`` everything that nodes read: the agent, users, keys and sshd configurations."""
    agent = state / "agent.pyz"
    agent.write_bytes(build_zipapp())
    paths = Paths(state, system.root, Path(sys.executable), agent)
    (state / "passwd").write_text(USERS)
    (state / "shadow").write_text(PASSWORDS)
    client_key = make_key(state / "identity")
    names = [topology.CTL, *(node.name for node in layout.nodes)]
    clients = [node.name for node in layout.with_role("client")]
    host_keys = {name: make_key(state / f"{name}.key") for name in names}
    for name in names:
        config = sshd_config(
            host_key=state / f"{name}.key",
            authorized_keys=state / "identity.pub",
            listen="10.0.2.15" if name == topology.CTL else None,
            forwards="local" if name == topology.CTL else "yes" if name in clients and len(clients) > 1 else "no",
        )
        paths.config(name).write_text(config)
    return Prepared(paths, client_key, host_keys)


def cluster(
    prepared: Prepared,
    *,
    targets: dict[str, SshTarget],
    api: ApiAccess,
    kind: LabKind,
    settings: Settings,
    cgroup: str,
) -> Cluster:
    """Return the lab as whoever measures it sees it: nothing in it says that it is one."""
    clock = ClockDomain(f"{kind} {prepared.paths.state.name}")  # all its nodes share one kernel
    iptables, dual = find_iptables(), settings.topology.dual_stack
    nodes = {
        node.name: Node(
            name=node.name,
            ssh=targets[node.name],
            address=node.address,
            pod_cidr=node.pod_cidr,
            clock=clock,
            cgroup_root=f"{cgroup}/{node.name}",
            python=str(prepared.paths.python),
            workdir="/run/proxybench",
            iptables=iptables,
            address6=node.address6 if dual else None,
            pod_cidr6=node.pod_cidr6 if dual else None,
        )
        for node in settings.topology.nodes
    }
    measured, *others = (nodes[node.name] for node in settings.topology.with_role("proxy"))
    client, *more_clients = (nodes[node.name] for node in settings.topology.with_role("client"))
    pods = settings.topology.with_role("pod")
    return Cluster(
        client=client,
        measured=measured,
        others=tuple(others),
        api=api,
        clock=settings.clock,
        kind=str(kind),
        accelerator=settings.accelerator,
        cluster_cidr=topology.CLUSTER_CIDR,
        service_cidr=topology.SERVICE_CIDR,
        backend_port=topology.BACKEND_PORT,
        traits=Traits(exclusive=True),
        cluster_cidr6=topology.CLUSTER_CIDR6 if dual else None,
        service_cidr6=topology.SERVICE_CIDR6 if dual else None,
        more_clients=tuple(more_clients),
        pod=nodes[pods[0].name] if pods else None,
        external_cidr=topology.EXTERNAL_CIDR,
    )


def register(api: ApiAccess, layout: Topology) -> None:
    """Write the Node object of each node that runs a Service proxy, as its kubelet would. Raises ApiError."""
    nodes = [
        node_object(
            node.name,
            node.address,
            node.pod_cidr or "",
            (node.address6, node.pod_cidr6 or "") if layout.dual_stack else None,
        )
        for node in layout.with_role("proxy")
    ]
    with KubernetesServiceApi(api.url, api.token, ca_pem=api.ca_pem) as client:
        client.create_many(nodes)


def start_api(settings: Settings, address: str) -> ApiServerProcess:
    """Start the API server, which nodes reach at an address. Raises LabError."""
    cidrs = [topology.SERVICE_CIDR, *([topology.SERVICE_CIDR6] if settings.topology.dual_stack else [])]
    version = settings.kubernetes_version
    return ApiServerProcess(addresses=[address], service_cidr=",".join(cidrs), kubernetes_version=version)


def find_iptables() -> dict[str, str]:
    """Return the full path of each backend's multi-call program. Raises LabError when one is not installed."""
    path = process.search_path()
    found = {backend: shutil.which(program, path=path) for backend, program in IPTABLES_PROGRAMS.items()}
    lacking = [IPTABLES_PROGRAMS[backend] for backend, program in found.items() if program is None]
    if lacking:
        raise LabError(f"{', '.join(lacking)} not installed; `apt-get install iptables` brings it")
    return {backend: program for backend, program in found.items() if program is not None}


def target(prepared: Prepared, name: str, host: str, port: int, jump: SshTarget | None = None) -> SshTarget:
    """Return how to reach the sshd of a node."""
    return SshTarget(host, port, "root", prepared.client_key.private, prepared.host_keys[name].public, jump)
