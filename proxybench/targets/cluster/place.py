"""Where a run's folder is, for whoever must note in it what is about to be done to a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class RunPlace:
    """A run's folder, as soon as there is one."""

    folder: Path | None = None

    def began(self, folder: Path) -> None:
        """Note it."""
        self.folder = folder


def to_finish(error: UsageError, run: Path | None) -> UsageError:
    """Return what ends a run before all is back, with what finishes that once it is mended."""
    return UsageError(f"{error}; once that is mended, run proxybench restore {run or 'RUN'}")
