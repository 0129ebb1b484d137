"""What happens in a step, in which order: this list is the only place that knows. Pure.

A scenario is one module and one line here. The order is part of what is measured: connecting without rules comes before
the proxy is started, everything else after it, and what changes Services last; of the changes each needs what the one
before left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.model import Scenario as Name
from proxybench.scenarios.attach import Attach
from proxybench.scenarios.batch import Batch
from proxybench.scenarios.by_path import ByPath
from proxybench.scenarios.cold_start import LONGEST_S, ColdStart
from proxybench.scenarios.conformance import Conformance
from proxybench.scenarios.datagrams import ChangeUdp, Scale
from proxybench.scenarios.forwarding import Bare, EstablishedConnections, NewConnections
from proxybench.scenarios.idle import Idle
from proxybench.scenarios.load import Load
from proxybench.scenarios.mass import LEAST, Mass
from proxybench.scenarios.migrate import Migrate
from proxybench.scenarios.new_service import NewService
from proxybench.scenarios.one_of_several import OneOfSeveral
from proxybench.scenarios.places import PLAIN
from proxybench.scenarios.put_back import PutBack
from proxybench.scenarios.repair import PARTS, Repair
from proxybench.scenarios.replace_endpoint import ReplaceEndpoint
from proxybench.scenarios.restart import Restart, RestartChanged
from proxybench.scenarios.rollout import Rollout
from proxybench.scenarios.service_change import AddOne, ChangeEndpoint, DeleteOne, ServiceThere
from proxybench.scenarios.soak import Soak
from proxybench.scenarios.turns import FullSync, OneChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.experiment.events import EventsSpec
    from proxybench.experiment.spec import ForwardingSpec, LoadSpec, MeasureSpec
    from proxybench.model import Cell
    from proxybench.scenarios.base import Scenario


@dataclass(frozen=True)
class Asked:
    """What an experiment asks for in a cell."""

    measure: MeasureSpec
    load: LoadSpec | None
    cell: Cell
    starts: bool = True  # as Traits.starts_proxies of the cluster

    @property
    def timeout_s(self) -> float:
        """After so many seconds a change counts as not seen."""
        return self.measure.sync.timeout if self.measure.sync else LONGEST_S

    @property
    def batch(self) -> int:
        """Services that add-batch adds; 0 where it is not asked for."""
        sync = self.measure.sync
        return sync.batch.of(self.cell.services) if sync and Name.ADD_BATCH in sync.scenarios else 0

    @property
    def established(self) -> ForwardingSpec | None:
        """Settings of the control on established connections; None where it is not asked for."""
        spec = self.measure.forwarding
        return spec if spec and spec.established else None

    @property
    def by_path(self) -> bool:
        """Whether a Service's coming and going is probed by path: both happen, whichever is asked for."""
        return self.changes(Name.ADD_PATHS) or self.changes(Name.DELETE_PATHS)

    def changes(self, name: Name) -> bool:
        """Whether a scenario of sync is asked for."""
        return self.measure.sync is not None and name in self.measure.sync.scenarios

    @property
    def changes_what_is_not_added(self) -> bool:
        """Whether a Service is changed or deleted that no scenario adds: its probes would find nothing there."""
        changed = self.changes(Name.CHANGE_ENDPOINT) or self.changes(Name.DELETE_ONE)
        return changed and not self.changes(Name.ADD_ONE)


def _ms(events: EventsSpec) -> int:
    return round(events.interval * 1000)


def _repair(name: Name, events: EventsSpec, _: Cell) -> Repair:
    return Repair(name, events.timeout, _ms(events))


def _migrate(asked: Asked, *, cleaned: bool) -> Migrate | None:
    migrate = asked.measure.migrate if asked.starts else None
    there = migrate is not None and asked.cell.mode is not migrate.to
    return Migrate(cleaned, round(migrate.interval * 1000)) if migrate and there else None


def _soak(asked: Asked) -> Soak | None:
    soak = asked.measure.soak if asked.starts else None
    return Soak(soak.duration, soak.pace, round(soak.interval * 1000)) if soak else None


def _event(make: Callable[[EventsSpec, Cell], Scenario], *names: Name) -> Callable[[Asked], Scenario | None]:
    """Return what makes an event where one of its names is asked for."""

    def of(asked: Asked) -> Scenario | None:
        events = asked.measure.events if asked.starts else None
        return make(events, asked.cell) if events and any(name in events.scenarios for name in names) else None

    return of


_ORDER: tuple[Callable[[Asked], Scenario | None], ...] = (
    lambda asked: Bare(asked.measure.forwarding) if asked.measure.forwarding and asked.starts else None,
    lambda asked: ColdStart(asked.changes(Name.COLD_START), asked.timeout_s) if asked.starts else None,
    lambda asked: None if asked.starts else Attach(asked.timeout_s),
    lambda _: Conformance(),
    lambda asked: NewConnections(asked.measure.forwarding) if asked.measure.forwarding else None,
    lambda asked: EstablishedConnections(asked.established) if asked.established else None,
    lambda asked: Idle(asked.measure.cpu.idle) if asked.measure.cpu else None,
    lambda asked: Load(asked.load) if asked.load and asked.load.runs_at(asked.cell.services) else None,
    lambda asked: ReplaceEndpoint() if asked.changes(Name.REPLACE_ENDPOINT) else None,
    lambda asked: AddOne(asked.timeout_s) if asked.changes(Name.ADD_ONE) else None,
    lambda asked: ServiceThere(asked.timeout_s) if asked.changes_what_is_not_added else None,
    lambda asked: ChangeEndpoint(asked.timeout_s) if asked.changes(Name.CHANGE_ENDPOINT) else None,
    lambda asked: DeleteOne(asked.timeout_s) if asked.changes(Name.DELETE_ONE) else None,
    lambda asked: NewService(asked.timeout_s) if asked.changes(Name.NEW_SERVICE) else None,
    lambda asked: Batch(asked.batch, asked.timeout_s) if asked.batch else None,
    lambda asked: ByPath(asked.measure.paths or (PLAIN,), asked.timeout_s) if asked.by_path else None,
    *(_event(partial(_repair, name), name) for name in PARTS),
    _event(lambda events, _: Restart(_ms(events)), Name.RESTART),
    _event(lambda events, _: RestartChanged(events.timeout, _ms(events)), Name.RESTART_CHANGED),
    _event(lambda events, _: OneChange(Name.CHANGE_IDLE, events.timeout), Name.CHANGE_IDLE),
    _event(lambda events, _: OneChange(Name.CHANGE_BUSY, events.timeout), Name.CHANGE_BUSY),
    _event(lambda events, _: OneOfSeveral(events.endpoints, _ms(events)), Name.ADD_ENDPOINT, Name.REMOVE_ENDPOINT),
    _event(lambda events, _: Rollout(Name.ROLL_SERVICE, 1, events.endpoints, _ms(events)), Name.ROLL_SERVICE),
    _event(
        lambda events, _: Rollout(Name.ROLL_DEPLOYMENT, events.services, events.endpoints, _ms(events)),
        Name.ROLL_DEPLOYMENT,
    ),
    _event(lambda events, _: Scale(_ms(events)), Name.SCALE_TO_ZERO, Name.SCALE_FROM_ZERO),
    _event(lambda events, _: ChangeUdp(Name.CHANGE_UDP, 0, _ms(events)), Name.CHANGE_UDP),
    _event(lambda events, _: ChangeUdp(Name.CHANGE_UDP_TRACKED, events.tracked, _ms(events)), Name.CHANGE_UDP_TRACKED),
    _event(
        lambda events, cell: Mass(max(LEAST, events.mass.of(cell.services)), events.timeout, _ms(events)),
        Name.MASS_CREATE,
        Name.MASS_DELETE,
    ),
    _event(lambda events, _: FullSync(_ms(events)), Name.FULL_SYNC),
    partial(_migrate, cleaned=False),
    partial(_migrate, cleaned=True),
    _soak,
)


def plan(measure: MeasureSpec, load: LoadSpec | None, cell: Cell, *, starts: bool = True) -> tuple[Scenario, ...]:
    """Return the scenarios of a step, in order; ``starts``: whether Service proxies are started by us."""
    asked = Asked(measure, load, cell, starts)
    once = tuple(scenario for make in _ORDER if (scenario := make(asked)))
    return _repeated(once, measure.sync.times if measure.sync else 1)


def _repeated(once: tuple[Scenario, ...], times: int) -> tuple[Scenario, ...]:
    """Return the order with so many rounds of the changes to one Service; between two it is put back."""
    changes = tuple(one for one in once if isinstance(one, AddOne | ServiceThere | ChangeEndpoint | DeleteOne))
    if not changes:
        return once
    end = once.index(changes[-1]) + 1
    return (*once[:end], *(times - 1) * (PutBack(), *changes), *once[end:])


def not_applicable(measure: MeasureSpec, *, starts: bool) -> str:
    """Return what is asked for and needs a proxy that is started by us, where none is; "" where all can be."""
    asked = [Name.COLD_START] if measure.sync and Name.COLD_START in measure.sync.scenarios else []
    whole = [name for name in ("events", "migrate", "soak") if getattr(measure, name)]
    names = [*map(str, asked), *([Metric.FORWARDING_BARE] if measure.forwarding else []), *whole]
    if starts or not names:
        return ""
    return f"{', '.join(names)}: not applicable, since the cluster's own proxy is neither started nor stopped for it"


def batch_size(measure: MeasureSpec, cell: Cell) -> int:
    """Return how many Services beyond the cell's need EndpointSlices before the proxy starts."""
    return Asked(measure, None, cell).batch
