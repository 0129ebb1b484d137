"""A Progress that shows nothing: what measures a run's own memory says what it has to say at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step


class Silent:
    """Heed the end of each step in ``step_finished``; all else is left out."""

    def stage(self, name: str) -> None:
        """Show nothing."""

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        """Show nothing."""

    def step_started(self, step: Step) -> None:
        """Show nothing."""

    def step_activity(self, step: Step, text: str) -> None:
        """Show nothing."""

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""
