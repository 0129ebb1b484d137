"""A Progress that keeps what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step


class ProgressLog:
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.plans: list[tuple[int, int]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        self.plans.append((len(steps), side_by_side))

    def step_started(self, step: Step) -> None: ...

    def step_activity(self, step: Step, text: str) -> None: ...

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None: ...
