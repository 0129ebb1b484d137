"""Services of an event's own, beside the numbered ones: made for it, changed in it, and removed after it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube import objects
from proxybench.kube.access import Access
from proxybench.kube.base import Kind, Ref
from proxybench.nodes.requests import Write
from proxybench.scenarios.canary import SERVICES, SLICES
from proxybench.scenarios.quiet import pause, settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.kube.objects import AddressPlan, Object, Pod
    from proxybench.scenarios.base import StepContext

_FIRST_VIP = 20  # of the addresses outside the numbered Services; the canaries have the first ones
_FIRST_POD = 40


@dataclass(frozen=True)
class Workload:
    """``services`` Services with the same ``endpoints`` pods behind each, all on the measured node.

    ``protocol`` is "TCP" or "UDP".
    """

    plan: AddressPlan
    services: int = 1
    endpoints: int = 1
    protocol: str = "TCP"

    def name(self, number: int = 0) -> str:
        """Return the name of a Service."""
        return f"svc-event-{self.protocol.lower()}-{number:03d}"

    def vip(self, number: int = 0) -> str:
        """Return its ClusterIP."""
        return self.plan.canary_vip(_FIRST_VIP + number)

    def pod(self, number: int, generation: int = 0) -> Pod:
        """Return endpoint ``number`` of a generation: another generation's has another address."""
        nodes = len(self.plan.pod_ranges)
        return self.plan.spare(nodes * (_FIRST_POD + generation * self.endpoints + number))

    def pods(self, generation: int = 0) -> tuple[Pod, ...]:
        """Return all endpoints of a generation."""
        return tuple(self.pod(number, generation) for number in range(self.endpoints))

    @property
    def refs(self) -> tuple[Ref, ...]:
        """All objects, by name."""
        names = [self.name(number) for number in range(self.services)]
        slices = [Ref(Kind.ENDPOINT_SLICE, objects.NAMESPACE, f"{name}-000") for name in names]
        return (*(Ref(Kind.SERVICE, objects.NAMESPACE, name) for name in names), *slices)

    def service(self, number: int = 0) -> Object:
        """Return a Service."""
        return objects.service(
            self.name(number), self.vip(number), self.plan.backend_port, access=Access(protocols=(self.protocol,))
        )

    def endpoint_slice(self, pods: Sequence[Pod], number: int = 0) -> Object:
        """Return its EndpointSlice with these endpoints."""
        (found,) = objects.endpoint_slices(
            self.name(number), pods, self.plan.backend_port, 0, protocols=(self.protocol,), family=self.plan.family
        )
        return found

    def post_service(self, number: int = 0) -> Write:
        """Return the write that creates a Service."""
        return Write("POST", SERVICES, self.service(number))

    def put_slices(self, pods: Sequence[Pod]) -> tuple[Write, ...]:
        """Return the writes that put these endpoints behind every Service."""
        slices = [self.endpoint_slice(pods, number) for number in range(self.services)]
        return tuple(Write("PUT", f"{SLICES}/{one['metadata']['name']}", one) for one in slices)

    @contextmanager
    def there(self, step: StepContext) -> Iterator[None]:
        """Have it in the API, with the first generation's endpoints, while the body runs; the proxy has synced it.

        Raises MeasurementError for a proxy that reads Endpoints.
        """
        if step.in_endpoints:
            raise MeasurementError("the Services of events have EndpointSlices, and this proxy reads Endpoints")
        numbers = range(self.services)
        slices = [self.endpoint_slice(self.pods(), number) for number in numbers]
        try:
            step.api.create_many([*slices, *(self.service(number) for number in numbers)])
            _taken_up(step)
            yield
        finally:
            step.api.delete_many(self.refs)
        _taken_up(step)


def _taken_up(step: StepContext) -> None:
    """Wait until the proxy has taken up what was written just now: it may have to let its minimum period pass."""
    pause(step)
    settle(step)
