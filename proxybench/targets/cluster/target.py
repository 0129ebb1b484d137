"""The user's own cluster as a target: reached, looked at, lent backends and a namespace, and left as it was."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from proxybench.clocks import ClockDomain
from proxybench.errors import ConnectionLostError, RunError, UsageError
from proxybench.hosts.fleet import reach
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh import SshExecutor
from proxybench.hosts.ssh_config import SshConfig
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, SELECTOR
from proxybench.model import ClockKind, LabKind
from proxybench.nodes.client import connect_agent, install
from proxybench.nodes.cluster import Cluster, Traits
from proxybench.nodes.node import Node, NodeHandle
from proxybench.subjects.cluster import ProxyFacts, read_facts
from proxybench.targets.base import TargetFacts
from proxybench.targets.cluster import access
from proxybench.targets.cluster.backends import endpoints, start_backend
from proxybench.targets.cluster.host_facts import HostFacts, read_host
from proxybench.targets.cluster.inventory import Inventory, NodeWords, Role, read_inventory
from proxybench.targets.cluster.switch.changes import strangers
from proxybench.targets.cluster.switch.switcher import Switcher, look
from proxybench.targets.cluster.switch.undo import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from proxybench.experiment.places import ClusterSpec
    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet, Reached
    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ClusterApi, Object, ObjectApi
    from proxybench.model import Mode
    from proxybench.nodes.cluster import ApiAccess

PYTHON: Final = "python3"
WORKDIR: Final = "/run/proxybench"
_LOOK_SECONDS: Final = 120.0
_SHOWN: Final = 3
ASK_MODE: Final = (
    "import urllib.request as r; o = r.build_opener(r.ProxyHandler({})); "
    "print(o.open('http://127.0.0.1:10249/proxyMode', timeout=5).read().decode())"
)
_WRITERS: Final = 8  # connections to an API that others use, too


@dataclass
class Switching:
    """What a run's switching needs, as it becomes known: ``folder`` with the run, ``switcher`` with the cluster.

    ``interrupts``: it was understood that others' traffic is interrupted. ``over``: the cluster is being given back.
    """

    interrupts: bool = False
    folder: Path | None = None
    switcher: Switcher | None = None
    over: Event = field(default_factory=Event)

    def began(self, folder: Path) -> None:
        """Note the run's folder, where the undo log will lie."""
        self.folder = folder

    def opened(
        self,
        api: ObjectApi,
        services: Sequence[Object],
        connect: Callable[[], AbstractContextManager[ObjectApi]],
        header: Header,
        modes: Callable[[], Mapping[str, str]],
        report: Callable[[str], None],
    ) -> Switcher:
        """Return what switches the cluster, and puts back what an earlier part of the run has left switched.

        ``services`` are all of the cluster.
        Raises UsageError where it cannot be switched, or others would feel it.
        """
        found = look(api)
        if not found.switchable:
            raise UsageError(f"kube-proxy cannot be switched: {found.why}")
        felt = strangers(services, NAMESPACE)
        if felt and not self.interrupts:
            some = ", ".join(felt[:_SHOWN]) + (", …" if len(felt) > _SHOWN else "")
            raise UsageError(
                f"{len(felt)} Services of others would feel a switch ({some}); if that is right: "
                "--i-understand-this-interrupts-traffic"
            )
        self.switcher = Switcher(connect, header, modes, report, folder=self.folder, over=self.over)
        return self.switcher

    def to(self, mode: Mode) -> None:
        """Switch the open cluster. Raises UsageError, RunError, ApiError."""
        if self.switcher is None:
            raise RunError("the cluster is not open yet")
        self.switcher.to(mode)


def open_api(at: ApiAccess, stack: ExitStack) -> ClusterApi:
    """Connect to the API until the stack is left."""
    return stack.enter_context(
        KubernetesServiceApi(
            at.url,
            at.token,
            ca_pem=at.ca_pem,
            client_pem=at.client_pem,
            writes_per_second=at.writes_per_second,
            connections=_WRITERS,
        )
    )


@dataclass(frozen=True)
class ClusterTarget:
    """A cluster that is there: its hosts by inventory, its API by kubeconfig; ``switch`` None: it is only observed.

    ``host`` and ``hosts`` are how one host and all of them are reached, ``connect`` how the API is.
    """

    spec: ClusterSpec
    inventory: Inventory
    ssh: SshConfig = field(default_factory=lambda: SshConfig(Secrets()))
    switch: Switching | None = None
    host: Callable[[str, SshTarget], Executor] = SshExecutor
    hosts: Callable[[Mapping[str, SshTarget]], Reached] = reach
    connect: Callable[[ApiAccess, ExitStack], ClusterApi] = open_api

    @property
    def facts(self) -> TargetFacts:
        """What it is."""
        how = "observed as it is" if self.switch is None else "its kube-proxy switched, and put back"
        why = f"the cluster that the experiment names, {how}"
        return TargetFacts(str(LabKind.CLUSTER), ClockKind.WALL, "none", why, starts_proxies=False)

    @cached_property
    def first_access(self) -> ApiAccess:
        """The API as the kubeconfig reaches it; an exec plugin is run once."""
        return access.first_access(access.credentials(self.spec), self.spec)

    @cached_property
    def targets(self) -> Mapping[str, SshTarget]:
        """How each host is reached, by its name; passphrases and passwords are asked for here."""
        return {node.name: self.ssh.target(self.inventory.ssh(node)) for node in self.inventory.nodes}

    def capacity(self) -> int:
        """Return 1: there is one such cluster."""
        return 1

    def look(self) -> ProxyFacts:
        """Ask the measured node's kube-proxy what it is. Raises HostError, ProxierError."""
        node = self._only(Role.MEASURED)
        with self.host(node.name, self.targets[node.name]) as executor:
            agent = connect_agent(executor, self.python(node), install(executor, self.workdir(node)))
            try:
                return read_facts(NodeHandle(self._node(node, HostFacts(""), ""), executor, agent))
            finally:
                agent.close()

    @contextmanager
    def open(self, count: int, report: Callable[[str], None]) -> Iterator[tuple[Cluster, ...]]:
        """Reach the hosts, start our backends, and take back at the end what was written to the API."""
        del count
        with ExitStack() as stack:
            fleet = self._reach(stack, report)
            api = self.connect(self.first_access, stack)
            own_namespace = not access.has_namespace(api)
            services = api.list(Kind.SERVICE)
            taken = tuple(
                str(service["spec"]["clusterIP"])
                for service in services
                if service["metadata"].get("namespace") != NAMESPACE
            )
            stack.callback(self._clean, own_namespace=own_namespace)
            if self.switch is not None:
                header = Header(self.first_access.url, *access.origin(self.spec))
                switcher = self.switch.opened(api, services, self.api, header, lambda: self._modes(fleet), report)
                stack.callback(switcher.put_back)
            cluster = self._cluster(fleet, api, taken)
            for node in self.inventory.with_role(Role.BACKEND):
                report(f"starting a backend on {node.name}, port {self.spec.backend_port}")
                ends = start_backend(fleet[node.name], self.python(node), self.workdir(node), self.spec.backend_port)
                stack.callback(ends.close)
            yield (cluster,)

    def python(self, node: NodeWords) -> str:
        """Return the host's Python."""
        return node.python or self.inventory.defaults.python or PYTHON

    def workdir(self, node: NodeWords) -> str:
        """Return a folder of the host that may be written."""
        return node.workdir or self.inventory.defaults.workdir or WORKDIR

    def _only(self, role: Role) -> NodeWords:
        return self.inventory.with_role(role)[0]

    def _reach(self, stack: ExitStack, report: Callable[[str], None]) -> Fleet:
        """Connect to all hosts; one that is nothing but a further node may be dead."""
        fleet, lost = self.hosts(self.targets)
        stack.enter_context(fleet)
        for node in self.inventory.nodes:
            if node.name in lost and node.roles != (Role.OTHER,):
                raise ConnectionLostError(lost[node.name])
            if node.name in lost:
                report(f"goes on without {node.name}: {lost[node.name]}")
        return fleet

    @contextmanager
    def api(self) -> Iterator[ClusterApi]:
        """Connect by credentials that are read anew: those of the run's start may have expired."""
        with ExitStack() as stack:
            yield self.connect(access.first_access(access.credentials(self.spec), self.spec), stack)

    def _clean(self, *, own_namespace: bool) -> None:
        with self.api() as api:
            clean(api, own_namespace=own_namespace)

    def _modes(self, fleet: Fleet) -> Mapping[str, str]:
        """Ask every node in which mode its kube-proxy runs; "" for one that does not answer."""

        def ask(executor: Executor) -> str:
            argv = [self.python(nodes[executor.name]), "-c", ASK_MODE]
            return executor.run(argv, check=False, timeout=_LOOK_SECONDS).stdout.strip()

        roles = {Role.MEASURED, Role.OTHER}
        nodes = {node.name: node for node in self.inventory.nodes if roles & set(node.roles) and node.name in fleet}
        return fleet.fan_out(ask, timeout=_LOOK_SECONDS, nodes=nodes)

    def _cluster(self, fleet: Fleet, api: ClusterApi, taken: tuple[str, ...]) -> Cluster:
        facts = fleet.fan_out(read_host, timeout=_LOOK_SECONDS)
        known = {str(node["metadata"]["name"]): access.internal_ip(node) for node in api.list(Kind.NODE)}
        nodes = {
            node.name: self._node(node, facts[node.name], known.get(node.name, ""))
            for node in self.inventory.nodes
            if node.name in facts
        }
        measured, client = self._only(Role.MEASURED), self._only(Role.CLIENT)
        both = client.name == measured.name
        addresses = {
            node.name: node.addresses or (nodes[node.name].address,) for node in self.inventory.with_role(Role.BACKEND)
        }
        if not addresses:
            raise UsageError("the inventory has no host with the role backend; its addresses would be endpoints")
        others = (node.name for node in self.inventory.with_role(Role.OTHER) if node.name in nodes)
        return Cluster(
            client=self._node(client, facts[client.name], nodes[client.name].address, "-client" if both else ""),
            measured=nodes[measured.name],
            others=tuple(nodes[name] for name in others if name not in {client.name, measured.name}),
            api=access.own_access(api, self.first_access),
            clock=ClockKind.WALL,
            kind=str(LabKind.CLUSTER),
            accelerator="none",
            cluster_cidr="",
            service_cidr=access.service_cidr(api, self.spec),
            backend_port=self.spec.backend_port,
            traits=Traits(exclusive=False, may_use_realtime=False, owns_nodes=False, starts_proxies=False),
            endpoints=endpoints(addresses),
            taken=taken,
        )

    def _node(self, node: NodeWords, facts: HostFacts, address: str, suffix: str = "") -> Node:
        return Node(
            name=f"{node.name}{suffix}",
            ssh=self.targets[node.name],
            address=node.address or address,
            pod_cidr=None,
            clock=ClockDomain(f"kernel {facts.boot_id}"),
            python=self.python(node),
            workdir=self.workdir(node),
            iptables={**facts.iptables, **{str(name): path for name, path in node.tools.items()}},
        )


def clean(api: ClusterApi, *, own_namespace: bool) -> None:
    """Remove what we wrote to the API, and the namespace if that was not there before. Raises ApiError."""
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
        api.delete_collection(kind, NAMESPACE, SELECTOR)
    if own_namespace:
        api.delete_many([Ref(Kind.NAMESPACE, "", NAMESPACE)])


def cluster_target(spec: ClusterSpec, folder: Path, switch: Switching | None = None) -> ClusterTarget:
    """Return the cluster that ``target: {cluster: …}`` asks for; ``folder`` is that of the experiment file.

    Raises ExperimentError for what is wrong in its inventory.
    """
    return ClusterTarget(spec, read_inventory(folder / Path(spec.inventory).expanduser()), switch=switch)
