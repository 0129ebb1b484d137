"""What is connected to, and what is wrong with the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from proxybench.kube.objects import PORT
from proxybench.model import Origin, Position, ServicePath, Transport
from proxybench.nodes.requests import Connect, Target
from proxybench.scenarios.places import NODE_PORTS, PLAIN
from proxybench.scenarios.recorder import Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.nodes.answers import ConnectFigures, ConnectResult
    from proxybench.scenarios.places import Places

DIRECT = "direct"
_PROBES = 4  # connections per position in the check before measuring


@dataclass(frozen=True)
class Paths:
    """The Services of each path, at each position, with their places, and one endpoint directly.

    All paths begin at one place (``origin``: the client, the node or the pod) and have one transport, so that what is
    beside the rules is one for all of them: the way to a pod of the measured node.
    """

    vips: tuple[tuple[Where, Target], ...]
    direct: Target
    origin: Origin = Origin.CLIENT

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, VIPs first."""
        return (*(target for _, target in self.vips), self.direct)

    @property
    def last(self) -> tuple[tuple[Where, Target], ...]:
        """Of each path the last position."""
        return tuple({where.path: (where, target) for where, target in self.vips}.values())

    @property
    def directly(self) -> tuple[Where, ...]:
        """Where a number of the direct connection belongs: beside each path."""
        return tuple(Where(path) for path in dict.fromkeys(where.path for where, _ in self.vips))

    def without(self, labels: Iterable[str]) -> Paths:
        """Return the same but for some targets."""
        left = tuple((where, target) for where, target in self.vips if target.label not in set(labels))
        return Paths(left, self.direct, self.origin)


def groups(asked: Sequence[ServicePath]) -> tuple[tuple[ServicePath, ...], ...]:
    """Return the paths by where they begin and by transport, in the order of asking."""
    found: dict[tuple[Origin, Transport], list[ServicePath]] = {}
    for path in asked:
        found.setdefault((_begin(path), path.transport), []).append(path)
    return tuple(tuple(members) for members in found.values())


def _begin(path: ServicePath) -> Origin:
    return path.origin if path.origin in {Origin.NODE, Origin.POD} else Origin.CLIENT


def paths(
    places: Places,
    positions: Sequence[Position],
    asked: Sequence[ServicePath] = (PLAIN,),
    nodes: Sequence[str] = (),
) -> Paths:
    """Return the targets for a cell, of the paths of one group.

    ``nodes`` are the addresses of the measured node and of the others, for node ports.
    """
    population = places.population
    udp: Literal["udp"] | None = "udp" if asked[0].transport is Transport.UDP else None
    vips = []
    for path in asked:
        for position in positions:
            place = places.at(position, path)
            endpoints = tuple(pod.address for pod in population.pods(place.index))
            host, port = places.address(place.index, path), PORT
            if path.address in NODE_PORTS:
                host = nodes[1 if path.origin is Origin.OTHER else 0]
                port = population.access(place.index).node_port
            label = str(position) if path == PLAIN else f"{path} {position}"
            vips.append((Where(str(path), position, place.rank), Target(label, host, port, endpoints, udp)))
    last = population.pods(places.at(Position.LAST).index)[0].address
    beside = ServicePath(origin=_begin(asked[0]), transport=asked[0].transport)
    label = str(beside).replace(beside.address, DIRECT)
    return Paths(tuple(vips), Target(label, last, population.plan.backend_port, (last,), udp), beside.origin)


def check_request(where: Paths) -> Connect:
    """Return the few connections that show whether the VIPs answer from the right endpoints."""
    return Connect(where.targets, rounds=1, block=_PROBES, timeout_ms=2000, limit=60)


def check(result: ConnectResult) -> dict[str, str]:
    """Return what is wrong with a mode's forwarding, by target; empty when all answers are right."""
    found = [(label, faults(figures)) for label, figures in result.targets.items()]
    return {label: f"{label}: {', '.join(some)}" for label, some in found if some}


def faults(figures: ConnectFigures) -> list[str]:
    """Return what is wrong with the answers of one target."""
    found = [f"{count} x {name}" for name, count in sorted(figures.errors.items())]
    if figures.timeouts:
        found.append(f"{figures.timeouts} without an answer")
    if figures.wrong:
        found.append(f"{figures.wrong} answered by an endpoint of another Service")
    return found
