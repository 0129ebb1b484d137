"""A netns lab that plays the user's own cluster: what a user has of it, and a kube-proxy started by hand.

Simulated: the kubelet (nobody restarts a kube-proxy that ends), and containers (each is a plain process in a cgroup of
its own). Real: SSH with host keys, the API's objects, kube-proxy, its rules and the traffic through them.
"""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode, Subject
from proxybench.subjects.bundle import Bundle, put_folder
from proxybench.subjects.kube_proxy_config import render_config, render_kubeconfig
from proxybench.subjects.path_links import path_links
from proxybench.targets.lab.topology import SERVICE_CIDR

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.base import Executor
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.nodes.node import NodeHandle

FOLDER = "/run/user-kube-proxy"
BACKENDS = ("198.18.1.21", "198.18.1.22", "198.18.1.23")
"""Further addresses of node2, which its user has given it."""

# $1 folder, $2 cgroup, $3 binary: runs on after the connection has ended, as a container would.
_START = """
mkdir -p "/sys/fs/cgroup/$2"
setsid sh -c 'echo $$ > "/sys/fs/cgroup/$2/cgroup.procs"
PATH="$1/bin:$PATH" TZ=UTC exec "$3" --config="$1/config.yaml" --v=2' x "$1" "$2" "$3" >"$1/log" 2>&1 </dev/null &
"""


@dataclass(frozen=True)
class User:
    """A user's home folder, with what they have of their cluster."""

    home: Path
    experiment: Path

    @property
    def environment(self) -> dict[str, str]:
        """What their programs see."""
        return {
            "HOME": str(self.home),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }


def make_user(home: Path, cluster: Cluster, experiment: str, api: ApiAccess | None = None) -> User:
    """Write known_hosts, a kubeconfig, an inventory and an experiment file."""
    access = api or cluster.api
    (home / ".ssh").mkdir(parents=True)
    (home / ".kube").mkdir()
    known = [f"[{node.ssh.host}]:{node.ssh.port} {node.ssh.host_key}" for node in cluster.nodes]
    (home / ".ssh" / "known_hosts").write_text("\n".join(known) + "\n")
    (home / ".kube" / "config").write_text(json.dumps(kubeconfig(access)))
    roles = {"client": "client", "node1": "measured", "node2": "[other, backend]"}
    lines = [
        "version: 1",
        f"defaults: {{user: root, key: {cluster.client.ssh.identity}, python: {cluster.client.python}}}",
        "nodes:",
    ]
    for node in (one for one in cluster.nodes if one.name in roles):
        more = f", addresses: [{', '.join(BACKENDS)}]" if node.name == "node2" else ""
        place = f"host: {node.ssh.host}, port: {node.ssh.port}, address: {node.address}"
        lines.append(f"  - {{name: {node.name}, roles: {roles[node.name]}, {place}{more}}}")
    (home / "nodes.yaml").write_text("\n".join(lines) + "\n")
    target = f"inventory: nodes.yaml, node_url: '{access.node_url}', service_cidr: {SERVICE_CIDR}"
    (home / "experiment.yaml").write_text(experiment.replace("TARGET", f"{{cluster: {{{target}}}}}"))
    return User(home, home / "experiment.yaml")


def cgroup(node: str) -> str:
    """Return the name of the cgroup of a node's kube-proxy: the lab's nodes share one hierarchy."""
    return f"user-kube-proxy-{node}"


def kubeconfig(api: ApiAccess) -> dict[str, object]:
    """Return a kubeconfig with a token."""
    authority = base64.b64encode(api.ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": api.url, "certificate-authority-data": authority}}],
        "users": [{"name": "admin", "user": {"token": api.token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
    }


def config(cluster: Cluster, handle: NodeHandle, mode: Mode) -> str:
    """Return the configuration of a node's kube-proxy."""
    backend = None if mode is Mode.NFTABLES else Backend.LEGACY
    spec = SubjectSpec(Subject("kube-proxy", "v1.37.2", mode), 1.0, 30.0, backend)
    return render_config(spec, handle.node, cluster, f"{FOLDER}/kubeconfig")


def start_kube_proxy(handle: NodeHandle, binary: Path, api: ApiAccess, text: str) -> None:
    """Start a kube-proxy on a node, as its user has."""
    files = {
        "token": api.token,
        "ca.pem": api.ca_pem,
        "kubeconfig": render_kubeconfig(api, f"{FOLDER}/ca.pem", f"{FOLDER}/token"),
        "config.yaml": text,
    }
    put_folder(handle.executor, FOLDER, Bundle(files, path_links(handle, Backend.LEGACY)))
    handle.executor.run(["sh", "-c", _START, "start", FOLDER, cgroup(handle.name), str(binary)])


def end_kube_proxy(executor: Executor) -> None:
    """End it, as a kubelet ends a container."""
    script = 'pids=$(cat "$1"); [ -z "$pids" ] || kill $pids; sleep 0.2; true'
    members = f"/sys/fs/cgroup/{cgroup(executor.name)}/cgroup.procs"
    executor.run(["sh", "-c", script, "end", members], check=False)


def add_addresses(executor: Executor) -> None:
    """Give node2 its further addresses."""
    commands = [f"ip addr add {shlex.quote(address)}/24 dev data" for address in BACKENDS]
    executor.run(["sh", "-c", "; ".join(commands)])
