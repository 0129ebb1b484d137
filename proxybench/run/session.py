"""A connection to a cluster on which steps are taken: agents on its nodes, its API, the population in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxybench.deadline import Deadline
from proxybench.errors import ConnectionLostError
from proxybench.experiment.matrix import Step
from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.load.session import start_load
from proxybench.run.restore import kernel_states, recover
from proxybench.run.step import StepRunner
from proxybench.run.testbed import Testbed, address_plan, read_machines, start_agents
from proxybench.scenarios.population import Populator
from proxybench.scenarios.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from proxybench.experiment.spec import Experiment
    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ServiceApi
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.nodes.machine import Machine
    from proxybench.nodes.node import NodeHandle
    from proxybench.run.step import StepResult
    from proxybench.subjects.base import Proxier
    from proxybench.units import Clock

_LOCUST_LIMIT = 300.0


class Proxies(Protocol):
    """Makes what is measured: the Service proxies of a cluster's nodes, none of them started."""

    def __call__(self, handles: Sequence[NodeHandle], cluster: Cluster, clock: Clock) -> tuple[Proxier, ...]:
        """Return one for each of the handles."""
        ...


@dataclass(frozen=True)
class Assignment:
    """What a session is for: the run, its experiment, and the steps that will be taken.

    ``note`` is called with a line that should stay readable.
    """

    run: str
    experiment: Experiment
    steps: Sequence[Step]
    clock: Clock
    note: Callable[[str], None]


def connect_api(access: ApiAccess, stack: ExitStack) -> ServiceApi:
    """Connect to the API as the orchestrator reaches it, until the stack is left."""
    return stack.enter_context(KubernetesServiceApi(access.url, access.token))


@dataclass(frozen=True)
class Sessions:
    """Connects to clusters. The last two are how the nodes and the API are reached."""

    proxies: Proxies
    fleet: Callable[[Mapping[str, SshTarget]], Fleet] = Fleet.connect
    api: Callable[[ApiAccess, ExitStack], ServiceApi] = connect_api

    def connect(self, cluster: Cluster, assignment: Assignment, stack: ExitStack) -> ClusterSession:
        """Connect to all nodes and the API; leaving ``stack`` ends the connection. Raises HostError, ApiError.

        Nothing is written to the API: a cluster's Nodes are its own business.
        """
        fleet = stack.enter_context(self.fleet(cluster.targets))
        handles = start_agents(fleet, cluster)
        for handle in handles.values():
            stack.callback(handle.agent.close)
        load = None
        if assignment.experiment.load:
            client = cluster.client
            load = start_load(fleet[client.name], client.python, client.workdir)
            stack.callback(load.close)
        testbed = Testbed(
            run=assignment.run,
            experiment=assignment.experiment,
            cluster=cluster,
            handles=handles,
            api=self.api(cluster.api, stack),
            plan=address_plan(cluster),
            clock=assignment.clock,
            load=load,
        )
        return ClusterSession(testbed, assignment, self.proxies)


class ClusterSession:
    """Implements ``run.worker.Session`` on a testbed."""

    def __init__(self, testbed: Testbed, assignment: Assignment, proxies: Proxies) -> None:
        self._testbed = testbed
        self._assignment = assignment
        self._proxies = proxies
        self._populator = Populator(testbed.api, testbed.plan)

    @property
    def broken(self) -> bool:
        """Whether an agent can no longer be asked."""
        return any(handle.agent.broken for handle in self._testbed.handles.values())

    def capture(self) -> Mapping[str, KernelState]:
        """Read the kernel state of the nodes with a proxy, by node."""
        return kernel_states(self._testbed)

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        """Remove our objects from the API, and from the nodes what a Service proxy left."""
        self._populator.clear()
        recover(self._testbed, self._proxiers(), before, whole)

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        """Describe every node, and name those that run a Service proxy."""
        return read_machines(self._testbed.handles), [handle.name for handle in self._testbed.proxy_handles]

    def get_ready(self, whole: Deadline) -> None:
        """Wait until locust is imported, which would take the first step's time."""
        if self._testbed.load:
            self._testbed.load.ready(whole.left(_LOCUST_LIMIT))

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        """Start each mode once, or, where the experiment says so, take each cell once without recording it."""
        note = self._assignment.note
        if not self._assignment.experiment.warmup:
            note(f"starting {', '.join(dict.fromkeys(step.cell.mode for step in steps))} once, unmeasured")
            self._start_each(steps, whole)
            return
        for cell in dict.fromkeys(step.cell for step in steps):
            note(f"warming up: {cell.mode}, {cell.services} Services, unmeasured")
            result = self.take(Step(0, 0, cell), whole, lambda _: None)
            if result.lost or self.broken:
                raise ConnectionLostError("; ".join(result.problems))

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        """Bring the population to the step's size, take the step, and put the population back."""
        spec, cell = self._assignment.experiment, step.cell
        sync = spec.measure.sync
        batch = sync.batch.of(cell.services) if sync and "add-batch" in sync.scenarios else 0
        deadline = Deadline(self._assignment.clock, spec.limits.cell, "the step", whole)
        deadline.left(1)
        population = self._populator.reach(cell.services, cell.endpoints_per_service, batch, report)
        result = StepRunner(self._testbed, step, population, self._proxiers(), deadline, report).take()
        self._populator.restore(population, batch)
        return result

    def _proxiers(self) -> tuple[Proxier, ...]:
        testbed = self._testbed
        return self._proxies(testbed.proxy_handles, testbed.cluster, testbed.clock)

    def _start_each(self, steps: Sequence[Step], whole: Deadline) -> None:
        proxier = self._assignment.experiment.proxier
        periods = (proxier.min_sync_period, proxier.sync_period)
        modes = dict.fromkeys(step.cell.mode for step in steps)
        for problem in warm_up(modes, periods, self._proxiers, whole):
            self._assignment.note(problem)
