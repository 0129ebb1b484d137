"""A connection to a cluster on which steps are taken: agents on its nodes, its API, the population in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from proxybench.deadline import Deadline
from proxybench.errors import ConnectionLostError, ProxybenchError, RunError
from proxybench.experiment.compat import KubeVersion, reads_endpoints
from proxybench.experiment.matrix import Step
from proxybench.hosts.fleet import Fleet, close_together
from proxybench.kube.access import exposures
from proxybench.kube.client import KubernetesServiceApi
from proxybench.load.clients import start_load
from proxybench.run.budget import Budget
from proxybench.run.restore import kernel_states, recover
from proxybench.run.step import StepRunner
from proxybench.run.testbed import Testbed, address_plans, further_nodes, lend, read_machines, start_agents
from proxybench.scenarios.plan import batch_size
from proxybench.scenarios.population import Populator
from proxybench.scenarios.proxies import Launcher, NodeKernels, NoKernels, Proxies
from proxybench.scenarios.result import StepResult
from proxybench.scenarios.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.experiment.spec import Experiment
    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ServiceApi
    from proxybench.model import Subject
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.nodes.machine import Machine
    from proxybench.subjects.driver import ProxyDriver
    from proxybench.units import Clock

_LOCUST_LIMIT = 300.0


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
    return stack.enter_context(
        KubernetesServiceApi(
            access.url,
            access.renew or access.token,
            ca_pem=access.ca_pem,
            client_pem=access.client_pem,
            writes_per_second=access.writes_per_second,
        )
    )


@dataclass(frozen=True)
class Sessions:
    """Connects to clusters, to measure there ``specs`` (resolved, by the subject of their cells) with ``drivers``.

    ``drivers`` are by kind of subject; ``fleet`` and ``api`` are how the nodes and the API are reached. A further node
    that ``fleet`` does not reach is left out.
    """

    drivers: Mapping[str, ProxyDriver]
    specs: Mapping[Subject, SubjectSpec]
    fleet: Callable[[Mapping[str, SshTarget]], Fleet] = Fleet.connect
    api: Callable[[ApiAccess, ExitStack], ServiceApi] = connect_api
    budget: Budget = field(default_factory=Budget)

    def connect(self, cluster: Cluster, assignment: Assignment, stack: ExitStack) -> ClusterSession:
        """Connect to all nodes and the API; leaving ``stack`` ends the connection.

        Raises HostError and ApiError, and RunError where the cluster lacks what the experiment connects from or to.
        Nothing is written to the API: a cluster's Nodes are its own business.
        """
        paths = assignment.experiment.measure.paths
        what = (assignment.run, assignment.experiment, assignment.clock, stack)
        testbed = self.reach(lend(cluster, paths), *what, assignment.note)
        asked = {step.cell.subject for step in assignment.steps}
        populator = Populator(
            testbed.api,
            *testbed.plans,
            endpoints_too=any(_in_endpoints(subject) for subject in asked),
            exposures=exposures(paths),
            profile=assignment.experiment.scale.profile,
        )
        return ClusterSession(
            testbed, assignment, populator, partial(self.proxies, testbed), partial(self.lack, testbed), self.budget
        )

    def reach(
        self,
        cluster: Cluster,
        run: str,
        experiment: Experiment,
        clock: Clock,
        stack: ExitStack,
        note: Callable[[str], None] = lambda _: None,
    ) -> Testbed:
        """Start an agent on all that a cluster has, and connect to its API. Raises HostError, ApiError.

        Nothing is begun on a cluster that lacks what holds it up. A further node on which nothing rests, and that is
        not reached any more, or where no agent can be started in time, is left out and noted.
        """
        if trouble := cluster.trouble():
            raise ConnectionLostError(trouble)
        fleet = stack.enter_context(self.fleet(cluster.targets))
        further = further_nodes(cluster, experiment)  # of all that were there: the next one takes no lost one's place
        away = [node.name for node in cluster.others if node.name not in set(fleet)]
        for name in away:
            if name not in further:
                raise ConnectionLostError(f"{name}: it is not reached any more, and numbers rest on it")
        cluster = _with(fleet, cluster)
        handles, lost = start_agents(fleet, cluster, further)
        for name, why in {**dict.fromkeys(away, "it is not reached any more"), **lost}.items():
            note(f"goes on without {name}: {why}")
        cluster = _with(fleet, cluster)
        real_time = {name: handle.agent.real_time for name, handle in handles.items()}
        cluster = replace(cluster, traits=replace(cluster.traits, real_time=real_time))
        stack.callback(close_together, [handle.agent.close for handle in handles.values()])
        load = None
        if experiment.load:
            load = start_load([(node, fleet[node.name]) for node in cluster.clients])
            stack.callback(load.close)
        return Testbed(
            run=run,
            experiment=experiment,
            cluster=cluster,
            handles=handles,
            api=self.api(cluster.api, stack),
            plans=address_plans(cluster, experiment.families),
            clock=clock,
            load=load,
        )

    def lack(self, testbed: Testbed, subject: Subject) -> str:
        """Return what a subject lacks on the nodes that would run it, and what would mend it; empty when nothing.

        Raises RunError for one that must be measured: nothing is started then.
        """
        spec, driver = self.specs[subject], self.drivers[subject.kind]
        for handle in testbed.proxy_handles:
            found = driver.check(spec, handle)
            if not found.supported:
                text = f"{subject.label} cannot run: {found.reason}; {found.fix}"
                if spec.optional or spec.otherwise:
                    return text
                raise RunError(text)
        return ""

    def proxies(self, testbed: Testbed, subject: Subject) -> Proxies:
        """Return what a step measures, none of it started."""
        spec, driver, traits = self.specs[subject], self.drivers[subject.kind], testbed.cluster.traits
        return Proxies(
            testbed.proxy_handles,
            lambda handle: driver.start(spec, handle, testbed.cluster),
            NodeKernels(exclusive=traits.exclusive) if traits.starts_proxies else NoKernels(),
            spec.min_sync_period,
            ready=lambda: driver.prepare(spec),
            in_endpoints=_in_endpoints(spec.subject),
            pair=self._pair(testbed, subject),
            at_once=not traits.starts_proxies,
        )

    def _pair(self, testbed: Testbed, subject: Subject) -> tuple[Launcher, ...]:
        """Return the subject and the one that it is migrated to, if it is to be.

        That one finds the same iptables on its PATH: it is to remove what the subject made by it.
        """
        migrate = testbed.experiment.measure.migrate
        others = [one for one in self.specs if migrate and one.mode is migrate.to and one != subject]
        if not others or (migrate and subject.mode is migrate.to):
            return ()
        spec, other = self.specs[subject], self.specs[others[0]]
        pair = (spec, replace(other, iptables=other.iptables or spec.iptables))
        return tuple(self._launcher(testbed, one) for one in pair)

    def _launcher(self, testbed: Testbed, spec: SubjectSpec) -> Launcher:
        driver = self.drivers[spec.subject.kind]
        return Launcher(
            spec.subject.label,
            spec.mode,
            lambda handle: driver.start(spec, handle, testbed.cluster),
            lambda handle: driver.cleanup(spec, handle),
        )


def _with(fleet: Fleet, cluster: Cluster) -> Cluster:
    """Return a cluster with those of its further nodes that are reached."""
    return replace(cluster, others=tuple(node for node in cluster.others if node.name in set(fleet)))


def _in_endpoints(subject: Subject) -> bool:
    """Tell whether a subject, whose version is known, reads Endpoints objects."""
    return subject.kind == "kube-proxy" and reads_endpoints(subject.mode, KubeVersion.of_release(subject.version))


class ClusterSession:
    """Implements ``run.worker.Session`` on a testbed; ``proxies`` makes what a step measures."""

    def __init__(
        self,
        testbed: Testbed,
        assignment: Assignment,
        populator: Populator,
        proxies: Callable[[Subject], Proxies],
        lack: Callable[[Subject], str],
        budget: Budget,
    ) -> None:
        self._testbed = testbed
        self._assignment = assignment
        self._proxies = proxies
        self._lack = lack
        self._budget = budget
        self._lacks: dict[Subject, str] = {}
        self._populator = populator
        self._token = ""  # what the client's agent was told by this session

    @property
    def broken(self) -> bool:
        """Whether an agent or a client's locust can no longer be asked."""
        return self._testbed.broken

    def capture(self) -> Mapping[str, KernelState]:
        """Read the kernel state of the nodes with a proxy, by node; of those that are not ours to clean nothing."""
        return kernel_states(self._testbed) if self._testbed.cluster.traits.starts_proxies else {}

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        """Remove our objects from the API, and from the nodes what a Service proxy left."""
        self._populator.clear()
        if self._testbed.cluster.traits.starts_proxies:
            recover(self._testbed, before, whole)

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        """Describe every node, and name those that run a Service proxy; a further one that is silent is noted."""
        bed = self._testbed
        further = further_nodes(bed.cluster, bed.experiment)
        machines, lost = read_machines(bed.handles, bed.cluster.clock, further)
        for name, why in lost.items():
            self._assignment.note(f"{name} is not described: {why}")
        return machines, [handle.name for handle in bed.proxy_handles]

    def get_ready(self, whole: Deadline) -> None:
        """Check that every subject can run here, and wait until locust is imported.

        Importing it would take the first step's time. Raises RunError for a subject that cannot run and must.
        """
        subjects = dict.fromkeys(step.cell.subject for step in self._assignment.steps)
        self._lacks = {subject: lack for subject in subjects if (lack := self._lack(subject))}
        for line in filter(None, (*self._lacks.values(), self._testbed.disturbed())):
            self._assignment.note(line)
        if self._testbed.load:
            self._testbed.load.ready(whole.left(_LOCUST_LIMIT))

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        """Start each subject once, or, where the experiment says so, take each cell once without recording it."""
        note = self._assignment.note
        if not self._testbed.cluster.traits.starts_proxies:
            return
        if not self._assignment.experiment.warmup:
            able = [step.cell.subject for step in steps if step.cell.subject not in self._lacks]
            subjects = {subject.label: self._proxies(subject) for subject in able}
            note(f"starting {', '.join(subjects)} once, unmeasured")
            for problem in warm_up(subjects, whole):
                note(problem)
            return
        for cell in dict.fromkeys(step.cell for step in steps):
            note(f"warming up: {cell.subject.label}, {cell.services} Services, unmeasured")
            result = self.take(Step(0, 0, cell), whole, lambda _: None)
            if result.lost or self.broken:
                raise ConnectionLostError("; ".join(result.problems))

    def _renew_token(self) -> None:
        """Tell the client's agent, which writes, another token where the one that it has ends soon."""
        api = self._testbed.cluster.api
        if api.renew and (token := api.good_token) != self._token:
            self._testbed.client.agent.api(api.node_url, token, api.ca_pem or None)
            self._token = token

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        """Bring the population to the step's size, take the step, and put the population back."""
        spec, cell = self._assignment.experiment, step.cell
        if why := self._lacks.get(cell.subject, "") or self._budget.why_skip(cell):
            return StepResult(skipped=why)
        batch = batch_size(spec.measure, cell)
        deadline = Deadline(self._assignment.clock, spec.limits.of(cell.services), "the step", whole)
        deadline.left(1)
        try:
            population = self._populator.reach(cell.services, cell.endpoints_per_service, batch, report, cell.family)
        except ProxybenchError as error:
            if lost := self._testbed.lost():
                raise ConnectionLostError(lost) from error
            raise
        proxies = self._proxies(cell.subject)
        runner = StepRunner(self._testbed, step, population, proxies, deadline, report, self._renew_token)
        result = runner.take()
        if not result.lost:  # else whoever connects anew clears it; here it may fail, and hide what was lost
            self._populator.restore(population, batch)
        if result.late:
            self._budget.was_late(cell)
        return result
