"""Keeps the API's population at the size of the step to come; written once per size, not per mode."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from proxybench.kube import objects
from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import NAMESPACE, SELECTOR, Population
from proxybench.model import Position
from proxybench.scenarios.canary import Canary, second_canary

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.base import Object, ServiceApi
    from proxybench.kube.objects import AddressPlan

# A trigger time by our clock would mean nothing to a node whose time is its own; changes carry the node's, see sync.py.
_NO_TRIGGER = 0


class Populator:
    """Writes Services and EndpointSlices until the API holds what a cell asks for, and nothing else of ours.

    Beside the numbered Services lie the EndpointSlices of those that a step will add: the canary and the batch.
    """

    def __init__(self, api: ServiceApi, plan: AddressPlan) -> None:
        self._api = api
        self._plan = plan
        self._services = 0
        self._slices = 0
        self._endpoints = 0

    def reach(self, services: int, endpoints: int, batch: int, say: Callable[[str], None]) -> Population:
        """Bring the API to this size and return it; ``batch`` further Services have EndpointSlices only."""
        population = Population(self._plan, endpoints)
        wanted = services + batch
        if endpoints != self._endpoints or services < self._services or wanted < self._slices:
            self.clear()
        self._api.ensure_namespace(NAMESPACE)
        slices: list[Object] = []
        for index in range(self._slices, wanted):
            slices += population.endpoint_slices(index, _NO_TRIGGER)
        if slices:
            self._create(slices, say)
        # The reference writes rules in the order of creation, which is loose within one bulk: what may be measured
        # comes alone. Where a rule stands in truth is read back from the kernel (places.py).
        alone = {
            population.measured(services, position) for position in (Position.FIRST, Position.MIDDLE, Position.LAST)
        }
        for is_measured, indices in groupby(range(self._services, services), alone.__contains__):
            bulk = [population.service(index) for index in indices]
            for part in [[one] for one in bulk] if is_measured else [bulk]:
                self._create(part, say)
        self._services, self._slices, self._endpoints = services, wanted, endpoints
        self._put_canary()
        return population

    def restore(self, population: Population, batch: int) -> None:
        """Take back what a step added or changed, so that the next one finds the same population."""
        extra = range(self._services, self._services + batch)
        refs = [Ref(Kind.SERVICE, NAMESPACE, population.name(index)) for index in extra]
        second = second_canary(self._plan)
        made = [Ref(Kind.SERVICE, NAMESPACE, second.name), Ref.of(second.endpoint_slice(second.old))]
        self._api.delete_many([*refs, Ref(Kind.SERVICE, NAMESPACE, objects.CANARY), *made])
        self._put_canary()

    def clear(self) -> None:
        """Remove everything that we wrote."""
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
            self._api.delete_collection(kind, NAMESPACE, SELECTOR)
        self._services = self._slices = self._endpoints = 0

    def _create(self, objects_: list[Object], say: Callable[[str], None]) -> None:
        self._api.create_many(objects_, lambda done, total: say(f"writing objects: {done:,} of {total:,}"))

    def _put_canary(self) -> None:
        canary = Canary(self._plan)
        slice_ = canary.endpoint_slice(canary.old)
        self._api.delete_many([Ref.of(slice_)])
        self._api.create_many([slice_])
