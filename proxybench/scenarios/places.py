"""Which Services are measured: those that stand first, in the middle and last in the order of rules, as it was found.

The kernel walks the rules of iptables in an order that is not that of creation: kube-proxy writes them in the order of
a Go map, another one at each start, where the Service that was made last of 1,000 had rank 633. So positions are read
back after the first sync. Where a mode has no order (IPVS, nftables), or before the start, they are the order of
creation, and no rank is recorded. Node ports have a chain and an order of their own, which a connection comes to when
it has walked all the rules of addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.model import Address, Origin, Position, ServicePath
from proxybench.subjects.driver import rule_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.objects import Population

PLAIN = ServicePath()
"""The way over a ClusterIP, from outside."""
NODE_PORTS = frozenset({Address.NODE_PORT, Address.NODE_PORT_LOCAL})
"""The two ways to address a node."""


@dataclass(frozen=True)
class Place:
    """A measured Service: its index, and the rank of its rule, from 1 (None: there is no order)."""

    index: int
    rank: int | None = None


@dataclass(frozen=True)
class Places:
    """The ``services`` first Services of a population, in the order of ``ranks`` if there is one.

    ``ranks`` are by ``rule_key``, those of node ports among them; ``second_ranks`` are those of the node by which paths
    by another node come, whose order is another. All that are chosen have their endpoints on the
    measured node, so that no path has one hop more than another; for paths to ``far`` pods all have them on another
    node.
    """

    population: Population
    services: int
    ranks: Mapping[str, int] | None = None
    second_ranks: Mapping[str, int] | None = None

    def at(self, position: Position, path: ServicePath = PLAIN) -> Place:
        """Return the Service nearest to a position that has the path; of two equally near ones the one before it.

        Raises MeasurementError when there is none or no rule of these Services was found, ValueError for Position.NONE.
        """
        ranks = self._ranks(path)
        total = self.services if ranks is None else max(ranks.values(), default=0)
        exact = {Position.FIRST: 1, Position.MIDDLE: total // 2 + 1, Position.LAST: total}
        if position not in exact:
            raise ValueError(f"{position} is no position of a rule")
        wanted = exact[position]

        def distance(place: Place) -> tuple[int, int]:
            number = place.index + 1 if place.rank is None else place.rank
            return abs(number - wanted), number

        return min(self._ordered(path), key=distance)

    def spread(self, count: int) -> tuple[Place, ...]:
        """Return up to ``count`` Services spread evenly over all positions, first and last among them, in order."""
        near = self._ordered(PLAIN)
        return tuple(near[number] for number in spread(len(near), min(count, self.services)))

    def address(self, index: int, path: ServicePath) -> str:
        """Return the address of a Service on a path; of node ports, which are any node's, "" stands for it."""
        access = self.population.access(index)
        if path.address is Address.EXTERNAL_IP:
            return access.external_ips[0]
        if path.address is Address.LOAD_BALANCER_IP:
            return access.load_balancer_ips[0]
        return "" if path.address in NODE_PORTS else self.population.plan.vip(index)

    def _ordered(self, path: ServicePath) -> list[Place]:
        population, here = self.population, path.origin is not Origin.FAR
        near = [index for index in range(self.services) if population.on_first_node(index) == here]
        if not all(exposure.has(path.address) for exposure in population.exposures):
            near = [index for index in near if population.exposure(index).has(path.address)]
        if not near:
            raise MeasurementError(f"{path}: none of {self.services} Services is reached so; measure more of them")
        ranks = self._ranks(path)
        if ranks is None:
            return [Place(index) for index in near]
        found = {index: ranks.get(self._rule(index, path)) for index in near}
        ranked = [Place(index, rank) for index, rank in found.items() if rank is not None]
        if not ranked:
            raise MeasurementError("none of the measured Services stands in the order of rules")
        return sorted(ranked, key=lambda place: place.rank or 0)

    def _ranks(self, path: ServicePath) -> Mapping[str, int] | None:
        """Return the order that connections over a path meet, None where there is none."""
        wanted, known = path.address in NODE_PORTS, self.second_ranks if path.origin is Origin.OTHER else self.ranks
        found = {rule: rank for rule, rank in (known or {}).items() if (" " not in rule) == wanted}
        return None if known is None or (wanted and not found) else found

    def _rule(self, index: int, path: ServicePath) -> str:
        address = self.address(index, path)
        return rule_key(address, PORT if address else self.population.access(index).node_port, path.transport)


def spread(length: int, count: int) -> tuple[int, ...]:
    """Return up to ``count`` places of a list of ``length``, evenly apart, the first and the last among them."""
    return tuple(sorted({number * (length - 1) // max(1, count - 1) for number in range(count)}))
