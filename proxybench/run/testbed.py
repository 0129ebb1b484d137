"""What all steps of a worker share: the cluster that it reached, its API, and the experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from proxybench.errors import RunError
from proxybench.hosts.batch import run_together
from proxybench.hosts.fleet import ASKED_AT_ONCE, close_together, together_but
from proxybench.kube.address_pool import HostAddressPool
from proxybench.kube.objects import AddressPlan
from proxybench.model import Address, ClockKind, Family, Origin
from proxybench.nodes import machine as fingerprint
from proxybench.nodes.client import connect_agent, install
from proxybench.nodes.node import NodeHandle

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from proxybench.experiment.spec import Experiment
    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.kube.base import ServiceApi
    from proxybench.load.clients import LoadClients
    from proxybench.model import ServicePath
    from proxybench.nodes.client import Agent
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.machine import Machine
    from proxybench.units import Clock

_VERSIONS_LIMIT = 60.0
_MACHINES_LIMIT = 300.0
_AGENTS_LIMIT = 300.0
"""Seconds until every node's agent has to answer; on an emulated node a start takes some."""


@dataclass(frozen=True)
class Testbed:
    """A cluster that is reached: one handle per node, by name, and the API to which the population is written.

    ``plans`` are its addresses of each family.
    """

    run: str
    experiment: Experiment
    cluster: Cluster
    handles: Mapping[str, NodeHandle]
    api: ServiceApi
    plans: tuple[AddressPlan, ...]
    clock: Clock
    load: LoadClients | None = None

    @property
    def client(self) -> NodeHandle:
        """The node that sends the traffic."""
        return self.handles[self.cluster.client.name]

    @property
    def measured(self) -> NodeHandle:
        """The node whose Service proxy is measured, and through which the client's traffic goes."""
        return self.handles[self.cluster.measured.name]

    @property
    def relied_on(self) -> tuple[NodeHandle, ...]:
        """The nodes on which numbers rest: all but further ones, which may end as they like."""
        further = further_nodes(self.cluster, self.experiment)
        return tuple(handle for name, handle in self.handles.items() if name not in further)

    @property
    def broken(self) -> bool:
        """Whether a program of ours has ended, or can no longer be asked."""
        agents = [handle.agent for handle in self.relied_on]
        return any(one.broken or one.ended for one in agents) or bool(self.load and self.load.broken)

    def lost(self) -> str:
        """Say in one line which of our own programs has ended or stood still meanwhile; "" where none has.

        Whatever was measured since this was asked last may be their doing.
        """
        ends = [handle.agent.ended for handle in self.relied_on]
        text = next(filter(None, (self.cluster.trouble(), *ends, self.load.ended if self.load else "")), "")
        return text + self.ran_out_of_memory(text)

    def ran_out_of_memory(self, problem: str) -> str:
        """Return what a problem with a program that was killed lacks: that a node's kernel did it for want of memory.

        The node of which the problem tells is asked first. "" where none has since this was asked last.
        """
        if "SIGKILL" not in problem or "oom_kill" in problem:
            return ""
        nodes = sorted(self.handles.values(), key=lambda handle: not problem.startswith(f"{handle.name}:"))
        return next(filter(None, (node.ran_out_of_memory() for node in nodes)), "")

    def disturbed(self) -> str:
        """Say which of the nodes that probe have no real-time priority for it; "" where all have, or nobody asked."""
        ends = {Origin.NODE: self.cluster.measured, Origin.POD: self.cluster.pod}
        nodes = [ends.get(path.origin, self.cluster.client) for path in self.experiment.measure.paths]
        names = dict.fromkeys(node.name for node in (self.cluster.client, *nodes) if node)
        found = [name for name in names if not self.cluster.traits.real_time.get(name, True)]
        what = "no real-time priority for probes: what else runs there may take its turn within a connection"
        return f"{', '.join(found)}: {what}" if found else ""

    @property
    def proxy_handles(self) -> tuple[NodeHandle, ...]:
        """The nodes that run a Service proxy, the measured one first."""
        nodes = self.cluster.proxy_nodes if self.experiment.proxier.nodes == "all" else (self.cluster.measured,)
        return tuple(self.handles[node.name] for node in nodes)


def further_nodes(cluster: Cluster, experiment: Experiment) -> frozenset[str]:
    """Return the nodes of a cluster that others use on which no number rests.

    Those are neither clients nor have a proxy that is measured, or endpoints, and no path leads over them. All of a
    lab's nodes are ours, and one that ends is trouble.
    """
    if cluster.traits.exclusive:
        return frozenset()
    needed = (*cluster.clients, cluster.measured, *cluster.others[: others_needed(experiment)])
    names = {node.name for node in needed} | {node for node, _ in cluster.endpoints}
    return frozenset(node.name for node in cluster.others) - names


def others_needed(experiment: Experiment) -> int | None:
    """Return on how many of the further nodes, from the first on, numbers rest in any case; None for all."""
    if experiment.proxier.nodes == "all":
        return None
    return int(any(path.origin in {Origin.OTHER, Origin.FAR} for path in experiment.measure.paths))


def address_plan(cluster: Cluster) -> AddressPlan:
    """Return the addresses of the population: the measured node's pods come first. Raises RunError without any."""
    if cluster.endpoints:
        place = (("hosts", cluster.service_cidr),)
        return HostAddressPool(
            cluster.service_cidr, place, cluster.backend_port, hosts=cluster.endpoints, taken=frozenset(cluster.taken)
        )
    ranges = tuple((node.name, node.pod_cidr) for node in (*cluster.proxy_nodes, cluster.client) if node.pod_cidr)
    if not ranges:
        raise RunError("no node of the cluster has a range of pods")
    return AddressPlan(cluster.service_cidr, ranges, cluster.backend_port, cluster.external_cidr)


def address_plans(cluster: Cluster, families: Iterable[Family]) -> tuple[AddressPlan, ...]:
    """Return the addresses of the population in each family. Raises RunError when the cluster has none of one."""
    return tuple(address_plan(cluster) if family is Family.IPV4 else _plan_of_ipv6(cluster) for family in families)


def _plan_of_ipv6(cluster: Cluster) -> AddressPlan:
    nodes = (*cluster.proxy_nodes, cluster.client)
    ranges = tuple((node.name, node.pod_cidr6) for node in nodes if node.pod_cidr6)
    if not (cluster.service_cidr6 and ranges):
        raise RunError("the cluster has no addresses of IPv6; write families: [ipv4]")
    return AddressPlan(cluster.service_cidr6, ranges, cluster.backend_port)


def lend(cluster: Cluster, paths: Iterable[ServicePath]) -> Cluster:
    """Return what is reached of a cluster: its pod only where a path begins there. Raises RunError if it lacks some."""
    asked = tuple(paths)
    from_pod = [path for path in asked if path.origin is Origin.POD]
    if from_pod and cluster.pod is None:
        raise RunError(f"{from_pod[0]}: the cluster has no pod to connect from; leave out paths @pod")
    other = [path for path in asked if path.origin in {Origin.OTHER, Origin.FAR}]
    if other and not cluster.others:
        raise RunError(f"{other[0]}: the cluster has one proxy node; leave out paths @other and @far")
    outside = [path for path in asked if path.address in {Address.EXTERNAL_IP, Address.LOAD_BALANCER_IP}]
    if outside and not cluster.external_cidr:
        raise RunError(f"{outside[0]}: the cluster has no range of such addresses; leave it out")
    return cluster if from_pod else replace(cluster, pod=None)


def start_agents(
    fleet: Fleet, cluster: Cluster, further: Collection[str]
) -> tuple[dict[str, NodeHandle], dict[str, str]]:
    """Put an agent on every node and start it, all at once, and tell the client's where the API is.

    Returns the nodes, and why one of ``further`` is not among them. Raises HostError of any other one, with every agent
    ended that was started.
    """
    nodes = {node.name: node for node in cluster.nodes}
    started: list[Agent] = []

    def start(executor: Executor) -> NodeHandle:
        node = nodes[executor.name]
        agent = connect_agent(executor, node.python, install(executor, node.workdir))
        started.append(agent)
        return NodeHandle(node, executor, agent)

    try:
        handles, lost = fleet.ask(start, timeout=_AGENTS_LIMIT, nodes=nodes, further=further)
        agent = handles[cluster.client.name].agent
        agent.gap_s = 1 / cluster.api.writes_per_second if cluster.api.writes_per_second else 0.0
        agent.api(cluster.api.node_url, cluster.api.good_token, cluster.api.ca_pem or None)
    except BaseException:
        close_together([agent.close for agent in started])
        raise
    return handles, lost


def read_machines(
    handles: Mapping[str, NodeHandle], clock: ClockKind, further: Collection[str] = ()
) -> tuple[dict[str, Machine], dict[str, str]]:
    """Describe every node; what only real time depends on, where it is measured by the wall clock.

    Returns also why one of ``further`` is not described. Raises HostError of any other one.
    """
    files = fingerprint.files(real_time=clock is ClockKind.WALL)

    def read(handle: NodeHandle) -> Machine:
        backends = handle.node.iptables
        commands = [*([program, "iptables", "--version"] for program in backends.values()), ["nft", "--version"]]
        *tables, nft = [look.stdout for look in run_together(handle.executor, commands, timeout=_VERSIONS_LIMIT)]
        hello, texts = handle.agent.hello(), handle.agent.read(files)
        return fingerprint.machine(hello, texts, dict(zip(backends, tables, strict=True)), nft)

    jobs = {name: partial(read, handle) for name, handle in handles.items()}
    return together_but(jobs, _MACHINES_LIMIT, further, at_once=ASKED_AT_ONCE)
