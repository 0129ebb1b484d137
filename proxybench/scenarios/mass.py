"""Many Services with their endpoints are made at once, and deleted at once: as when a namespace comes and goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from proxybench.clocks import Instant
from proxybench.errors import MeasurementError
from proxybench.kube import objects
from proxybench.kube.access import UNEXPOSED
from proxybench.kube.base import Ref
from proxybench.model import Scenario
from proxybench.nodes.requests import Await, Change, Write
from proxybench.scenarios.canary import SERVICES, SLICES, appears
from proxybench.scenarios.event import measure_event, places_watched
from proxybench.scenarios.observe import ApiWrite, observe_last, sent_again, write
from proxybench.scenarios.places import spread
from proxybench.scenarios.quiet import settle
from proxybench.scenarios.sync import ended, record_end

if TYPE_CHECKING:
    from proxybench.kube.objects import Object, Population
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.observe import Observation
    from proxybench.subjects.driver import ProxyMetrics

FIRST = 20_000
"""The index of the first of them: beyond all numbered Services and batches."""

LEAST = 2
"""The fewest that can be made: the first, from which the time runs, and the last, whose write is probed for."""

PROBED = 8


@dataclass(frozen=True)
class Mass:
    """``size`` Services (at least ``LEAST``) come, and go; those that were there before are watched meanwhile.

    They have a ClusterIP only, whatever the numbered ones have: there are not node ports for all of them.
    """

    name: ClassVar = "mass create and delete"
    vital: ClassVar = False

    size: int
    timeout_s: float
    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Do both, and record each. Raises MeasurementError."""
        if step.in_endpoints:
            raise MeasurementError("its Services have EndpointSlices, and this proxy reads Endpoints")
        step = replace(step, population=replace(step.population, exposures=(UNEXPOSED,)))
        many = range(FIRST, FIRST + self.size)
        try:
            self._measure(step, Scenario.MASS_CREATE, many)
            self._measure(step, Scenario.MASS_DELETE, many)
        finally:
            step.api.delete_many(_refs(step.population, many))
        settle(step)

    def _measure(self, step: StepContext, scenario: Scenario, many: range) -> None:
        begun: list[int] = []
        found: list[Observation] = []
        change = _create if scenario is Scenario.MASS_CREATE else _delete

        def act(before: ProxyMetrics) -> None:
            first, seen = change(step, many, step.deadline.left(self.timeout_s))
            begun.append(first)
            found.append(seen)
            settle(step, before)

        measure_event(step, scenario, places_watched(step, self.interval_ms), act)
        last = max(found[0].probes, key=lambda probe: (probe.censored, ended(probe)))
        domain = step.client.node.clock
        took = step.clocks.between(Instant(begun[0], domain), Instant(ended(last), domain))
        record_end(step.recorder, scenario, took, last)


def _create(step: StepContext, many: range, limit_s: float) -> tuple[int, Observation]:
    """Write all but the last, then that one; return when the first was acknowledged, and what the probes saw."""
    population = step.population
    first, *others, last = many
    begun = write(step.client, Change(_posts(population, first), ())).ack_ns
    slices = [one for index in others for one in population.endpoint_slices(index, 0)]
    if again := sent_again(step.api.create_many([*slices, *(population.service(index) for index in others)])):
        step.result.notes.append(f"{Scenario.MASS_CREATE}: {again}")
    probes = tuple(
        appears(population.plan.vip(index), tuple(pod.address for pod in population.pods(index)), limit_s)
        for index in _probed(many)
    )
    return begun, observe_last(step.client, ApiWrite(_posts(population, last)), probes)


def _delete(step: StepContext, many: range, limit_s: float) -> tuple[int, Observation]:
    """Delete all but the last, then that one; return when the first was acknowledged, and when nothing answers."""
    population = step.population
    first, *others, last = many
    begun = write(step.client, Change((_deletion(population, first),), ())).ack_ns
    if again := sent_again(step.api.delete_many(_refs(population, others))):
        step.result.notes.append(f"{Scenario.MASS_DELETE}: {again}")
    probes = (Await(population.plan.vip(last), objects.PORT, "refusal", limit_s),)
    return begun, observe_last(step.client, ApiWrite((_deletion(population, last),)), probes)


def _probed(many: range) -> tuple[int, ...]:
    return tuple(many[place] for place in spread(len(many), PROBED))


def _posts(population: Population, index: int) -> tuple[Write, ...]:
    slices = population.endpoint_slices(index, 0)
    return (Write("POST", SERVICES, population.service(index)), *(Write("POST", SLICES, one) for one in slices))


def _deletion(population: Population, index: int) -> Write:
    return Write("DELETE", f"{SERVICES}/{population.name(index)}")


def _refs(population: Population, indices: range | list[int]) -> list[Ref]:
    services: list[Object] = [population.service(index) for index in indices]
    slices = [one for index in indices for one in population.endpoint_slices(index, 0)]
    return [Ref.of(one) for one in (*services, *slices)]
