"""Which Services are measured: those that stand first, in the middle and last in the order of rules, as it was found.

The kernel walks the rules of iptables in an order that is not that of creation: kube-proxy writes them in the order of
a Go map, another one at each start, where the Service that was made last of 1,000 had rank 633. So positions are read
back after the first sync. Where a mode has no order (IPVS, nftables), or before the start, they are the order of
creation, and no rank is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.model import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.objects import Population


@dataclass(frozen=True)
class Place:
    """A measured Service: its index, and the rank of its rule, from 1 (None: there is no order)."""

    index: int
    rank: int | None = None


@dataclass(frozen=True)
class Places:
    """The ``services`` first Services of a population, in the order of ``ranks`` (by ClusterIP) if there is one.

    All that are chosen have their endpoints on the measured node, so that no path has one hop more than another.
    """

    population: Population
    services: int
    ranks: Mapping[str, int] | None = None

    def at(self, position: Position) -> Place:
        """Return the Service nearest to a position; of two equally near ones the one before it.

        Raises MeasurementError when no rule of these Services was found, ValueError for Position.NONE.
        """
        exact = self.population.measured(self.services, position)
        if self.ranks is None:
            return Place(exact)
        total = len(self.ranks)
        wanted = {Position.FIRST: 1, Position.MIDDLE: total // 2 + 1}.get(position, total)
        return min(self._ordered(), key=lambda place: (abs((place.rank or 0) - wanted), place.rank))

    def spread(self, count: int) -> tuple[Place, ...]:
        """Return up to ``count`` Services spread evenly over all positions, first and last among them, in order."""
        near = self._ordered()
        return tuple(near[number] for number in spread(len(near), min(count, self.services)))

    def _ordered(self) -> list[Place]:
        near = [index for index in range(self.services) if self.population.on_first_node(index)]
        if self.ranks is None:
            return [Place(index) for index in near]
        found = {index: self.ranks.get(self.population.plan.vip(index)) for index in near}
        ranked = [Place(index, rank) for index, rank in found.items() if rank is not None]
        if not ranked:
            raise MeasurementError("none of the measured Services stands in the order of rules")
        return sorted(ranked, key=lambda place: place.rank or 0)


def spread(length: int, count: int) -> tuple[int, ...]:
    """Return up to ``count`` places of a list of ``length``, evenly apart, the first and the last among them."""
    return tuple(sorted({number * (length - 1) // max(1, count - 1) for number in range(count)}))
