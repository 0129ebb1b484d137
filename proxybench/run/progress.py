"""The seam through which a run tells how far it is; the command line draws it, tests write it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step


class Progress(Protocol):
    """Told what happens as it happens. No method raises or waits; all may be called from any thread."""

    def stage(self, name: str) -> None:
        """Tell what is being done outside of steps: "build the lab", "write the report"."""
        ...

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        """Tell which steps will be taken, and how many at once, before the first; by each clock anew."""
        ...

    def step_started(self, step: Step) -> None:
        """Tell that a step begins; others may be under way."""
        ...

    def step_activity(self, step: Step, text: str) -> None:
        """Tell what a step is doing: "cold start", "connecting to the last Service"."""
        ...

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Tell that a step ended after so many seconds; ``problem`` says why it could not be measured."""
        ...

    def note(self, text: str) -> None:
        """Tell something that should stay readable: one line."""
        ...

    def close(self) -> None:
        """Stop drawing and leave the terminal as it was; may be called twice."""
        ...
