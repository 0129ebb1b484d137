"""A Service with every address that is measured comes and goes: from when on each path to it answers, and until when.

All other changes are probed by the ClusterIP. A proxy writes a Service's addresses in one sync, but not at one moment:
IPVS mode one virtual server after the other, userspace mode a listener before its rules; and what comes by another node
waits for that node's proxy. What each address costs the control loop is that of a Service which has no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant
from proxybench.errors import MeasurementError
from proxybench.kube import objects
from proxybench.kube.access import exposures
from proxybench.kube.base import Kind, Ref
from proxybench.model import Address, Metric, Origin, Position, Scenario, ServicePath, Transport
from proxybench.nodes.requests import Await, AwaitAll, Change, Write
from proxybench.scenarios import usage
from proxybench.scenarios.canary import SERVICES
from proxybench.scenarios.event import LEAD_S
from proxybench.scenarios.observe import ApiWrite, Observation, observe, write
from proxybench.scenarios.places import NODE_PORTS
from proxybench.scenarios.quiet import pause, settle
from proxybench.scenarios.recorder import Where
from proxybench.scenarios.sync import ended, record_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.access import Access, Exposure
    from proxybench.kube.objects import AddressPlan, Object, Pod
    from proxybench.nodes.node import NodeHandle
    from proxybench.scenarios.base import StepContext

_FIRST = 10  # of the addresses outside the numbered Services; the canaries have the first ones, events those behind
_FIRST_POD = 20
_LONE = 4  # of its Services: those that nobody probes stand behind the others
_OF_OTHERS = frozenset({Origin.NODE, Origin.POD})


@dataclass(frozen=True)
class Exposed:
    """A Service with one endpoint, on the measured node or, ``far``, on another one."""

    plan: AddressPlan
    number: int
    exposure: Exposure
    far: bool

    @property
    def name(self) -> str:
        """Its name."""
        return f"svc-path-{self.number}"

    @property
    def access(self) -> Access:
        """What it has besides its ClusterIP, with its addresses."""
        return self.plan.canary_access(self.exposure, _FIRST + self.number)

    @property
    def pod(self) -> Pod:
        """Its endpoint."""
        nodes = len(self.plan.pod_ranges)
        return self.plan.spare(nodes * (_FIRST_POD + self.number) + self.far)

    def has(self, path: ServicePath) -> bool:
        """Tell whether it is reached over a path."""
        return self.far == (path.origin is Origin.FAR) and self.exposure.has(path.address)

    def service(self) -> Object:
        """Return its Service."""
        vip = self.plan.canary_vip(_FIRST + self.number)
        return objects.service(self.name, vip, self.plan.backend_port, access=self.access)

    def slice(self) -> Object:
        """Return its EndpointSlice."""
        protocols, family = self.exposure.protocols, self.plan.family
        pods = [self.pod]
        return objects.endpoint_slices(self.name, pods, self.plan.backend_port, 0, protocols=protocols, family=family)[
            0
        ]

    def place(self, path: ServicePath, nodes: Sequence[str]) -> tuple[str, int]:
        """Return the address and the port of a path; ``nodes`` are the addresses of the measured node and of others."""
        if path.address in NODE_PORTS:
            return nodes[1 if path.origin is Origin.OTHER else 0], self.access.node_port
        found = {
            Address.EXTERNAL_IP: self.access.external_ips,
            Address.LOAD_BALANCER_IP: self.access.load_balancer_ips,
        }
        return found.get(path.address, (self.plan.canary_vip(_FIRST + self.number),))[0], objects.PORT


@dataclass(frozen=True)
class ByPath:
    """From the acknowledgement of it, or of its deletion, until each of the ``paths`` answers, or none does.

    Each round is one Service, so that it is one change: of two, the second would wait for its turn. Its paths from
    outside are probed side by side, those over UDP in a round of their own; what another agent probes, on the node or
    in the pod, takes a round each, since that begins with one probe only. CPU and syncs are those of the first round,
    and CPU by path that of Services with this address alone, which nobody probes.
    """

    name: ClassVar = "add and delete by path"
    vital: ClassVar = False

    paths: tuple[ServicePath, ...]
    timeout_s: float

    def run(self, step: StepContext) -> None:
        """Add it, delete it, and record both. Raises MeasurementError."""
        if step.in_endpoints:
            raise MeasurementError("its Services have EndpointSlices, and this proxy reads Endpoints")
        for number, (service, asked) in enumerate(rounds(step.population.plan, self.paths)):
            self._round(step, service, asked, usual=number == 0)
        cgroup = step.proxy.cgroup
        for path, service in lone(step.population.plan, self.paths) if cgroup else ():
            self._round(step, service, (path,), usual=False, cgroup=cgroup)

    def _round(
        self,
        step: StepContext,
        service: Exposed,
        asked: Sequence[ServicePath],
        *,
        usual: bool,
        cgroup: str | None = None,
    ) -> None:
        """Add and delete a Service; with a ``cgroup``, its CPU time is all that is asked."""
        nodes = [node.address for node in step.cluster.proxy_nodes]
        spots = [Spot(path, *service.place(path, nodes), service.pod) for path in asked]
        come = Write("POST", SERVICES, service.service())
        go = Write("DELETE", f"{SERVICES}/{service.name}")
        slice_ = service.slice()
        try:
            step.api.create_many([slice_])  # so that the Service is one change, and one sync
            settle(step)
            for scenario, change in ((Scenario.ADD_PATHS, come), (Scenario.DELETE_PATHS, go)):
                pause(step)
                if cgroup:
                    _spend(step, scenario, change, asked[0], cgroup)
                else:
                    self._change(step, scenario, change, spots, usual=usual)
        finally:
            step.api.delete_many([Ref(Kind.SERVICE, objects.NAMESPACE, service.name), Ref.of(slice_)])
        settle(step)

    def _change(
        self, step: StepContext, scenario: Scenario, change: Write, spots: Sequence[Spot], *, usual: bool
    ) -> None:
        """Make one of the two changes, and record what it took."""
        limit = step.deadline.left(self.timeout_s)
        probes = tuple(spot.probe(limit, goes=scenario is Scenario.DELETE_PATHS) for spot in spots)
        opened = usage.begin(step)
        probing = step.origin(spots[0].path.origin)
        seen = _observe(step, probing, change, probes)
        settle(step, opened.metrics)
        if usual:
            record_loop(step.recorder, scenario, opened.metrics, usage.end(step, scenario, opened))
        for spot, answer in zip(spots, seen.probes, strict=True):
            took = step.clocks.between(seen.triggered, Instant(ended(answer), probing.node.clock))
            step.recorder.add(
                Metric.SYNC_END_TO_END,
                scenario,
                max(0, took.ns),
                censored=answer.censored,
                uncertainty=took.uncertainty_ns + seen.uncertainty_ns + (answer.interval_at_success_ns or 0),
                where=Where(str(spot.path), Position.LAST),
            )


@dataclass(frozen=True)
class Spot:
    """Where a path ends: an address, and the endpoint that answers there."""

    path: ServicePath
    host: str
    port: int
    pod: Pod

    def probe(self, limit: float, *, goes: bool) -> Await:
        """Return the probe for its answer, or, where it goes, for the end of answers."""
        one = Await(self.host, self.port, "refusal" if goes else "answer", limit, None if goes else (self.pod.address,))
        # Of a datagram nobody knows whether it was delivered, so that many are waited for.
        return replace(one, protocol="udp", pending=64) if self.path.transport is Transport.UDP else one


def rounds(plan: AddressPlan, paths: Sequence[ServicePath]) -> tuple[tuple[Exposed, tuple[ServicePath, ...]], ...]:
    """Return as few Services as are reached over all paths, each with those that are probed side by side."""
    made = [(exposure, far) for exposure in exposures(paths) for far in (False, True)]
    services = [Exposed(plan, number, exposure, far) for number, (exposure, far) in enumerate(made)]
    owners = {path: next(one for one in services if one.has(path)) for path in paths}
    found: list[tuple[Exposed, tuple[ServicePath, ...]]] = []
    for transport in Transport:
        over = {path: owner for path, owner in owners.items() if path.transport is transport}
        outside = {path: owner for path, owner in over.items() if path.origin not in _OF_OTHERS}
        found += [
            (one, asked)
            for one in services
            if (asked := tuple(path for path, owner in outside.items() if owner is one))
        ]
        found += [(owner, (path,)) for path, owner in over.items() if path not in outside]
    return tuple(found)


def lone(plan: AddressPlan, paths: Sequence[ServicePath]) -> tuple[tuple[ServicePath, Exposed], ...]:
    """Return for each way to address a Service one over TCP that has this address alone; none where there is one way.

    They differ in nothing else. One without any further address is among them, which the others are compared with.
    """
    addresses = {path.address for path in paths} | {Address.CLUSTER_IP}
    asked = [ServicePath(address) for address in Address if address in addresses]
    found = tuple(
        (path, Exposed(plan, _LONE + number, exposures((path,))[0], far=False)) for number, path in enumerate(asked)
    )
    return found if len(found) > 1 else ()


def _spend(step: StepContext, scenario: Scenario, change: Write, path: ServicePath, cgroup: str) -> None:
    """Make one of the two changes while nobody probes; record the control loop's CPU time."""
    opened = usage.begin(step)
    write(step.client, Change((change,), ()))
    settle(step, opened.metrics)
    spent = usage.spent(cgroup, usage.Window(opened.reading, usage.read(step, cgroup)))
    step.recorder.add(Metric.CPU_CONTROL_LOOP, scenario, spent, where=Where(str(path)))


def _observe(step: StepContext, probing: NodeHandle, change: Write, probes: tuple[Await, ...]) -> Observation:
    """Write while an agent probes; pulled when that was acknowledged."""
    if probing is step.client:
        return observe(step.client, ApiWrite((change,)), probes)
    pending = probing.agent.begin(AwaitAll(probes))
    try:
        step.clock.sleep(LEAD_S)  # until it probes
        acknowledged = write(step.client, Change((change,), ())).ack_ns
    finally:
        seen = pending.finish()
    return Observation(Instant(acknowledged, step.client.node.clock), seen.probes)
