"""How long a run will still take: a rough idea at first, corrected by every step that is finished. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.experiment.matrix import Step
    from proxybench.model import Cell

# First guesses in seconds, from three VMs side by side on two processors. Only their proportions matter once a few
# steps are finished: a fixed part (start, waits for minSyncPeriod, connections), and what grows with each Service and
# each endpoint.
_FIXED = 25.0
_PER_SERVICE_USUALLY = 0.005
_PER_SERVICE = {Mode.IPTABLES: 0.0064, Mode.IPVS: 0.003, Mode.USERSPACE: 0.003}
_PER_ENDPOINT = 0.0003


def first_guess(cell: Cell) -> float:
    """Return the seconds that a step in this cell may take, knowing nothing of this machine."""
    endpoints = cell.services * cell.endpoints_per_service
    return _FIXED + cell.services * _PER_SERVICE.get(cell.mode, _PER_SERVICE_USUALLY) + endpoints * _PER_ENDPOINT


class CostModel:
    """Learns from finished steps: the same cell first, then the same mode, then all.

    A cell that was seen costs what it cost on average. Another costs its first guess, times how far the guesses of
    its mode (of all modes, where that one was never seen) were off so far.
    """

    def __init__(self) -> None:
        self._seen: defaultdict[Cell, list[float]] = defaultdict(list)

    def learn(self, cell: Cell, seconds: float) -> None:
        """Take in what a finished step took."""
        self._seen[cell].append(seconds)

    def expect(self, cell: Cell) -> float:
        """Return the seconds that a step in this cell should take."""
        if cell in self._seen:
            return sum(self._seen[cell]) / len(self._seen[cell])
        of_mode = [seen for seen in self._seen if seen.mode is cell.mode]
        return first_guess(cell) * self._correction(of_mode or self._seen)

    def expect_all(self, steps: Iterable[Step]) -> float:
        """Return the seconds that these steps should take together."""
        return sum(self.expect(step.cell) for step in steps)

    def _correction(self, cells: Iterable[Cell]) -> float:
        took = sum(sum(self._seen[cell]) for cell in cells)
        guessed = sum(first_guess(cell) * len(self._seen[cell]) for cell in cells)
        return took / guessed if guessed else 1.0
