"""Draws the progress of a run: live on a terminal, as plain lines anywhere else."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from proxybench.cli.remaining import CostModel, first_guess
from proxybench.cli.terminal import errors_console, human_seconds, tell
from proxybench.units import NS_PER_S, Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType
    from rich.text import Text

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.model import Cell
    from proxybench.run.progress import Progress


def open_progress(experiment: Experiment) -> Progress:
    """Return the progress of an experiment that fits standard error."""
    console, tally = errors_console(), Tally(SystemClock(), experiment, os.cpu_count() or 1)
    return LiveProgress(console, tally) if console.is_terminal else PlainProgress(tell, tally)


def describe(cell: Cell) -> str:
    """Name a cell for people: "kube-proxy v1.37.2 ipvs, 1000 Services x 2 endpoints"."""
    services = "1 Service" if cell.services == 1 else f"{cell.services} Services"
    endpoints = "1 endpoint" if cell.endpoints_per_service == 1 else f"{cell.endpoints_per_service} endpoints"
    return f"{cell.subject.label}, {services} x {endpoints}"


class Tally:
    """What is done, what is going on and what is left; seconds by the given clock, on so many processors."""

    def __init__(self, clock: Clock, experiment: Experiment, processors: int) -> None:
        self._clock = clock
        self._experiment = experiment
        self._processors = processors
        self._start = clock.monotonic_ns()
        self._left: list[Step] = []
        self._running: dict[Step, int] = {}
        self._numbers: dict[Step, int] = {}  # in the order in which they began
        self.cost = CostModel(partial(first_guess, experiment))
        self.total = 0
        self._most = 1  # steps that are under way at once

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        """Take in the steps to come by a clock, and how many are taken at once."""
        self._left = list(steps)
        self.total, self._most = len(self._numbers) + len(steps), side_by_side
        crowded = max(1.0, side_by_side / self._processors)  # more labs than processors: none is done the sooner
        clock = steps[0].clock if steps else None
        # Anew: another clock's steps take another time.
        self.cost = CostModel(lambda cell: crowded * first_guess(self._experiment, cell, clock))

    @property
    def current(self) -> tuple[Step, ...]:
        """The steps under way, in the order in which they began."""
        return tuple(self._running)

    @property
    def waiting(self) -> int:
        """How many steps have not begun."""
        return len(self._left)

    def start(self, step: Step) -> None:
        """Take in that a step begins."""
        self._running[step] = self._clock.monotonic_ns()
        self._numbers[step] = len(self._numbers) + 1
        self._left = [left for left in self._left if left != step]

    def finish(self, step: Step, seconds: float, problem: str | None) -> None:
        """Take in that a step ended; one that failed teaches nothing about what the others cost."""
        self._running.pop(step, None)
        if problem is None:
            self.cost.learn(step.cell, seconds)

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return (self._clock.monotonic_ns() - self._start) / NS_PER_S

    def step_elapsed(self, step: Step) -> float:
        """Return the seconds since a step under way began."""
        return (self._clock.monotonic_ns() - self._running[step]) / NS_PER_S

    def remaining(self) -> float:
        """Return the seconds that all steps should still take; one that is late counts as ending now.

        Steps that are taken side by side share the time.
        """
        rest = sum(max(0.0, self.cost.expect(step.cell) - self.step_elapsed(step)) for step in self._running)
        return (rest + self.cost.expect_all(self._left)) / self._most

    def times(self) -> str:
        """Return elapsed and remaining time in words."""
        left = f", about {human_seconds(self.remaining())} left" if self.total else ""
        return f"{human_seconds(self.elapsed())} elapsed{left}"

    def place(self, step: Step) -> str:
        """Return which step of how many it is, in the order in which they began, and its cell."""
        return f"[{self._numbers[step]}/{self.total}] {describe(step.cell)}, repetition {step.repetition}"


class PlainProgress:
    """One line per event, for logs; what a step does inside is left out."""

    def __init__(self, write: Callable[[str], object], tally: Tally) -> None:
        self._write = write
        self._tally = tally

    def stage(self, name: str) -> None:
        """Write the stage."""
        self._write(f"{name} ({self._tally.times()})")

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        """Write how much there is to do."""
        self._tally.plan(steps, side_by_side)
        self._write(_planned(self._tally))

    def step_started(self, step: Step) -> None:
        """Write which step begins."""
        self._tally.start(step)
        self._write(f"{self._tally.place(step)} ({self._tally.times()})")

    def step_activity(self, step: Step, text: str) -> None:
        """Write nothing: a log is to have one line per step."""

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Write how the step ended."""
        self._tally.finish(step, seconds, problem)
        self._write(f"{_ended(self._tally, step, seconds, problem)} ({self._tally.times()})")

    def note(self, text: str) -> None:
        """Write it."""
        self._write(text)

    def close(self) -> None:
        """Nothing is being drawn."""


class _Live(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


class LiveProgress:
    """A bar, the current cell and the times, drawn again several times a second below what stays readable."""

    def __init__(self, console: Console, tally: Tally, *, refresh: bool = True) -> None:
        from rich.live import Live  # noqa: PLC0415 - rich takes longer to import than most verbs to run

        self._console = console
        self._tally = tally
        self._stage = ""
        self._activity: dict[Step, str] = {}
        self._live: _Live = Live(
            get_renderable=self.draw, console=console, refresh_per_second=4, auto_refresh=refresh, transient=True
        )
        self._live.start()

    def stage(self, name: str) -> None:
        """Show the stage."""
        self._stage = name

    def plan(self, steps: Sequence[Step], side_by_side: int) -> None:
        """Show how much there is to do."""
        self._tally.plan(steps, side_by_side)
        self._stage = "between steps"
        self.note(_planned(self._tally))

    def step_started(self, step: Step) -> None:
        """Show the step."""
        self._tally.start(step)

    def step_activity(self, step: Step, text: str) -> None:
        """Show what it does."""
        self._activity[step] = text

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Leave a line about it."""
        from rich.text import Text  # noqa: PLC0415 - as above

        self._tally.finish(step, seconds, problem)
        self._activity.pop(step, None)
        line = _ended(self._tally, step, seconds, problem)
        # The text has the style, not print(): that would also colour what is drawn below.
        self._leave(Text(line, style="red" if problem else "green"))

    def note(self, text: str) -> None:
        """Leave a line."""
        self._leave(text)

    def close(self) -> None:
        """Remove the bar."""
        with suppress(OSError):  # as below
            self._live.stop()

    def _leave(self, line: str | Text) -> None:
        with suppress(OSError):  # a terminal that is gone is no reason to end what is being measured
            self._console.print(line, markup=False)

    def draw(self) -> RenderableType:
        """Return what is shown now."""
        from rich.console import Group  # noqa: PLC0415 - as above
        from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        tally = self._tally
        lines = [self._doing(step) for step in tally.current] or [self._stage]
        elapsed, remaining = tally.elapsed(), tally.remaining()
        # The share of time, not of steps: ten big steps at the end are most of the work.
        whole = elapsed + remaining if tally.total else 0.0
        bar = ProgressBar(total=whole or None, completed=elapsed, width=40)
        line = Table.grid(padding=(0, 1))
        line.add_row(bar, Text(tally.times(), style="dim"))
        return Group(*(Text(doing, overflow="ellipsis", no_wrap=True) for doing in lines), line)

    def _doing(self, step: Step) -> str:
        activity = f": {self._activity[step]}" if step in self._activity else ""
        return f"{self._tally.place(step)}{activity} ({human_seconds(self._tally.step_elapsed(step))})"


def _planned(tally: Tally) -> str:
    steps = "1 step" if tally.waiting == 1 else f"{tally.waiting} steps"
    return f"{steps} to do, about {human_seconds(tally.remaining())} by a rough first guess"


def _ended(tally: Tally, step: Step, seconds: float, problem: str | None) -> str:
    how = f"failed after {human_seconds(seconds)}: {problem}" if problem else f"done in {human_seconds(seconds)}"
    return f"{tally.place(step)}: {how}"
