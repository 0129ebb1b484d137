"""A user's own cluster that nobody has: its API in memory, its hosts strict fakes, its kubeconfig in a folder."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxybench.errors import ApiError
from proxybench.experiment.places import ClusterSpec, PodsSpec
from proxybench.hosts.fleet import Fleet, Reached
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import SshConfig
from proxybench.kube.base import Kind
from proxybench.kube.objects import MADE_BY_A_RUN, namespace, service
from proxybench.nodes.zipapp import build_zipapp, zipapp_name
from proxybench.targets.cluster.backends import _RUN
from proxybench.targets.cluster.host_facts import _ASK
from proxybench.targets.cluster.inventory import read_inventory
from proxybench.targets.cluster.target import ClusterTarget
from proxybench.targets.lab.apiserver.store import Store
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, FakeSession, Line, Open, Run, Step, done
from proxybench.testing.kube import FakeServiceApi
from tests.unit.targets.cluster.kubeadm_api import Api

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ServiceApi
    from proxybench.nodes.cluster import ApiAccess
    from proxybench.targets.cluster.switching import Switching

Object = dict[str, Any]
URL = "https://192.0.2.1:6443"
NODES = """\
version: 1
defaults: {user: root, workdir: /run/pb}
nodes:
  - {name: c1, roles: client, address: 192.0.2.10}
  - {name: n1, roles: measured, python: /python, tools: {nft: /opt/nft}}
  - {name: n2, roles: other}
  - {name: b1, roles: backend, workdir: /var/pb, addresses: [192.0.2.13, 192.0.2.14]}
"""
NAMESPACE_PATH = "/api/v1/namespaces/proxybench"
PODS_PATH = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb"
TOKEN_PATH = f"{NAMESPACE_PATH}/serviceaccounts/proxybench/token"


class OwnApi(FakeServiceApi):
    """The Services of one store, and the objects of kube-system."""

    def __init__(self, store: Store, system: Api) -> None:
        super().__init__(store)
        self._system = system
        self.away: list[ApiError] = []
        self.token = {"token": "small"}
        self.services: list[Object] = []
        self.leaving = 0
        self.pods = [pod(*one) for one in (("n2", "10.244.1.5"), ("b1", "10.244.2.5"), ("n9", "10.244.9.5"))]

    def delete_collection(self, kind: Kind, namespace: str, label: str) -> None:
        if self.away:
            raise self.away.pop(0)
        super().delete_collection(kind, namespace, label)

    def list(self, kind: Kind, namespace: str = "", label: str = "") -> Sequence[Object]:
        more = self.services if kind is Kind.SERVICE and not label else ()
        return [*super().list(kind, namespace, label), *more]

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        if (method, path) == ("POST", TOKEN_PATH) and not self.token:
            raise ApiError("not found", 404)
        if (method, path) == ("POST", TOKEN_PATH):
            return {"status": self.token}
        if (method, path) == ("GET", NAMESPACE_PATH) and self.leaving:
            self.leaving -= 1
            labels = {"app.kubernetes.io/managed-by": "proxybench"}
            return {"metadata": {"labels": labels, "deletionTimestamp": "2026-11-27T07:00:00Z"}}
        if (method, path) == ("GET", NAMESPACE_PATH):
            found = [one for one in self.list(Kind.NAMESPACE) if one["metadata"]["name"] == "proxybench"]
            if not found:
                raise ApiError("not found", 404)
            return dict(found[0])
        if (method, path) == ("GET", PODS_PATH):
            return {"items": self.pods}
        return self._system.ask(method, path, body)


def pod(host: str, address: str) -> Object:
    """Return a pod that runs on a host."""
    return {"metadata": {}, "spec": {"nodeName": host}, "status": {"podIP": address, "phase": "Running"}}


def kubeconfig(server: str, token: str, ca_pem: str) -> str:
    """Return a kubeconfig with a token."""
    authority = base64.b64encode(ca_pem.encode()).decode()
    return json.dumps(
        {
            "current-context": "one",
            "clusters": [{"name": "one", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "admin"}}],
        }
    )


def agent_file(workdir: str) -> str:
    """Return where the agent lies on a host."""
    return f"{workdir}/{zipapp_name(build_zipapp())}"


def installed(workdir: str) -> Run:
    """Expect the question whether the agent is there; it is."""
    path = agent_file(workdir)
    return Run(["sha256sum", path], done(f"{hashlib.sha256(build_zipapp()).hexdigest()}  {path}\n"))


def facts(boot: str = "1-2", legacy: str = "/sbin/legacy") -> Run:
    """Expect the question what a host is."""
    return Run(["sh", "-c", _ASK], done(f"boot {boot}\nlegacy {legacy}\nnft \n"))


def backend(session: FakeSession, workdir: str = "/var/pb", python: str = "python3", pod: str = "") -> list[Step]:
    """Expect our backend to be started."""
    argv = ["sh", "-c", _RUN, "backend", python, agent_file(workdir), "18080", pod]
    return [installed(workdir), Open(argv, session)]


@dataclass
class Own:
    """The cluster: what was connected to is in ``accesses`` and ``apis``, what was reached in ``reached``."""

    folder: Path
    nodes: str = NODES
    scripts: dict[str, list[Step]] = field(default_factory=dict)
    alone: dict[str, list[Step]] = field(default_factory=dict)  # of hosts that are reached by themselves
    again: list[dict[str, list[Step]]] = field(default_factory=list)  # of hosts that are reached once more
    lost: dict[str, str] = field(default_factory=dict)
    system: Api = field(default_factory=Api)
    store: Store = field(default_factory=Store)
    ready: FakeSession = field(default_factory=lambda: FakeSession([Line("ready 18080")]))
    accesses: list[ApiAccess] = field(default_factory=list)
    apis: list[OwnApi] = field(default_factory=list)
    reached: list[Mapping[str, SshTarget]] = field(default_factory=list)
    executors: dict[str, FakeExecutor] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    pods: PodsSpec | None = None
    more_pods: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)  # of others, as an API says them that is not the lab's
    service_cidr: str = "10.96.0.0/12"
    leaving: int = 0  # so many times the namespace is told to be there, and to be deleted just now
    gone: dict[str, str] = field(default_factory=dict)  # hosts that are lost when their backends are to be started
    claims: set[str] = field(default_factory=set)
    clock: FakeClock = field(default_factory=FakeClock)
    needed: int | None = 0
    token: dict[str, str] = field(default_factory=lambda: {"token": "small"})  # of our account; none: there is no such
    away: list[ApiError] = field(default_factory=list)  # what is answered to each try to delete, before it succeeds

    def target(self, switch: Switching | None = None) -> ClusterTarget:
        """Return it as a target."""
        (self.folder / "kubeconfig").write_text(kubeconfig(URL, "admin", "the CA"))
        (self.folder / "nodes.yaml").write_text(self.nodes)
        spec = ClusterSpec(
            inventory="nodes.yaml",
            kubeconfig=str(self.folder / "kubeconfig"),
            node_url="https://10.0.0.1:6443",
            service_cidr=self.service_cidr,
            pods=self.pods,
        )
        ssh = SshConfig(Secrets(), self.folder / "config", self.folder)
        inventory = read_inventory(self.folder / "nodes.yaml")
        how = (switch, self.host, self.hosts, self.connect)
        return ClusterTarget(spec, inventory, ssh, *how, claim=self.claim, clock=self.clock, needed=self.needed)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold a name within this test alone: others use the same at this moment."""
        free = name not in self.claims
        self.claims.add(name)
        try:
            yield free
        finally:
            if free:
                self.claims.remove(name)

    def usual(self, more: Sequence[Step] = ()) -> None:
        """Expect of each host what a run that only observes asks; then ``more`` of all that run a kube-proxy."""
        self.scripts = {
            "c1": [facts("c")],
            "n1": [facts("n", "/sbin/old"), *more],
            "n2": [facts("o"), *more],
            "b1": [facts("b")],
        }
        self.alone = {"b1": backend(self.ready)}

    @property
    def api(self) -> OwnApi:
        """The API as somebody else sees it."""
        made = OwnApi(self.store, self.system)
        made.pods += self.more_pods
        made.services = self.services
        return made

    def host(self, name: str, target: SshTarget) -> FakeExecutor:
        """Reach one host."""
        self.reached.append({name: target})
        made = FakeExecutor(name, self.alone.pop(name))
        self.executors[f"{name} alone"] = made
        return made

    def hosts(self, targets: Mapping[str, SshTarget]) -> Reached:
        """Reach all that are not lost; those of which a backend is expected by connections of its own."""
        self.reached.append(targets)
        if len(self.reached) > 1 and self.alone and set(targets) <= set(self.alone):
            backends = {name: FakeExecutor(name, self.alone.pop(name)) for name in targets if name not in self.gone}
            self.executors |= {f"{name} alone": one for name, one in backends.items()}
            return Reached(Fleet(backends), self.gone)
        scripts = self.again.pop(0) if self.again and len(self.reached) > 1 else self.scripts
        there = {name: FakeExecutor(name, scripts.get(name, ())) for name in targets if name not in self.lost}
        self.executors |= {f"{name}, connection {len(self.reached)}": one for name, one in there.items()}
        return Reached(Fleet(there), self.lost)

    def connect(self, at: ApiAccess, stack: ExitStack) -> OwnApi:
        """Connect to the API until the stack is left."""
        self.accesses.append(at)
        self.apis.append(stack.enter_context(self.api))
        self.apis[-1].away = self.away
        self.apis[-1].leaving = self.leaving
        self.apis[-1].token = self.token
        return self.apis[-1]

    def assert_left(self) -> None:
        """Raise AssertionError unless every host did what it was to, and all connections were closed."""
        for executor in self.executors.values():
            executor.assert_done()
            assert executor.closed, executor.name
        for api in self.apis:
            assert api._closed


def shop(own: Own) -> None:
    """Somebody else has a Service."""
    own.api.ensure_namespace("shop")
    theirs = service("web", "10.96.0.7", 80)
    theirs["metadata"]["namespace"] = "shop"
    del theirs["metadata"]["labels"]
    own.api.create_many([theirs])


def admins_namespace(api: ServiceApi) -> None:
    """Have the namespace that docs/cluster-rbac.yaml makes."""
    found = namespace("proxybench")
    found["metadata"]["annotations"] = {MADE_BY_A_RUN: "false"}
    api.create_many([found])
