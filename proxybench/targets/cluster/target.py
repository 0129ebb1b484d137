"""The user's own cluster as a target: reached, looked at, lent backends and a namespace, and left as it was."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from proxybench.clocks import ClockDomain
from proxybench.errors import ConnectionLostError, RunError, UsageError
from proxybench.experiment.words import uneven
from proxybench.home import expanded
from proxybench.hosts.fleet import reach
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh import SshExecutor
from proxybench.hosts.ssh_config import SshConfig
from proxybench.interrupts import UndisturbedStack
from proxybench.kube.base import Kind
from proxybench.kube.client import KubernetesServiceApi
from proxybench.model import ClockKind, LabKind
from proxybench.nodes.client import connect_agent, install
from proxybench.nodes.cluster import Cluster, Traits
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.node import Node, NodeHandle
from proxybench.subjects.cluster import ProxyFacts, read_facts
from proxybench.targets.base import TargetFacts
from proxybench.targets.claim import claimed
from proxybench.targets.cluster import access
from proxybench.targets.cluster.backends import Backends, addresses_of, endpoints, start_backend
from proxybench.targets.cluster.cleaning import hiding_nothing, take_back
from proxybench.targets.cluster.host_facts import HostFacts, read_host
from proxybench.targets.cluster.inventory import Inventory, NodeWords, Role, read_inventory
from proxybench.targets.cluster.place import RunPlace
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay, look
from proxybench.targets.cluster.switch.tidying import Tidying
from proxybench.targets.cluster.switch.undo import FILE, Header, UndoLog
from proxybench.targets.cluster.switch.unit import UnitWay
from proxybench.targets.cluster.switching import Modes, Switching
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proxybench.experiment.places import ClusterSpec
    from proxybench.experiment.spec import LoadSpec
    from proxybench.hosts.base import Executor, Session
    from proxybench.hosts.fleet import Fleet, Reached
    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ClusterApi, Object, ObjectApi
    from proxybench.kube.kubeconfig import Credentials
    from proxybench.nodes.cluster import ApiAccess
    from proxybench.targets.cluster.switch.switcher import Switcher
    from proxybench.targets.cluster.switch.way import Way
    from proxybench.units import Clock

PYTHON: Final = "python3"
WORKDIR: Final = "/run/proxybench"
_LOOK_SECONDS: Final = 120.0
_BACKENDS_SECONDS: Final = 180.0
_LOGINS: Final = 4  # to one host at a time: sshd drops some of more than ten (MaxStartups)
ASK_MODE: Final = (
    "import urllib.request as r; o = r.build_opener(r.ProxyHandler({})); "
    "print(o.open('http://127.0.0.1:10249/proxyMode', timeout=5).read().decode())"
)
MOST_PODS: Final = 32
"""Pods that lend their addresses at most: in the network of each runs a backend of ours."""
_TWO_NEEDED: Final = "two addresses are needed as endpoints, since one is changed for another"
_WRITERS: Final = 8  # connections to an API that others use, too


def open_api(at: ApiAccess, stack: ExitStack) -> ClusterApi:
    """Connect to the API until the stack is left."""
    return stack.enter_context(
        KubernetesServiceApi(
            at.url,
            at.renew or at.token,
            ca_pem=at.ca_pem,
            client_pem=at.client_pem,
            writes_per_second=at.writes_per_second,
            connections=_WRITERS,
        )
    )


@dataclass(frozen=True)
class ClusterTarget:
    """A cluster that is there: its hosts by inventory, its API by kubeconfig; ``switch`` None: it is only observed.

    ``host`` and ``hosts`` are how one host and all of them are reached, ``connect`` how the API is. ``file`` is where
    the inventory lies. ``claim`` holds a name on this machine, so that one run at a time is in a cluster.
    ``backends`` are those of the open cluster. ``clock`` is that of who waits for an API server that is away. ``place``
    is where the run's folder is: in it stands, before anything is written to the API, which cluster it is. On the first
    ``needed`` further nodes numbers rest (None: on all).
    """

    spec: ClusterSpec
    inventory: Inventory
    ssh: SshConfig = field(default_factory=lambda: SshConfig(Secrets()))
    switch: Switching | None = None
    host: Callable[[str, SshTarget], Executor] = SshExecutor
    hosts: Callable[[Mapping[str, SshTarget]], Reached] = reach
    connect: Callable[[ApiAccess, ExitStack], ClusterApi] = open_api
    file: str = ""
    claim: Callable[[str], AbstractContextManager[bool]] = claimed
    backends: Backends = field(default_factory=Backends)
    clock: Clock = field(default_factory=SystemClock)
    place: RunPlace = field(default_factory=RunPlace)
    needed: int | None = 0

    @property
    def facts(self) -> TargetFacts:
        """What it is."""
        how = "observed as it is" if self.switch is None else "its kube-proxy switched, and put back"
        why = f"the cluster that the experiment names, {how}"
        return TargetFacts(str(LabKind.CLUSTER), ClockKind.WALL, "none", why, exclusive=False, starts_proxies=False)

    @cached_property
    def _found(self) -> Credentials:
        return access.credentials(self.spec)

    @cached_property
    def first_access(self) -> ApiAccess:
        """The API as the kubeconfig reaches it; an exec plugin is run once."""
        return access.first_access(self._found, self.spec)

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
        with UndisturbedStack() as stack:
            url = self.first_access.url
            if not stack.enter_context(self.claim(f"cluster {url}")):  # it would remove what this one has written
                raise RunError(
                    f"another proxybench of this machine measures the cluster at {url}; wait until it has ended"
                )
            fleet = stack.enter_context(self.fleet(self.targets, report))
            api = self.connect(self.first_access, stack)
            access.settle_namespace(api, self.clock, report)
            services = api.list(Kind.SERVICE)
            if self.place.folder is not None:  # for who finishes a run that was killed
                UndoLog(self.place.folder / FILE, self._header)
            stack.push(hiding_nothing(partial(take_back, self.api, self.clock, report, self.place.folder)))
            if self.switch is not None:
                switcher = self._opened(self.switch, fleet, api, services, stack, report)
                stack.push(hiding_nothing(switcher.put_back))
            cluster = self._cluster(fleet, api, access.taken(services), report)
            stack.callback(self.backends.close)
            self._start_backends(tuple(self._backends(cluster)), stack, report)
            yield (cluster,)

    def python(self, node: NodeWords) -> str:
        """Return the host's Python."""
        return node.python or self.inventory.defaults.python or PYTHON

    def workdir(self, node: NodeWords) -> str:
        """Return a folder of the host that may be written."""
        return node.workdir or self.inventory.defaults.workdir or WORKDIR

    def _only(self, role: Role) -> NodeWords:
        return self.inventory.with_role(role)[0]

    def fleet(self, targets: Mapping[str, SshTarget], report: Callable[[str], None] = lambda _: None) -> Fleet:
        """Connect to hosts, by name; one that is nothing but a further node, and on which no number rests, may be dead.

        Backends whose connection has broken are started anew. Raises ConnectionLostError for any other host, RunError.
        """
        self.backends.revive()
        fleet, lost = self.hosts(targets)
        for name, why in lost.items():
            if name not in self.inventory.further(self.needed):
                fleet.close()
                raise ConnectionLostError(why)
            report(f"goes on without {name}: {why}")
        return fleet

    @contextmanager
    def api(self) -> Iterator[ClusterApi]:
        """Connect by credentials read anew: the first may have expired. Raises UsageError where they lead elsewhere."""
        with ExitStack() as stack:
            yield self.connect(access.first_access(access.again(self._found, self.spec), self.spec), stack)

    @contextmanager
    def way(self, *, by_unit: bool) -> Iterator[Way]:
        """Connect to what a switch changes, anew: to the hosts that run kube-proxy as a unit, or to the API."""
        if by_unit:
            fleet, _ = self._reach_proxies()
            with fleet:
                yield UnitWay(fleet, lambda: self._modes(fleet))
        else:
            with self.api() as api:
                hosts = {one.name: {one.name, *filter(None, (one.host, one.address))} for one in self.inventory.proxies}
                yield DaemonSetWay(api, hosts=hosts)

    def _reach_proxies(self) -> Reached:
        return self.hosts({node.name: self.targets[node.name] for node in self.inventory.proxies})

    @property
    def tidying(self) -> Tidying:
        """What cleans the hosts that run a kube-proxy of what another mode has left there."""
        nodes = {node.name: node for node in self.inventory.nodes}

        def tools(executor: Executor) -> Tools:
            node = nodes[executor.name]
            found = {**read_host(executor).iptables, **{str(name): path for name, path in node.tools.items()}}
            return Tools(found, self.python(node), exclusive=False)

        return Tidying(self._reach_proxies, tools)

    @property
    def _header(self) -> Header:
        hosts = self.inventory.relied_on(self.needed)
        return Header(self.first_access.url, access.origin(self.spec), self._found.context, self.file, hosts)

    def _opened(
        self,
        switch: Switching,
        fleet: Fleet,
        api: ClusterApi,
        services: Sequence[Object],
        stack: ExitStack,
        report: Callable[[str], None],
    ) -> Switcher:
        modes = Modes(fleet, self._modes, self._reach_proxies)
        stack.callback(modes.close)
        by_unit = look(api).by_unit
        return switch.opened(services, lambda: self.way(by_unit=by_unit), self._header, modes, report, self.tidying)

    def _modes(self, fleet: Fleet) -> Mapping[str, str]:
        """Ask every node in which mode its kube-proxy runs; "" for one that does not answer."""
        nodes = {node.name: node for node in self.inventory.nodes}

        def ask(executor: Executor) -> str:
            argv = [self.python(nodes[executor.name]), "-c", ASK_MODE]
            return executor.run(argv, check=False, timeout=_LOOK_SECONDS).stdout.strip()

        there = [node.name for node in self.inventory.proxies if node.name in set(fleet)]
        return fleet.fan_out(ask, timeout=_LOOK_SECONDS, nodes=there)

    def _cluster(self, fleet: Fleet, api: ClusterApi, taken: tuple[str, ...], report: Callable[[str], None]) -> Cluster:
        service_cidr = access.service_cidr(api, self.spec)  # first: without IPv4 nothing else is of use
        further = self.inventory.further(self.needed)
        facts, lost = fleet.ask(read_host, timeout=_LOOK_SECONDS, nodes=tuple(fleet), further=further)
        for name, why in lost.items():
            report(f"goes on without {name}: {why}")
        known = access.node_addresses(api)
        nodes = {
            node.name: self._node(node, facts[node.name], known.get(node.name, ""))
            for node in self.inventory.nodes
            if node.name in facts
        }
        measured, (client, *more) = self._only(Role.MEASURED), self.inventory.with_role(Role.CLIENT)
        both = client.name == measured.name
        addresses = self.addresses(api, {name: node.address for name, node in nodes.items()})
        return Cluster(
            client=self._node(client, facts[client.name], nodes[client.name].address, "-client" if both else ""),
            measured=nodes[measured.name],
            others=tuple(nodes[node.name] for node in self.inventory.others if node.name in nodes),
            api=access.own_access(api, access.first_access(self._found, self.spec, report), self.api, report),
            clock=ClockKind.WALL,
            kind=str(LabKind.CLUSTER),
            accelerator="none",
            cluster_cidr="",
            service_cidr=service_cidr,
            backend_port=self.spec.backend_port,
            traits=Traits(exclusive=False, starts_proxies=False),
            more_clients=tuple(nodes[node.name] for node in more),
            endpoints=endpoints(addresses)[: MOST_PODS if self.spec.pods else None],
            taken=taken,
        )

    def addresses(self, api: ObjectApi, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Return endpoints' addresses by host, ``known`` the hosts' own. Raises UsageError without two, ApiError."""
        if self.spec.pods is not None:
            words = self.spec.pods
            pods = access.list_pods(api, words.namespace, words.selector)
            found = addresses_of(pods, known)
            if _two(found):
                return found
            what = f"{'one' if found else 'no'} pod of {words.namespace} with {words.selector} runs"
            where = "in a network of its own on a host of the inventory that was reached"
            raise UsageError(f"{what} {where}; {_TWO_NEEDED}")
        backends = self.inventory.with_role(Role.BACKEND)
        lent = {node.name: node.addresses or (known[node.name],) for node in backends}
        if unknown := [name for name, own in lent.items() if not all(own)]:
            raise UsageError(
                f"{unknown[0]}: it is no Node of the cluster that tells an IPv4 address; write address: there"
            )
        if _two(lent):
            return lent
        how = "give the role backend to another host, or this one's addresses: of its own"
        raise UsageError(f"the inventory's backends have one address; {_TWO_NEEDED}: {how}")

    def _backends(self, cluster: Cluster) -> Iterator[tuple[NodeWords, str]]:
        """Yield where our backend is to run: a host, and the address of a pod of its ("": on the host itself)."""
        if self.spec.pods is None:
            yield from ((node, "") for node in self.inventory.with_role(Role.BACKEND))
            return
        by_name = {node.name: node for node in self.inventory.nodes}
        yield from ((by_name[host], address) for host, address in cluster.endpoints)

    def _start_backends(
        self, places: Sequence[tuple[NodeWords, str]], stack: ExitStack, report: Callable[[str], None]
    ) -> None:
        """Start all backends at once, each over a connection of its own: an sshd bears few sessions on one."""
        (first, pod), *more = places
        where = f"in the network of {pod} on {first.name}" if pod else f"on {first.name}"
        others = f" and {len(more)} more" if more else ""
        report(f"starting a backend {where}{others}, port {self.spec.backend_port}")
        rounds: dict[int, dict[str, tuple[NodeWords, str]]] = {}
        counts: Counter[str] = Counter()
        for node, address in places:
            number = counts[node.name] = counts[node.name] + 1
            name = node.name if number == 1 else f"{node.name} ({number})"
            rounds.setdefault((number - 1) // _LOGINS, {})[name] = (node, address)
        for named in rounds.values():
            self._start_round(named, stack)

    def _start_round(self, named: Mapping[str, tuple[NodeWords, str]], stack: ExitStack) -> None:
        """Start backends all at once; ``named`` are their connections: few to one host, whose sshd may drop many."""
        fleet, lost = self.hosts({name: self.targets[node.name] for name, (node, _) in named.items()})
        stack.enter_context(fleet)
        for why in lost.values():
            raise ConnectionLostError(why)

        def start(host: Executor) -> Session:
            return self._backend(host, *named[host.name])

        for name, session in fleet.fan_out(start, timeout=_BACKENDS_SECONDS).items():
            self.backends.add(session, partial(self._backend_anew, *named[name], stack))

    def _backend_anew(self, node: NodeWords, pod: str, stack: ExitStack) -> Session:
        """Start a backend whose connection has broken; the new one lasts until the stack is left."""
        return self._backend(stack.enter_context(self.host(node.name, self.targets[node.name])), node, pod)

    def _backend(self, host: Executor, node: NodeWords, pod: str) -> Session:
        return start_backend(host, self.python(node), self.workdir(node), self.spec.backend_port, pod)

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


def _two(lent: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether there are two addresses."""
    return len({address for each in lent.values() for address in each}) > 1


def cluster_target(
    spec: ClusterSpec,
    folder: Path,
    switch: Switching | None = None,
    place: RunPlace | None = None,
    load: LoadSpec | None = None,
    needed: int | None = 0,
) -> ClusterTarget:
    """Return the cluster that ``target: {cluster: …}`` asks for; ``folder`` is that of the experiment file.

    ``needed`` as in ``ClusterTarget``. Raises ExperimentError for what is wrong in its inventory, UsageError where that
    lacks a backend that is needed, and where its clients cannot share the ``load``.
    """
    file = folder / expanded(spec.inventory)
    inventory = read_inventory(file)
    if spec.pods is None and not inventory.with_role(Role.BACKEND):
        raise UsageError(f"{file}: no host has the role backend; {_TWO_NEEDED}")
    clients = len(inventory.with_role(Role.CLIENT))
    if load and load.users % clients:
        raise UsageError(f"load.users: {uneven(load.users, clients)}; the clients are those of {file}")
    whole, place = str(file.absolute()), place or RunPlace()
    return ClusterTarget(spec, inventory, switch=switch, file=whole, place=place, needed=needed)
