"""What is not worth trying: a subject that was not ready in time is not tried again at this size or a larger one."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.model import Cell, Subject


class Budget:
    """Remembers which cold starts were cut off; shared by all workers of a run."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._late: dict[Subject, Cell] = {}

    def was_late(self, cell: Cell) -> None:
        """Note that the subject was not ready within its limit at this size."""
        with self._lock:
            known = self._late.get(cell.subject)
            if known is None or _size(cell) < _size(known):
                self._late[cell.subject] = cell

    def why_skip(self, cell: Cell) -> str:
        """Return why this cell is not worth trying; empty when it is."""
        with self._lock:
            known = self._late.get(cell.subject)
        if known is None or _size(cell) < _size(known):
            return ""
        return f"skipped: it was not ready in time at {known.services} Services"


def _size(cell: Cell) -> int:
    return cell.services * cell.endpoints_per_service
