"""Words about when a run gives up."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from proxybench.experiment.words import LEFT_OUT, Duration, Words, within

_Cell = Annotated[Duration, AfterValidator(within("1s", "24h"))]


class LimitsSpec(Words):
    """When to give up."""

    cell: _Cell = 300.0
    """The longest that one cell may take in one repetition; it then fails and the others go on."""
    cells: Annotated[dict[str, _Cell], Field(examples=['{"10000": 3m}']), LEFT_OUT] = Field(default_factory=dict)
    """The same for cells with so many Services."""
    run: Annotated[Duration, AfterValidator(within("1s", "168h"))] = 1800.0
    """The longest that the whole run may take."""

    def of(self, services: int) -> float:
        """Return the longest, in seconds, that a cell with so many Services may take."""
        return self.cells.get(str(services), self.cell)
