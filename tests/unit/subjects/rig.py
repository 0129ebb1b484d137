"""A node, a cluster and scripted calls, for the tests of the drivers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxybench.deadline import Deadline
from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.hosts import batch
from proxybench.model import Mode, Subject
from proxybench.nodes.answers import HttpAnswer
from proxybench.nodes.cluster import ApiAccess
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import AskAlive, HttpGet, Spawn, Stop
from proxybench.releases.component import Component
from proxybench.releases.store import Binary
from proxybench.subjects.bundle import unpack_argv
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor, Run, done
from proxybench.units import NS_PER_S
from tests.factories import MARK, make_cluster, make_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.nodes.node import Node
    from proxybench.nodes.requests import Request
    from proxybench.subjects.bundle import Bundle
    from proxybench.testing.clock import FakeClock
    from proxybench.testing.hosts import Step

FOLDER = "/run/pb/proxy"
CGROUP = "/sys/fs/cgroup/pb/node-a/proxy"
NODE = make_node(
    "node-a",
    pod_cidr="10.244.0.0/17",
    cgroup_root="/sys/fs/cgroup/pb/node-a",
    python="/venv/python",
    iptables={"legacy": "/x/legacy", "nft": "/x/nft"},
)
CLUSTER = make_cluster(
    measured=NODE, others=(), api=ApiAccess("https://127.0.0.1:1", "https://198.18.0.1:6443", "the CA\n", "secret")
)
SYNCED = "kubeproxy_sync_proxy_rules_duration_seconds_sum 0.5\nkubeproxy_sync_proxy_rules_duration_seconds_count 1\n"


YEAR_2026 = 1_795_643_243 * NS_PER_S


def make_spec(
    version: str = "v1.37.2",
    mode: Mode = Mode.IPTABLES,
    kind: str = "kube-proxy",
    iptables: Backend | None = Backend.LEGACY,
    **changes: Any,
) -> SubjectSpec:
    """Return what a driver is given, with the usual periods."""
    known: dict[str, Any] = {"min_sync_period": 1.0, "sync_period": 600.0, "iptables": iptables, **changes}
    return SubjectSpec(Subject(kind, version, mode), **known)


def make_binary(path: Path = Path("/cache/kube-proxy"), version: str = "v1.37.2") -> Binary:
    """Return a kube-proxy that nobody runs."""
    return Binary(
        path, Component.KUBE_PROXY, version, "amd64", "release https://example", hashlib.sha512(b"x").hexdigest()
    )


class FakeBinaries:
    """Gives one binary for every question, and remembers the questions."""

    def __init__(self, binary: Binary) -> None:
        self.asked: list[str] = []
        self._binary = binary

    def release(self, version: str) -> Binary:
        self.asked.append(version)
        return self._binary

    def checkout(self, folder: Path) -> Binary:
        self.asked.append(str(folder))
        return self._binary


def handle(
    steps: Sequence[Step] = (), requests: Sequence[tuple[Request[Any], object]] = (), node: Node = NODE
) -> tuple[NodeHandle, FakeExecutor, FakeAgent]:
    executor, agent = FakeExecutor(node.name, steps), FakeAgent(requests)
    return NodeHandle(node, executor, agent), executor, agent


def unpack(bundle: Bundle, folder: str = FOLDER) -> Run:
    return Run(unpack_argv(folder), stdin=bundle.tar().decode())


def together(commands: Sequence[Sequence[str]], *answers: tuple[str, int], stderr: str = "") -> Run:
    """Return the one exec of some commands, with each one's output and code; the mark is ``MARK``."""
    stdout = "".join(f"{text}\n{MARK} {code}\n" for text, code in answers)
    return Run(["sh", "-c", batch.script(commands, MARK)], done(stdout, stderr))


def ending(log: str, *secrets: str, removed: int = 0, read: int = 0, stderr: str = "") -> Run:
    """Return what ``stop`` runs on the node."""
    names = [f"{FOLDER}/{name}" for name in secrets or ("token",)]
    commands = [["rm", "-f", *names], ["cat", f"{FOLDER}/log"]]
    return together(commands, ("", removed), (log, read), stderr=stderr)


def get(port: int, path: str) -> HttpGet:
    return HttpGet(f"http://127.0.0.1:{port}{path}")


def answer(body: str = "", status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, body)


HEALTHZ, METRICS, MODE = get(10256, "/healthz"), get(10249, "/metrics"), get(10249, "/proxyMode")
ALIVE, STOP = AskAlive(7), Stop(7, 20)


def spawn(argv: Sequence[str], env: Mapping[str, str]) -> Spawn:
    return Spawn(tuple(argv), f"{FOLDER}/log", dict(env), CGROUP, 60.0)


def deadline(clock: FakeClock, seconds: float = 1000.0) -> Deadline:
    return Deadline(clock, seconds, "the step")
