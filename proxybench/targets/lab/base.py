"""The seam to the embedded lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxybench.model import LabKind, Mode
    from proxybench.nodes.cluster import Cluster


@dataclass(frozen=True)
class Ability:
    """Whether a mode can run in a lab kind here; if not, why, and the command that would mend it."""

    kind: LabKind
    mode: Mode
    able: bool
    reason: str = ""
    mend: str = ""


class Lab(Protocol):
    """A cluster made for one run. After ``up`` nothing knows that it is not a real one."""

    def begin(self) -> None:
        """Start building it without waiting, so that several labs can be built at once. Raises LabError."""
        ...

    def up(self) -> Cluster:
        """Build it and return how to reach it. Raises LabError, with everything already removed."""
        ...

    def down(self) -> None:
        """Remove everything that ``up`` made; may be called twice, and after a failure."""
        ...
