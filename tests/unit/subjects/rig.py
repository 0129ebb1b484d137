"""A node, a cluster and scripted calls, for the tests of the drivers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxybench.clocks import ClockDomain
from proxybench.deadline import Deadline
from proxybench.hosts import batch
from proxybench.hosts.inventory import SshTarget
from proxybench.model import ClockKind
from proxybench.nodes.answers import HttpAnswer
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits
from proxybench.nodes.node import Node, NodeHandle
from proxybench.nodes.requests import AskAlive, HttpGet, Spawn, Stop
from proxybench.subjects.bundle import unpack_argv
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor, Run, done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.nodes.requests import Request
    from proxybench.subjects.bundle import Bundle
    from proxybench.testing.hosts import Step

S = 1_000_000_000
MARK = "0123456789abcdef"
FOLDER = "/run/pb/proxy"
CGROUP = "/sys/fs/cgroup/pb/node-a/proxy"
DOMAIN = ClockDomain("here")
NODE = Node(
    name="node-a",
    ssh=SshTarget("127.0.0.1", 22, "root", Path("/key"), "ssh-ed25519 A"),
    address="198.18.1.11",
    pod_cidr="10.244.0.0/17",
    clock=DOMAIN,
    cgroup_root="/sys/fs/cgroup/pb/node-a",
    python="/venv/python",
    workdir="/run/pb",
    iptables={"legacy": "/x/legacy", "nft": "/x/nft"},
)
CLUSTER = Cluster(
    client=NODE,
    measured=NODE,
    others=(),
    api=ApiAccess("https://127.0.0.1:1", "https://198.18.0.1:6443", "the CA\n", "secret"),
    clock=ClockKind.WALL,
    kind="netns",
    accelerator="",
    cluster_cidr="10.244.0.0/16",
    service_cidr="10.96.0.0/12",
    backend_port=8080,
    traits=Traits(exclusive=True, may_use_realtime=True, owns_nodes=True),
)
SYNCED = "kubeproxy_sync_proxy_rules_duration_seconds_sum 0.5\nkubeproxy_sync_proxy_rules_duration_seconds_count 1\n"


class FakeClock:
    """Time that passes in ``sleep`` only; UTC is some moment of 2026."""

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        return self.now

    def utc_ns(self) -> int:
        return 1_795_643_243 * S + self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * S)


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
