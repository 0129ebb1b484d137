"""Addresses in a cluster that others use: endpoints on given hosts, and ClusterIPs that nobody has. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from proxybench.errors import RunError
from proxybench.kube.objects import AddressPlan, Pod

_FIRST_NUMBERED = 256
_FIRST_SPARE = 16


@dataclass(frozen=True)
class HostAddressPool(AddressPlan):
    """Endpoints are ``hosts`` (node, IPv4 address), by turns: many Services share one, which is harmless for rules.

    All count as being in one place, as hosts of one network do. ``taken`` are ClusterIPs of others. Like the plan that
    it is, it wants ``pod_ranges`` with one entry. Raises ValueError for fewer than two addresses.
    """

    hosts: tuple[tuple[str, str], ...] = ()
    taken: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len({address for _, address in self.hosts}) < 2:  # noqa: PLR2004 - a change is from one to another
            raise ValueError("at least two addresses of backends are needed: an endpoint changes from one to another")

    @cached_property
    def _numbered(self) -> tuple[str, ...]:
        return self._free(_FIRST_NUMBERED, self._services.num_addresses - 1)

    @cached_property
    def _spares(self) -> tuple[str, ...]:
        return self._free(_FIRST_SPARE, min(_FIRST_NUMBERED, self._services.num_addresses - 1))

    def _free(self, first: int, end: int) -> tuple[str, ...]:
        most = min(end, first + 100_000 + len(self.taken))
        addresses = (str(self._services[offset]) for offset in range(first, most))
        return tuple(address for address in addresses if address not in self.taken)

    def vip(self, index: int) -> str:
        """Return the virtual address of Service ``index``, one that is free. Raises RunError when none is left."""
        if not 0 <= index < len(self._numbered):
            free = f"{len(self._numbered)} are free from the {_FIRST_NUMBERED + 1}th on"
            raise RunError(f"Service {index + 1} does not fit into {self.service_cidr}, of whose addresses {free}")
        return self._numbered[index]

    def canary_vip(self, number: int = 0) -> str:
        """Return the virtual address of a Service outside the numbered ones. Raises RunError when none is left."""
        if not 0 <= number < len(self._spares):
            raise RunError(f"{self.service_cidr} has no free address among its first {_FIRST_NUMBERED}")
        return self._spares[number]

    def pod(self, number: int) -> Pod:
        """Return endpoint ``number`` of the whole population."""
        node, address = self.hosts[number % len(self.hosts)]
        return Pod(address, node)

    def spare(self, number: int) -> Pod:
        """Return an endpoint for a canary; those of two even numbers that follow each other differ."""
        return self.pod(number // 2)
