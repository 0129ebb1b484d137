"""The lab as a target: which kind it is, by which clock, and how many fit on this machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxybench.interrupts import UndisturbedStack
from proxybench.model import ClockKind, LabKind
from proxybench.targets.base import TargetFacts
from proxybench.targets.claim import claimed
from proxybench.targets.lab.choose import Wish, choose
from proxybench.targets.lab.netns import NetnsLab
from proxybench.targets.lab.topology import DEFAULT, DUAL_STACK, with_clients
from proxybench.targets.lab.vm import VmLab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxybench.experiment.places import LabSpec
    from proxybench.nodes.cluster import Cluster
    from proxybench.targets.base import Needs
    from proxybench.targets.lab.choose import Abilities, Choice, Need
    from proxybench.targets.lab.common import Settings

# A step waits a good part of its time, for periods to pass and for SSH: one guest more than there are processors.
_MOST_GUESTS = 3
_GUEST_BYTES = 3 << 30  # what a guest and its API server may take
_WALL = "lab by the wall clock"


class Lab(Protocol):
    """One cluster made for one run."""

    def begin(self) -> None:
        """Start building it without waiting, so that several can be built at once. Raises LabError."""
        ...

    def up(self) -> Cluster:
        """Build it and return how to reach it. Raises LabError, with everything already removed."""
        ...

    def down(self) -> None:
        """Remove everything that was made; may be called twice, and after a failure."""
        ...


@dataclass(frozen=True)
class Host:
    """How much room this machine has: processors, and bytes of memory that are free."""

    processors: int
    memory: int


def this_host() -> Host:
    """Look at this machine."""
    words = Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()
    return Host(os.cpu_count() or 1, int(words[0]) * 1024)


def make_lab(kind: LabKind, settings: Settings, report: Callable[[str], None]) -> Lab:
    """Return a lab of that kind, not yet up."""
    return NetnsLab(settings, report) if kind is LabKind.NETNS else VmLab(settings, report)


@dataclass(frozen=True)
class LabTarget:
    """Labs of one kind on this machine. ``wanted`` is how many the user asked for, None to leave it to us.

    ``lacks``: modes that were asked for and cannot be had in them, with the reason.
    """

    kind: LabKind
    settings: Settings
    why: str
    wanted: int | None = None
    host: Callable[[], Host] = this_host
    make: Callable[[LabKind, Settings, Callable[[str], None]], Lab] = make_lab
    lacks: Mapping[Need, str] = field(default_factory=dict)

    @property
    def facts(self) -> TargetFacts:
        """What it is."""
        settings = self.settings
        kernel = settings.kernel if self.kind is LabKind.VM else None
        return TargetFacts(str(self.kind), settings.clock, settings.accelerator, self.why, kernel, lacks=self.lacks)

    def capacity(self) -> int:
        """Return how many labs work side by side: as many as are wanted, else as keep this machine busy.

        By the wall clock there is one, always: two would disturb each other. By the instruction clock a busy neighbour
        is no disturbance.
        """
        if self.settings.clock is not ClockKind.INSTRUCTIONS:
            return 1
        if self.wanted:
            return self.wanted
        host = self.host()
        return min(_MOST_GUESTS, host.processors + 1, max(1, host.memory // _GUEST_BYTES))

    @contextmanager
    def open(self, count: int, report: Callable[[str], None]) -> Iterator[tuple[Cluster, ...]]:
        """Build so many labs. What they start dies with the thread that calls this."""
        with UndisturbedStack() as labs:
            if self.settings.clock is ClockKind.WALL and not labs.enter_context(claimed(_WALL)):
                report("another lab on this machine measures by the wall clock: both runs' numbers are worse for it")
            made = [self.make(self.kind, self.settings, report) for _ in range(count)]
            for lab in made:
                labs.callback(lab.down)
                lab.begin()
            yield tuple(lab.up() for lab in made)


def lab_targets(
    spec: LabSpec, needs: Needs, report: Callable[[str], None], machine: Abilities | None = None
) -> tuple[LabTarget, ...]:
    """Return the labs that ``target: {lab: …}`` asks for, one for each clock. Raises LabError with what would help."""
    partial = len(spec.clocks) > 1  # what the one cannot have, the other measures
    wishes = [Wish(spec.kind, clock, spec.kernel, partial=partial) for clock in spec.clocks]
    return tuple(_lab(choose(wish, needs.modes, report, machine), spec, needs) for wish in wishes)


def _lab(choice: Choice, spec: LabSpec, needs: Needs) -> LabTarget:
    topology = with_clients(spec.clients, DUAL_STACK if needs.ipv6 else DEFAULT)
    version = needs.release or choice.settings.kubernetes_version
    settings = replace(choice.settings, topology=topology, kubernetes_version=version)
    return LabTarget(choice.kind, settings, choice.why, spec.shards, lacks=choice.lacks)
