"""Keeps the API's population at the size of the step to come; written once per size, not per mode."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from proxybench.kube import objects
from proxybench.kube.access import UNEXPOSED
from proxybench.kube.base import Kind, Ref
from proxybench.kube.objects import NAMESPACE, SELECTOR, Population
from proxybench.kube.replay import Replay
from proxybench.model import Family, Position
from proxybench.scenarios.canary import Canary, second_canary

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.experiment.profile import Profile
    from proxybench.kube.access import Exposure
    from proxybench.kube.base import Object, ServiceApi
    from proxybench.kube.objects import AddressPlan

# A trigger time by our clock would mean nothing to a node whose time is its own; changes carry the node's, see sync.py.
_NO_TRIGGER = 0


class Populator:
    """Writes Services and EndpointSlices until the API holds what a cell asks for, and nothing else of ours.

    Beside the numbered Services lie the EndpointSlices of those that a step will add: the canary and the batch.
    ``plans``: of each family that a cell may have, the first of which holds at the start. ``endpoints_too``: whether
    each Service has an Endpoints object as well, as in a cluster, for old Service proxies that read nothing else.
    ``exposures`` are those of the population; the canaries have the first. ``profile``: whose shape it has, if any's.
    """

    def __init__(
        self,
        api: ServiceApi,
        *plans: AddressPlan,
        endpoints_too: bool = False,
        exposures: tuple[Exposure, ...] = (UNEXPOSED,),
        profile: Profile | None = None,
    ) -> None:
        self._api = api
        self._plans = {plan.family: plan for plan in plans}
        self._plan = plans[0]
        self._endpoints_too = endpoints_too
        self._exposures = exposures
        self._profile = profile
        self._services = 0
        self._slices = 0
        self._endpoints = 0

    def reach(
        self,
        services: int,
        endpoints: int,
        batch: int,
        report: Callable[[str], None],
        family: Family = Family.IPV4,
    ) -> Population:
        """Bring the API to this size and return it; ``batch`` further Services have EndpointSlices only."""
        plan = self._plans[family]
        population = self._population(plan, endpoints)
        wanted = services + batch
        shrinks = services < self._services or wanted < self._slices
        if shrinks or endpoints != self._endpoints or plan != self._plan:
            self.clear()
        self._plan = plan
        self._api.ensure_namespace(NAMESPACE)
        slices: list[Object] = []
        for index in range(self._slices, wanted):
            slices += population.endpoint_slices(index, _NO_TRIGGER)
            if self._endpoints_too:
                slices.append(population.endpoints(index, _NO_TRIGGER))
        if slices:
            self._create(slices, report)
        # The reference writes rules in the order of creation, which is loose within one bulk: what may be measured
        # comes alone. Where a rule stands in truth is read back from the kernel (places.py).
        alone = {
            population.measured(services, position) for position in (Position.FIRST, Position.MIDDLE, Position.LAST)
        }
        for is_measured, indices in groupby(range(self._services, services), alone.__contains__):
            bulk = [population.service(index) for index in indices]
            for part in [[one] for one in bulk] if is_measured else [bulk]:
                self._create(part, report)
        self._services, self._slices, self._endpoints = services, wanted, endpoints
        self._put_canary()
        return population

    def _population(self, plan: AddressPlan, endpoints: int) -> Population:
        if self._profile is None:
            return Population(plan, endpoints, exposures=self._exposures)
        return Replay(plan, endpoints, exposures=self._exposures, profile=self._profile)

    def restore(self, population: Population, batch: int) -> None:
        """Take back what a step added or changed, so that the next one finds the same population."""
        extra = range(self._services, self._services + batch)
        refs = [Ref(Kind.SERVICE, NAMESPACE, population.name(index)) for index in extra]
        second = second_canary(self._plan, in_endpoints=self._endpoints_too, exposure=self._exposures[0])
        made = [Ref(Kind.SERVICE, NAMESPACE, second.name), *map(Ref.of, second.told())]
        self._api.delete_many([*refs, Ref(Kind.SERVICE, NAMESPACE, objects.CANARY), *made])
        self._put_canary()

    def clear(self) -> None:
        """Remove everything that we wrote."""
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, *((Kind.ENDPOINTS,) if self._endpoints_too else ())):
            self._api.delete_collection(kind, NAMESPACE, SELECTOR)
        self._services = self._slices = self._endpoints = 0

    def _create(self, objects_: list[Object], report: Callable[[str], None]) -> None:
        self._api.create_many(objects_, lambda done, total: report(f"writing objects: {done:,} of {total:,}"))

    def _put_canary(self) -> None:
        canary = Canary(self._plan, in_endpoints=self._endpoints_too, exposure=self._exposures[0])
        made = canary.told()
        self._api.delete_many(list(map(Ref.of, made)))
        self._api.create_many(made)
