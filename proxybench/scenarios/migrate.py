"""A live node is migrated from the cell's subject to another one, and back, while clients connect.

One proxy is stopped, the other started on the same node, with the first one's rules there, or (``cleaned``) after the
first one's own clean-up. What counts is what users see meanwhile, and what of the old proxy's is still in the kernel
when the new one serves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.model import Metric, Scenario
from proxybench.nodes.kernel.state import KernelState, diff
from proxybench.scenarios.cold_start import record_programmed
from proxybench.scenarios.event import measure_event, places_watched
from proxybench.scenarios.quiet import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.nodes.kernel.state import Thing
    from proxybench.scenarios.base import Contender, StepContext
    from proxybench.subjects.driver import ProxyMetrics

_READY_S = 600.0


@dataclass(frozen=True)
class Migrate:
    """There and back; ``cleaned``: the proxy that goes removes what it made, in its own way, before the other comes."""

    cleaned: bool
    interval_ms: int
    vital: ClassVar = True

    @property
    def name(self) -> str:
        """Names it in progress: both ways."""
        return "migration, cleaned up" if self.cleaned else "migration"

    def run(self, step: StepContext) -> None:
        """Migrate and record what that did. Raises MeasurementError where the other subject cannot run."""
        if step.rivals is None:
            raise MeasurementError("the subject to migrate to is not there")
        own, other = step.rivals.own, step.rivals.other
        ways = (Scenario.MIGRATE_CLEANED, Scenario.MIGRATE_BACK_CLEANED)
        there, back = ways if self.cleaned else (Scenario.MIGRATE, Scenario.MIGRATE_BACK)
        left = self._switch(step, there, (own, other), step.rivals.things, ())
        self._switch(step, back, (other, own), step.rivals.things, left)

    def _switch(
        self,
        step: StepContext,
        scenario: Scenario,
        pair: tuple[Contender, Contender],
        things: Callable[[], tuple[Thing, ...]],
        strange: tuple[Thing, ...],
    ) -> tuple[Thing, ...]:
        """Migrate from the first of a pair to the second; return what is left of the first, without the ``strange``."""
        old, new = pair
        made = Counter(things()) - Counter(strange)

        def act(_: ProxyMetrics) -> None:
            step.subject.stop()
            if self.cleaned:
                old.clean()
            step.subject.start(new.start).wait_ready(step.deadline, step.deadline.left(_READY_S))
            settle(step)

        step.report(f"{scenario}: from {old.label} to {new.label}")
        measure_event(step, scenario, places_watched(step, self.interval_ms), act, reborn=True)
        record_programmed(step, scenario, step.proxy.metrics())
        left = tuple((made & Counter(things())).elements())
        step.recorder.add(Metric.EVENT_LEFT, scenario, len(left))
        lines = diff(KernelState(), KernelState(things=tuple(sorted(left))))
        if lines:
            step.result.notes.append(f"{scenario}: of {old.label}'s there is still {'; '.join(lines)}")
        return left
