"""Where the numbers of one step land: each becomes a Sample with its point, node, unit and clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxybench.model import CLUSTER_IP, NO_PATH, ClockKind, Metric, Point, Position, Sample, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.model import Cell
    from proxybench.units import Clock


@dataclass(frozen=True)
class Where:
    """Over which path, at which position, and the measured rank of the rule, from 1 (None: there is no order)."""

    path: str = NO_PATH
    position: Position = Position.NONE
    rank: int | None = None


NOWHERE = Where()
"""Of what no connection was made for."""


def cluster_ip(position: Position = Position.NONE, rank: int | None = None) -> Where:
    """Return the way over a Service's ClusterIP, or, without a position, the direct one beside it."""
    return Where(CLUSTER_IP, position, rank)


@dataclass
class Recorder:
    """Collects the samples of one step; ``node`` is the measured one."""

    run: str
    cell: Cell
    repetition: int
    node: str
    clock_kind: ClockKind
    clock: Clock
    samples: list[Sample] = field(default_factory=list)

    def add(
        self,
        metric: Metric,
        scenario: Scenario,
        value: int,
        *,
        censored: bool = False,
        uncertainty: int = 0,
        where: Where = NOWHERE,
    ) -> None:
        """Record one value, true within ``± uncertainty``."""
        self.add_all(metric, scenario, [value], censored=censored, uncertainty=uncertainty, where=where)

    def add_all(
        self,
        metric: Metric,
        scenario: Scenario,
        values: Iterable[int],
        *,
        censored: bool = False,
        uncertainty: int = 0,
        where: Where = NOWHERE,
    ) -> None:
        """Record several values of the same point, each true within ``± uncertainty``."""
        cell = self.cell
        point = Point(
            subject=cell.subject,
            services=cell.services,
            endpoints_per_service=cell.endpoints_per_service,
            scenario=scenario,
            family=cell.family,
            path=where.path,
            position=where.position,
            profile=cell.profile,
        )
        now = self.clock.utc_ns()
        self.samples += [
            Sample(
                run=self.run,
                point=point,
                repetition=self.repetition,
                node=self.node,
                metric=metric,
                value=int(value),
                unit=metric.about.unit,
                clock=self.clock_kind,
                censored=censored,
                at=now,
                uncertainty=uncertainty,
                rank=where.rank,
            )
            for value in values
        ]
