"""A Service of its own, after all numbered ones, on which changes are made and probed; and those changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.agent.http import NOW
from proxybench.kube import objects
from proxybench.kube.access import UNEXPOSED, Exposure
from proxybench.nodes.requests import Await, Write

if TYPE_CHECKING:
    from proxybench.kube.objects import AddressPlan, Object, Pod

SERVICES = f"/api/v1/namespaces/{objects.NAMESPACE}/services"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{objects.NAMESPACE}/endpointslices"
ENDPOINTS = f"/api/v1/namespaces/{objects.NAMESPACE}/endpoints"
_SETTLE_MS = 300  # a stale endpoint may answer a little longer than the first new answer takes


@dataclass(frozen=True)
class Canary:
    """The Service ``name``. ``old`` is its endpoint before change-endpoint, ``new`` the one after.

    Canaries of different ``number`` share no address. ``in_endpoints``: whether what is measured reads its endpoints
    from an Endpoints object, not from an EndpointSlice. ``exposure``: which addresses it has besides its ClusterIP.
    """

    plan: AddressPlan
    name: str = objects.CANARY
    number: int = 0
    in_endpoints: bool = False
    exposure: Exposure = UNEXPOSED

    @property
    def vip(self) -> str:
        """Its ClusterIP."""
        return self.plan.canary_vip(self.number)

    @property
    def old(self) -> Pod:
        """Its first endpoint, on the measured node."""
        return self.plan.spare(4 * self.number)

    @property
    def new(self) -> Pod:
        """The endpoint that takes over, on the same node."""
        return self.plan.spare(4 * self.number + 2)

    def service(self) -> Object:
        """Return its Service."""
        access = self.plan.canary_access(self.exposure, self.number)
        return objects.service(self.name, self.vip, self.plan.backend_port, access=access)

    def endpoint_slice(self, pod: Pod) -> Object:
        """Return its only EndpointSlice, with one endpoint and no trigger time."""
        return objects.endpoint_slices(
            self.name,
            [pod],
            self.plan.backend_port,
            0,
            protocols=self.exposure.protocols,
            family=self.plan.family,
        )[0]

    def endpoints(self, pod: Pod) -> Object:
        """Return its Endpoints object, with one endpoint and no trigger time."""
        return objects.endpoints(self.name, [pod], self.plan.backend_port, 0, protocols=self.exposure.protocols)

    def told(self) -> tuple[Object, ...]:
        """Return what tells of its first endpoint: its EndpointSlice, and where it is read its Endpoints object."""
        slice_ = self.endpoint_slice(self.old)
        return (slice_, self.endpoints(self.old)) if self.in_endpoints else (slice_,)

    def post_service(self) -> Write:
        """Return the write that creates its Service."""
        return Write("POST", SERVICES, self.service())

    def delete_service(self) -> Write:
        """Return the write that deletes its Service."""
        return Write("DELETE", f"{SERVICES}/{self.name}")

    def post_slice(self) -> Write:
        """Return the write that creates its EndpointSlice (or Endpoints), triggered at the moment of sending."""
        path, made = self._told(self.old)
        return Write("POST", path, made)

    def put_slice(self) -> Write:
        """Return the write that moves it to its new endpoint; the trigger time is the moment of sending."""
        path, moved = self._told(self.new)
        return Write("PUT", f"{path}/{moved['metadata']['name']}", moved)

    def _told(self, pod: Pod) -> tuple[str, Object]:
        """Return what tells of its endpoint, and the path of such objects."""
        if self.in_endpoints:
            return ENDPOINTS, triggered(self.endpoints(pod))
        return SLICES, triggered(self.endpoint_slice(pod))

    def answers(self, timeout: float) -> Await:
        """Return the probe for an answer by the first endpoint."""
        return appears(self.vip, (self.old.address,), timeout)

    def moves(self, timeout: float) -> Await:
        """Return the probe for an answer by the new endpoint; the last one by the old is waited for, too."""
        return Await(self.vip, objects.PORT, "answer", timeout, (self.new.address,), settle_ms=_SETTLE_MS)

    def refuses(self, timeout: float) -> Await:
        """Return the probe for the first refusal."""
        return Await(self.vip, objects.PORT, "refusal", timeout)


def second_canary(plan: AddressPlan, *, in_endpoints: bool = False, exposure: Exposure = UNEXPOSED) -> Canary:
    """Return the Service that is made with its EndpointSlice, none of which lies in the API before."""
    return Canary(plan, f"{objects.CANARY}-2", 1, in_endpoints, exposure)


def appears(vip: str, want: tuple[str, ...], timeout: float) -> Await:
    """Return the probe for a Service that is to answer from one of ``want``."""
    return Await(vip, objects.PORT, "answer", timeout, want)


def triggered(obj: Object) -> Object:
    """Set the trigger time to what the agent replaces by its own clock's time when it sends the object."""
    obj["metadata"].setdefault("annotations", {})[objects.TRIGGER_TIME] = NOW.decode()
    return obj
