"""The matrix of an experiment in the order in which it is walked. Pure.

Repetitions are outermost, so that slow drift of the machine falls on every cell alike. Within one, sizes ascend: the
API's population changes once per size. Within a size the modes follow each other at once, and their order is rotated
from repetition to repetition, so that none always comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import refproxy
from proxybench.model import Cell, Subject

if TYPE_CHECKING:
    from proxybench.experiment.spec import Experiment
    from proxybench.model import Mode


@dataclass(frozen=True, order=True)
class Step:
    """One cell measured once. ``index`` (place in the order) and ``repetition`` count from 1."""

    index: int
    repetition: int
    cell: Cell


@dataclass(frozen=True)
class Estimate:
    """How much there is to do: sizes times modes are ``cells``, measured in ``steps``."""

    sizes: int
    modes: int
    cells: int
    steps: int

    def __str__(self) -> str:
        cells = f"{_count(self.sizes, 'size')} x {_count(self.modes, 'mode')}"
        return f"{_count(self.steps, 'step')} ({cells}, with repetitions)"


def expand(experiment: Experiment) -> tuple[Step, ...]:
    """Return every cell as often as it is to be repeated, in the order of measuring."""
    sizes = _sizes(experiment)
    most = max((experiment.repetitions.of(services) for services, _ in sizes), default=0)
    cells = [
        (repetition, Cell(_subject(experiment, mode), services, endpoints))
        for repetition in range(1, most + 1)
        for services, endpoints in sizes
        if repetition <= experiment.repetitions.of(services)
        for mode in _rotated(experiment.modes, repetition - 1)
    ]
    return tuple(Step(index, repetition, cell) for index, (repetition, cell) in enumerate(cells, start=1))


def estimate(experiment: Experiment) -> Estimate:
    """Return how many steps there are, without the order."""
    sizes, modes = _sizes(experiment), len(experiment.modes)
    steps = sum(experiment.repetitions.of(services) for services, _ in sizes) * modes
    return Estimate(sizes=len(sizes), modes=modes, cells=len(sizes) * modes, steps=steps)


def _sizes(experiment: Experiment) -> tuple[tuple[int, int], ...]:
    """Return (services, endpoints per service), ascending; a size that is named in two ways is one."""
    scale = experiment.scale
    grid = {(services, each) for services in scale.services for each in scale.endpoints_per_service}
    single = {(1, endpoints) for endpoints in scale.one_service_endpoints}
    return tuple(sorted(grid | single))


def _subject(experiment: Experiment, mode: Mode) -> Subject:
    """Return what is measured in a mode: the reference proxier is part of this program, and its version is ours."""
    asked = experiment.proxier
    return Subject(str(asked.kind or "reference"), asked.version or refproxy.__version__, mode)


def _rotated(items: tuple[Mode, ...], places: int) -> tuple[Mode, ...]:
    shift = places % len(items)
    return items[shift:] + items[:shift]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
