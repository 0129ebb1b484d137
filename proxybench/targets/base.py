"""The seam to where is measured: a target opens a cluster; nothing outside ``targets.lab`` knows that one is a lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from proxybench.model import ClockKind
    from proxybench.nodes.cluster import Cluster


class Target(Protocol):
    """Where is measured."""

    @property
    def clock(self) -> ClockKind:
        """The kind of clock that its nodes' times come from."""
        ...

    @property
    def why(self) -> str:
        """A sentence for the manifest and the report: why this target and clock."""
        ...

    def capacity(self, wanted: int | None) -> int:
        """Return how many clusters can be had side by side without disturbing each other's numbers."""
        ...

    def open(self, report: Callable[[str], None]) -> AbstractContextManager[Cluster]:
        """Make or reach one cluster; leaving the context gives back everything. Raises LabError or HostError."""
        ...
