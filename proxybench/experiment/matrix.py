"""The matrix of an experiment in the order in which it is walked. Pure.

Repetitions are outermost, so that slow drift of the machine falls on every cell alike. Within one, sizes ascend: the
API's population changes once per size and family of addresses. Within those the subjects follow each other at once, and
their order is rotated from repetition to repetition, so that none always comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.experiment.places import ClockChoice
from proxybench.experiment.requests import requests
from proxybench.model import Cell, ClockKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxybench.experiment.spec import Experiment
    from proxybench.model import Subject


@dataclass(frozen=True, order=True)
class Step:
    """One cell measured once. ``index`` (place in the order) and ``repetition`` count from 1.

    ``clock``: by which it is measured, where the experiment names several; None where there is one.
    """

    index: int
    repetition: int
    cell: Cell
    clock: ClockKind | None = None


@dataclass(frozen=True)
class Estimate:
    """How much there is to do: sizes times subjects are ``cells``, measured in ``steps``.

    A subject counts once for each family of addresses.
    """

    sizes: int
    subjects: int
    cells: int
    steps: int
    clocks: int = 1

    def __str__(self) -> str:
        cells = f"{_count(self.sizes, 'size')} x {_count(self.subjects, 'subject')}"
        clocks = f", by {self.clocks} clocks" if self.clocks > 1 else ""
        return f"{_count(self.steps, 'step')} ({cells}, with repetitions{clocks})"


def expand(experiment: Experiment, subjects: Sequence[Subject] | None = None) -> tuple[Step, ...]:
    """Return every cell as often as it is to be repeated, in the order of measuring; each clock after the other.

    ``subjects`` are what the experiment's turned out to be (their versions told, some left out); left out, they are as
    the file names them.
    """
    if subjects is None:
        subjects = [request.subject for request in requests(experiment)]
    return number(part for clock in clocks_of(experiment) for part in walk(experiment, subjects, clock))


def clocks_of(experiment: Experiment) -> tuple[ClockKind | None, ...]:
    """Return the clocks of an experiment that names several, or None alone."""
    clocks = experiment.target.lab.clocks
    return tuple(ClockKind(clock) for clock in clocks) if len(clocks) > 1 else (None,)


def walk(experiment: Experiment, subjects: Sequence[Subject], clock: ClockKind | None) -> Iterator[Step]:
    """Yield the steps by one clock; each has the index 0."""
    sizes = experiment.scale.sizes
    profile = experiment.scale.profile.digest if experiment.scale.profile else ""
    times = {size: _repetitions(experiment, size[0], clock) for size in sizes}
    for repetition in range(1, max(times.values(), default=0) + 1):
        for services, endpoints in sizes:
            if repetition <= times[services, endpoints]:
                for family in experiment.families:
                    for subject in _rotated(subjects, repetition - 1):
                        yield Step(0, repetition, Cell(subject, services, endpoints, family, profile), clock)


def number(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Give each step its place in the order, from 1."""
    return tuple(replace(step, index=index) for index, step in enumerate(steps, start=1))


def estimate(experiment: Experiment) -> Estimate:
    """Return how many steps there are, without the order."""
    sizes, subjects = experiment.scale.sizes, len(requests(experiment)) * len(experiment.families)
    each = [_repetitions(experiment, services, clock) for clock in clocks_of(experiment) for services, _ in sizes]
    steps = sum(each) * subjects
    return Estimate(len(sizes), subjects, len(sizes) * subjects, steps, len(clocks_of(experiment)))


def _repetitions(experiment: Experiment, services: int, clock: ClockKind | None) -> int:
    return experiment.repetitions.of(services, ClockChoice(clock) if clock else None)


def _rotated(items: Sequence[Subject], places: int) -> tuple[Subject, ...]:
    shift = places % len(items) if items else 0
    return (*items[shift:], *items[:shift])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
