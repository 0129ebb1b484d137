"""How long a run will still take: a rough idea at first, corrected by every step that is finished. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from proxybench.experiment.events import EVENTS
from proxybench.experiment.places import ClockChoice, LabChoice
from proxybench.experiment.spec import REPEATED
from proxybench.model import ClockKind, Mode, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.model import Cell

# First guesses in seconds by the wall clock, which whole runs of experiments/ were compared with: what starting takes,
# what grows with each Service and each endpoint, and what each part of a measurement takes beside what the file says.
_START: Final = 5.0
_PER_SERVICE_USUALLY: Final = 0.002
_PER_SERVICE: Final = {Mode.IPTABLES: 0.003, Mode.IPVS: 0.0015, Mode.USERSPACE: 0.0015}
_PER_ENDPOINT: Final = 0.0001
_CHANGE: Final = 1.0
_EVENT: Final = 4.0
_MIGRATION: Final = 15.0
_CONNECTION: Final = 0.003
_LOCUST: Final = 5.0
_REPAIRS: Final = (Scenario.REPAIR_SERVICE, Scenario.REPAIR_ENDPOINTS, Scenario.REPAIR_JUMP, Scenario.REPAIR_TABLE)
_MIGRATIONS: Final = 2
_EMULATED: Final = 4.0
"""How many times as long a step takes in an emulated guest that has a processor to itself."""
_GUESTS: Final = 3


def first_guess(experiment: Experiment, cell: Cell, clock: ClockKind | None = None) -> float:
    """Return the seconds that a step in this cell may take, knowing nothing of this machine.

    ``clock`` is the step's, where the experiment names several.
    """
    endpoints = cell.services * cell.endpoints_per_service
    grows = cell.services * _PER_SERVICE.get(cell.mode, _PER_SERVICE_USUALLY) + endpoints * _PER_ENDPOINT
    load = experiment.load
    loaded = load.duration + _LOCUST if load and load.runs_at(cell.services) else 0.0
    own = experiment.target.cluster is None
    measured = _briefly(experiment) + (_at_length(experiment, cell) if own else 0.0) + loaded
    return (_START + grows + measured) * (_EMULATED if _counts(experiment, clock) else 1.0)


def side_by_side(experiment: Experiment, processors: int, clock: ClockKind | None = None) -> int:
    """Return by how many labs the time of all steps may be divided: never more than there are processors."""
    lab = experiment.target.lab
    return max(1, min(lab.shards or _GUESTS, processors)) if _counts(experiment, clock) else 1


def total(experiment: Experiment, steps: Iterable[Step], processors: int) -> float:
    """Return the seconds that all steps may take together."""
    known: dict[tuple[Cell, ClockKind | None], float] = {}
    seconds = 0.0
    for step in steps:
        which = (step.cell, step.clock)
        if which not in known:
            labs = side_by_side(experiment, processors, step.clock)
            known[which] = first_guess(experiment, step.cell, step.clock) / labs
        seconds += known[which]
    return seconds


def _counts(experiment: Experiment, clock: ClockKind | None) -> bool:
    """Tell whether a step's clock counts instructions, as far as the file says: a VM is taken for an emulated one."""
    lab = experiment.target.lab
    if clock is not None:
        return clock is ClockKind.INSTRUCTIONS
    wall = lab.clock is ClockChoice.WALL or experiment.target.cluster is not None
    return not wall and (lab.kind is LabChoice.VM or lab.clock is ClockChoice.INSTRUCTIONS)


def _briefly(experiment: Experiment) -> float:
    """Return the seconds of what takes a moment for each change and each connection, and of idle watching."""
    measure, seconds = experiment.measure, 0.0
    if sync := measure.sync:
        changes = [name for name in sync.scenarios if name is not Scenario.COLD_START]
        often = sum(sync.times if name in REPEATED else 1 for name in changes)
        seconds += often * (_CHANGE + experiment.proxier.min_sync_period)
    if forwarding := measure.forwarding:
        each = 2 * (forwarding.connections + forwarding.warmup) + forwarding.established
        seconds += each * len(forwarding.positions) * len(forwarding.paths) * _CONNECTION
    return seconds + (measure.cpu.idle if measure.cpu else 0.0)


def _at_length(experiment: Experiment, cell: Cell) -> float:
    """Return the seconds of what needs a proxy of our own: events, migrations and a soak."""
    measure, proxier, seconds = experiment.measure, experiment.proxier, 0.0
    if events := measure.events:
        asked = [name for name in EVENTS if name in events.scenarios]
        repairs = sum(name in _REPAIRS for name in asked)
        seconds += len(asked) * (_EVENT + proxier.min_sync_period)
        seconds += repairs * min(events.timeout, proxier.sync_period)
    if measure.migrate and cell.mode is not measure.migrate.to:
        seconds += _MIGRATIONS * _MIGRATION
    return seconds + (measure.soak.duration if measure.soak else 0.0)


class CostModel:
    """Learns from finished steps: the same cell first, then the same mode, then all.

    A cell that was seen costs what it cost on average. Another costs its first ``guess``, times how far the guesses of
    its mode (of all modes, where that one was never seen) were off so far.
    """

    def __init__(self, guess: Callable[[Cell], float]) -> None:
        self._guess = guess
        self._seen: defaultdict[Cell, list[float]] = defaultdict(list)

    def learn(self, cell: Cell, seconds: float) -> None:
        """Take in what a finished step took."""
        self._seen[cell].append(seconds)

    def expect(self, cell: Cell) -> float:
        """Return the seconds that a step in this cell should take."""
        if cell in self._seen:
            return sum(self._seen[cell]) / len(self._seen[cell])
        of_mode = [seen for seen in self._seen if seen.mode is cell.mode]
        return self._guess(cell) * self._correction(of_mode or self._seen)

    def expect_all(self, steps: Iterable[Step]) -> float:
        """Return the seconds that these steps should take together."""
        return sum(self.expect(step.cell) for step in steps)

    def _correction(self, cells: Iterable[Cell]) -> float:
        took = sum(sum(self._seen[cell]) for cell in cells)
        guessed = sum(self._guess(cell) * len(self._seen[cell]) for cell in cells)
        return took / guessed if guessed else 1.0
