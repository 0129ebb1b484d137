"""Where the numbers of one step land: each becomes a Sample with its point, node, unit and clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxybench.model import NO_PATH, ClockKind, Metric, Point, Position, Sample, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.model import Cell
    from proxybench.units import Clock


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
        position: Position = Position.NONE,
        path: str = NO_PATH,
        uncertainty: int = 0,
        rank: int | None = None,
    ) -> None:
        """Record one value."""
        self.add_all(
            metric,
            scenario,
            [value],
            censored=censored,
            position=position,
            path=path,
            uncertainty=uncertainty,
            rank=rank,
        )

    def add_all(
        self,
        metric: Metric,
        scenario: Scenario,
        values: Iterable[int],
        *,
        censored: bool = False,
        position: Position = Position.NONE,
        path: str = NO_PATH,
        uncertainty: int = 0,
        rank: int | None = None,
    ) -> None:
        """Record several values of the same point; see ``Sample`` for ``uncertainty`` and ``rank``."""
        cell = self.cell
        point = Point(
            subject=cell.subject,
            services=cell.services,
            endpoints_per_service=cell.endpoints_per_service,
            scenario=scenario,
            family=cell.family,
            path=path,
            position=position,
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
                rank=rank,
            )
            for value in values
        ]
