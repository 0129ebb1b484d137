"""What a run returns to whoever started it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class RunOutcome:
    """A run that came to its end.

    ``folder`` holds the results. ``problems`` says in one line each which points could not be measured; empty for a
    complete run. ``records`` are those of summary.json.
    """

    folder: Path
    problems: tuple[str, ...]
    records: tuple[Mapping[str, object], ...]
