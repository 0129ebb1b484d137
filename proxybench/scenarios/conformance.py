"""Whether the Services answer from the right endpoints, before anything is measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from proxybench.errors import MeasurementError
from proxybench.model import Position
from proxybench.scenarios.paths import check, check_request, paths
from proxybench.scenarios.result import Checked

if TYPE_CHECKING:
    from proxybench.scenarios.base import StepContext

CHECK = "VIPs answer from the right endpoints"


@dataclass(frozen=True)
class Conformance:
    """A mode that forwards wrongly is reported, not measured."""

    name: ClassVar = "conformance"
    vital: ClassVar = True

    def run(self, step: StepContext) -> None:
        """Connect a few times to each position. Raises MeasurementError that says what is wrong."""
        where = paths(step.places, (Position.FIRST, Position.MIDDLE, Position.LAST))
        problems = check(step.client.agent.call(check_request(where))).values()
        detail = "; ".join(problems)
        step.result.checks.append(Checked(CHECK, not problems, detail))
        if problems:
            raise MeasurementError(detail)
