"""What the tests of both kinds of lab share: traces of a lab on this machine, and an agent on a node."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import AgentError
from proxybench.kube import objects
from proxybench.kube.base import Kind
from proxybench.kube.client import KubernetesServiceApi
from proxybench.nodes.client import MARGIN_S, AgentClient, connect_agent, install
from proxybench.nodes.requests import Await, Change, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.hosts.fleet import Fleet
    from proxybench.nodes.cluster import Cluster

PATIENCE = 20.0


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout


def root_network() -> dict[str, str]:
    """Return what a lab must not change in this machine's own network."""
    rules = said("xtables-legacy-multi", "iptables-save")
    return {
        "namespaces": said("ip", "netns", "list"),
        "links": said("ip", "-o", "link"),
        "addresses": said("ip", "-o", "-4", "address"),
        "routes": said("ip", "route"),
        "rules": "\n".join(line for line in rules.splitlines() if line.startswith("-")),
    }


def processes_naming(text: str) -> dict[int, str]:
    """Return the processes whose command line holds ``text``; never this one."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if text in command:
            found[int(folder.name)] = command
    return found


def descendants(pid: int) -> dict[int, str]:
    """Return the command lines of all processes below one."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    found = {}
    for child in below - {pid}:
        with suppress(OSError):
            found[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def mounts_naming(text: str) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if text in line]


def cgroups(prefix: str) -> list[str]:
    """Return the cgroups of that prefix, looked for in a mount of our own: the system's may hide version 2."""
    script = 'm=$(mktemp -d) && mount -t cgroup2 cgroup "$m" && ls "$m"; umount "$m"; rmdir "$m"'
    listed = said("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
    return [name for name in listed.split() if name.startswith(prefix)]


def eventually(empty: Callable[[], object], patience: float = PATIENCE) -> object:
    """Ask until nothing is found, for so many seconds; return what was found last."""
    deadline = time.monotonic() + patience
    while (found := empty()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@contextmanager
def agents_on(
    fleet: Fleet, cluster: Cluster, *names: str, margin_s: float = MARGIN_S
) -> Iterator[dict[str, AgentClient]]:
    agents: dict[str, AgentClient] = {}
    try:
        for node in cluster.nodes:
            if node.name in names:
                path = install(fleet[node.name], node.workdir)
                agents[node.name] = connect_agent(fleet[node.name], node.python, path, margin_s)
        yield agents
    finally:
        for agent in agents.values():
            agent.close()


def check_api(cluster: Cluster, fleet: Fleet, *names: str) -> None:
    """What a node writes by its address of the API, the orchestrator reads by its own; without a token nobody does."""
    probe = Await("10.96.200.200", 80, "answer", timeout_s=1)  # a change wants a probe; nothing answers this one
    path = f"/api/v1/namespaces/{objects.NAMESPACE}/services"
    with (
        KubernetesServiceApi(cluster.api.url, cluster.api.token, ca_pem=cluster.api.ca_pem) as api,
        agents_on(fleet, cluster, *names) as agents,
    ):
        api.ensure_namespace(objects.NAMESPACE)
        for number, (name, agent) in enumerate(agents.items(), start=1):
            agent.api(cluster.api.node_url, "no such token", cluster.api.ca_pem)
            with pytest.raises(AgentError, match="the API answered 401 to POST"):
                agent.call(Change((Write("POST", path, objects.service("no", "10.96.9.9", 8080)),), (probe,)))
            agent.api(cluster.api.node_url, cluster.api.token, cluster.api.ca_pem)
            body = objects.service(f"from-{name}", f"10.96.9.{number}", 8080)
            assert agent.call(Change((Write("POST", path, body),), (probe,))).statuses == (201,)
        found = [service["metadata"]["name"] for service in api.list(Kind.SERVICE, objects.NAMESPACE)]
        assert sorted(found) == sorted(f"from-{name}" for name in names)
        api.delete_collection(Kind.SERVICE, objects.NAMESPACE, objects.SELECTOR)
