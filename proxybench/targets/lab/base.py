"""The seam to the embedded lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.model import LabKind, Mode


@dataclass(frozen=True)
class Ability:
    """Whether a mode can run in a lab kind here; if not, why, and the command that would mend it."""

    kind: LabKind
    mode: Mode
    able: bool
    reason: str = ""
    mend: str = ""
