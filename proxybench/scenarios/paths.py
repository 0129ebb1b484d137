"""What is connected to, and what is wrong with the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.kube.objects import PORT
from proxybench.model import Position
from proxybench.nodes.requests import Connect, Target
from proxybench.scenarios.recorder import cluster_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.nodes.answers import ConnectFigures, ConnectResult
    from proxybench.scenarios.places import Places
    from proxybench.scenarios.recorder import Where

DIRECT = "direct"
_PROBES = 4  # connections per position in the check before measuring


@dataclass(frozen=True)
class Paths:
    """The VIP at each position with its place, and one of the last one's endpoints directly."""

    vips: tuple[tuple[Where, Target], ...]
    direct: Target

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, VIPs first."""
        return (*(target for _, target in self.vips), self.direct)


def paths(places: Places, positions: Sequence[Position]) -> Paths:
    """Return the targets for a cell."""
    population = places.population
    vips = []
    for position in positions:
        place = places.at(position)
        endpoints = tuple(pod.address for pod in population.pods(place.index))
        target = Target(str(position), population.plan.vip(place.index), PORT, endpoints)
        vips.append((cluster_ip(position, place.rank), target))
    last = population.pods(places.at(Position.LAST).index)[0].address
    return Paths(tuple(vips), Target(DIRECT, last, population.plan.backend_port, (last,)))


def check_request(where: Paths) -> Connect:
    """Return the few connections that show whether the VIPs answer from the right endpoints."""
    return Connect(where.targets, rounds=1, block=_PROBES, timeout_ms=2000, limit=60)


def check(result: ConnectResult) -> tuple[str, ...]:
    """Return what is wrong with a mode's forwarding, one line per target; empty when all answers are right."""
    found = [(label, faults(figures)) for label, figures in result.targets.items()]
    return tuple(f"{label}: {', '.join(some)}" for label, some in found if some)


def faults(figures: ConnectFigures) -> list[str]:
    """Return what is wrong with the answers of one target."""
    found = [f"{count} x {name}" for name, count in sorted(figures.errors.items())]
    if figures.timeouts:
        found.append(f"{figures.timeouts} without an answer")
    if figures.wrong:
        found.append(f"{figures.wrong} answered by an endpoint of another Service")
    return found
