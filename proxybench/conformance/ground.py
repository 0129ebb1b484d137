"""What a property acts through, and where it finds a place of its own among the addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxybench.conformance.judge import Seen
from proxybench.errors import MeasurementError
from proxybench.experiment.compat import KubeVersion, reads_endpoints
from proxybench.kube import objects
from proxybench.kube.access import PLAIN, Exposure
from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import PORT
from proxybench.nodes.exchange import Exchange
from proxybench.nodes.requests import Await

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.deadline import Deadline
    from proxybench.kube.access import Access
    from proxybench.kube.base import Object, ServiceApi
    from proxybench.kube.objects import AddressPlan, Pod
    from proxybench.model import Subject
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.exchange import ExchangeResult
    from proxybench.nodes.node import NodeHandle

FIRST_NUMBER = 100
"""Scenarios' own Services outside of the numbered ones are numbered below it."""

PODS_EACH = 4
"""Endpoints that a slot has on each node."""

READY: Mapping[str, bool] = {"ready": True, "serving": True, "terminating": False}
NOT_READY: Mapping[str, bool] = {"ready": False, "serving": False, "terminating": False}
TERMINATING: Mapping[str, bool] = {"ready": False, "serving": True, "terminating": True}
_SETTLE_MS = 300


@dataclass(frozen=True)
class Slot:
    """One Service's name and addresses; no two numbers share any."""

    plan: AddressPlan
    number: int

    @property
    def name(self) -> str:
        """Its name."""
        return f"conformance-{self.number:02d}"

    @property
    def vip(self) -> str:
        """Its ClusterIP."""
        return self.plan.canary_vip(FIRST_NUMBER + self.number)

    def access(self, exposure: Exposure) -> Access:
        """Return what it has besides, with its addresses."""
        return self.plan.canary_access(exposure, FIRST_NUMBER + self.number)

    def near(self, count: int = PODS_EACH) -> tuple[Pod, ...]:
        """Return endpoints on the measured node."""
        return self._pods(0, count)

    def far(self, count: int = PODS_EACH) -> tuple[Pod, ...]:
        """Return endpoints on the next node."""
        return self._pods(1, count)

    def service(self, access: Access = PLAIN) -> Object:
        """Return its Service."""
        return objects.service(self.name, self.vip, self.plan.backend_port, access=access)

    def slice(
        self,
        ready: Sequence[Pod],
        other: Sequence[Pod] = (),
        how: Mapping[str, bool] = NOT_READY,
        protocol: str = "TCP",
    ) -> Object:
        """Return its only EndpointSlice: endpoints that are ready, and others with the conditions ``how``."""
        made = objects.endpoint_slices(self.name, ready, self.plan.backend_port, 0, protocols=(protocol,))[0]
        others: list[Any] = [
            {"addresses": [pod.address], "conditions": dict(how), "nodeName": pod.node} for pod in other
        ]
        made["endpoints"] = [*(made["endpoints"] or ()), *others] or None
        return made

    def _pods(self, place: int, count: int) -> tuple[Pod, ...]:
        if count > PODS_EACH:
            raise ValueError(f"a slot has {PODS_EACH} endpoints on each node, not {count}")
        places = len(self.plan.pod_ranges)
        first = FIRST_NUMBER + PODS_EACH * self.number
        return tuple(self.plan.spare((first + turn) * places + place % places) for turn in range(count))


@dataclass(frozen=True)
class Ground:
    """What properties act through: the nodes of one subject's proxies, and the API that they watch.

    ``client`` is outside of the cluster, ``measured`` and ``other`` run a proxy, ``pod`` is a pod on the measured node;
    the last two are None where there is none.
    """

    subject: Subject
    cluster: Cluster
    plan: AddressPlan
    api: ServiceApi
    client: NodeHandle
    measured: NodeHandle
    other: NodeHandle | None
    pod: NodeHandle | None
    deadline: Deadline

    def slot(self, number: int) -> Slot:
        """Return the addresses of a property's Service."""
        return Slot(self.plan, number)

    @property
    def second(self) -> NodeHandle:
        """The other node. Raises MeasurementError where there is none."""
        if self.other is None:
            raise MeasurementError("the cluster has no second node with a proxy")
        return self.other

    @property
    def broken(self) -> str:
        """Why an agent cannot be asked any more; "" while all can."""
        return broken(one for one in (self.client, self.measured, self.other, self.pod) if one)

    def connect(
        self, host: str, count: int, *, port: int = PORT, udp: bool = False, timeout_ms: int = 2000
    ) -> ExchangeResult:
        """Connect from the client. Raises HostError."""
        limit = self.deadline.left(120)
        asked = Exchange(host, port, count, "udp" if udp else "tcp", timeout_ms=timeout_ms, limit=limit)
        return self.client.agent.call(asked)

    def see(self, host: str, count: int, expected: Sequence[Pod], *, port: int = PORT) -> Seen:
        """Connect from the client to what these endpoints should answer for. Raises HostError."""
        return Seen(self.connect(host, count, port=port), addresses(expected))

    def write(self, *changed: Object) -> None:
        """Replace objects. Raises ApiError."""
        self.api.replace_many(self._readable(changed))

    def create(self, *made: Object) -> None:
        """Create objects. Raises ApiError."""
        self.api.create_many(self._readable(made))

    def delete(self, *gone: Object) -> None:
        """Delete objects. Raises ApiError."""
        self.api.delete_many([Ref.of(obj) for obj in self._readable(gone)])

    def _readable(self, made: Sequence[Object]) -> tuple[Object, ...]:
        """Add Endpoints objects for a kube-proxy that reads those and no EndpointSlices."""
        subject = self.subject
        slices = [obj for obj in made if obj["kind"] == Kind.ENDPOINT_SLICE]
        if subject.kind != "kube-proxy" or not reads_endpoints(subject.mode, KubeVersion.of_release(subject.version)):
            return tuple(made)
        return (*made, *map(as_endpoints, slices))

    def await_answer(self, host: str, wanted: Sequence[Pod], limit_s: float = 30.0) -> bool:
        """Wait until one of these answers, and for a moment nobody else; return whether it came. Raises HostError."""
        want = addresses(wanted)
        probe = Await(host, PORT, "answer", self.deadline.left(limit_s), want, settle_ms=_SETTLE_MS)
        return not self.client.agent.call(probe).censored

    def await_refusal(self, host: str, limit_s: float = 30.0) -> bool:
        """Wait until nobody answers any more; return whether that came. Raises HostError."""
        return not self.client.agent.call(Await(host, PORT, "refusal", self.deadline.left(limit_s))).censored


def broken(nodes: Iterable[NodeHandle]) -> str:
    """Return why one of the nodes' agents cannot be asked any more, "" while all can."""
    found = (f"{one.name}: the agent cannot be asked any more: {one.agent.broken}" for one in nodes if one.agent.broken)
    return next(found, "")


def as_endpoints(endpoint_slice: Object) -> Object:
    """Return the Endpoints object that says the same as a Service's only EndpointSlice (pure)."""
    (port,) = endpoint_slice["ports"]
    name = endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"]
    made = objects.endpoints(name, (), port["port"], 0, protocols=(port["protocol"],))
    lists: dict[str, list[Object]] = {}
    for endpoint in endpoint_slice["endpoints"] or ():
        which = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
        lists.setdefault(which, []).append({"ip": endpoint["addresses"][0], "nodeName": endpoint["nodeName"]})
    return made | ({"subsets": [{**lists, "ports": [port]}]} if lists else {})


def addresses(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Return the pods' addresses."""
    return tuple(pod.address for pod in pods)
