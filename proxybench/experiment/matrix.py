"""The matrix of an experiment in the order in which it is walked. Pure.

Repetitions are outermost, so that slow drift of the machine falls on every cell alike. Within one, sizes ascend: the
API's population changes once per size and family of addresses. Within those the subjects follow each other at once, and
their order is rotated from repetition to repetition, so that none always comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.experiment.requests import requests
from proxybench.model import Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.spec import Experiment
    from proxybench.model import Subject


@dataclass(frozen=True, order=True)
class Step:
    """One cell measured once. ``index`` (place in the order) and ``repetition`` count from 1."""

    index: int
    repetition: int
    cell: Cell


@dataclass(frozen=True)
class Estimate:
    """How much there is to do: sizes times subjects are ``cells``, measured in ``steps``.

    A subject counts once for each family of addresses.
    """

    sizes: int
    subjects: int
    cells: int
    steps: int

    def __str__(self) -> str:
        cells = f"{_count(self.sizes, 'size')} x {_count(self.subjects, 'subject')}"
        return f"{_count(self.steps, 'step')} ({cells}, with repetitions)"


def expand(experiment: Experiment, subjects: Sequence[Subject] | None = None) -> tuple[Step, ...]:
    """Return every cell as often as it is to be repeated, in the order of measuring.

    ``subjects`` are what the experiment's turned out to be (their versions told, some left out); left out, they are as
    the file names them.
    """
    if subjects is None:
        subjects = [request.subject for request in requests(experiment)]
    sizes = _sizes(experiment)
    most = max((experiment.repetitions.of(services) for services, _ in sizes), default=0)
    cells = [
        (repetition, Cell(subject, services, endpoints, family))
        for repetition in range(1, most + 1)
        for services, endpoints in sizes
        if repetition <= experiment.repetitions.of(services)
        for family in experiment.families
        for subject in _rotated(subjects, repetition - 1)
    ]
    return tuple(Step(index, repetition, cell) for index, (repetition, cell) in enumerate(cells, start=1))


def estimate(experiment: Experiment) -> Estimate:
    """Return how many steps there are, without the order."""
    sizes, subjects = _sizes(experiment), len(requests(experiment)) * len(experiment.families)
    steps = sum(experiment.repetitions.of(services) for services, _ in sizes) * subjects
    return Estimate(sizes=len(sizes), subjects=subjects, cells=len(sizes) * subjects, steps=steps)


def _sizes(experiment: Experiment) -> tuple[tuple[int, int], ...]:
    """Return (services, endpoints per service), ascending; a size that is named in two ways is one."""
    scale = experiment.scale
    grid = {(services, each) for services in scale.services for each in scale.endpoints_per_service}
    single = {(1, endpoints) for endpoints in scale.one_service_endpoints}
    return tuple(sorted(grid | single))


def _rotated(items: Sequence[Subject], places: int) -> tuple[Subject, ...]:
    shift = places % len(items) if items else 0
    return (*items[shift:], *items[:shift])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
