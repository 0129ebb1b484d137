"""What all steps of a run share: the cluster, the ways to reach it, and the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.clocks import ClockDomain
from proxybench.errors import RunError
from proxybench.kube.objects import AddressPlan
from proxybench.nodes import machine as fingerprint
from proxybench.nodes.client import connect_agent, install
from proxybench.scenarios.usage import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.experiment.spec import Experiment
    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Fleet
    from proxybench.hosts.inventory import Inventory, Node
    from proxybench.kube.base import ServiceApi
    from proxybench.load.session import WarmLocust
    from proxybench.nodes.client import Agent
    from proxybench.nodes.machine import Machine
    from proxybench.units import Clock


@dataclass(frozen=True)
class Bench:
    """The cluster at hand. ``client`` sends the traffic, ``measured`` runs the control loop that is measured."""

    run: str
    experiment: Experiment
    inventory: Inventory
    executors: Mapping[str, Executor]
    agents: Mapping[str, Agent]
    api: ServiceApi
    plan: AddressPlan
    clock: Clock
    load: WarmLocust | None = None

    @property
    def client(self) -> Node:
        """The node that sends the traffic."""
        return self.inventory.with_role("client")[0]

    @property
    def measured(self) -> Node:
        """The node whose control loop is measured, and through which the client's traffic goes."""
        return self.inventory.with_role("proxy")[0]

    @property
    def proxy_nodes(self) -> tuple[Node, ...]:
        """The nodes that run a control loop, the measured one first."""
        nodes = self.inventory.with_role("proxy")
        return nodes if self.experiment.proxier.nodes == "all" else nodes[:1]

    def clock_of(self, node: Node) -> ClockDomain:
        """Name the monotonic clock of a node: one for all nodes of one kernel, else each has its own."""
        return ClockDomain("one kernel" if self.inventory.one_kernel else node.name)

    def read_ledger(self, cgroup: str | None = None) -> Reading:
        """Read the measured node's counters, with those of a cgroup, and what our agents have spent."""
        ledger = self.agents[self.measured.name].ledger([cgroup] if cgroup else [])
        others = sum(agent.ledger().self_ns for name, agent in self.agents.items() if name != self.measured.name)
        return Reading(ledger, ledger.self_ns + others)


def address_plan(inventory: Inventory) -> AddressPlan:
    """Return the addresses of the population: the measured node's pods come first."""
    ranges = tuple((node.name, node.pod_cidr) for node in inventory.nodes if node.pod_cidr)
    if not ranges:
        raise RunError("no node of the inventory has a range of pods")
    return AddressPlan(inventory.service_cidr, ranges, inventory.backend_port)


def start_agents(fleet: Fleet, inventory: Inventory) -> dict[str, Agent]:
    """Put an agent on every node, start it, and tell the client's where the API is."""
    agents: dict[str, Agent] = {}
    try:
        for node in inventory.nodes:
            executor = fleet[node.name]
            path = install(executor, inventory.workdir)
            agents[node.name] = connect_agent(executor, inventory.python, path)
            if "client" in node.roles:
                agents[node.name].api(inventory.api.node_url, inventory.api.token)
    except BaseException:
        for agent in agents.values():
            agent.close()
        raise
    return agents


def read_machines(bench: Bench) -> dict[str, Machine]:
    """Describe every node."""
    found = {}
    for node in bench.inventory.nodes:
        agent = bench.agents[node.name]
        version = bench.executors[node.name].run([bench.inventory.iptables, "iptables", "--version"], check=False)
        found[node.name] = fingerprint.machine(agent.hello(), agent.read(fingerprint.files()), version.stdout)
    return found
