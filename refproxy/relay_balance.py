"""Which endpoint gets the next connection: round robin, with ClientIP affinity on top. Pure, time is given.

As kube-proxy 1.20's userspace balancer: affinity counts from a client's last connection, and a client whose endpoint
does not answer is given the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = tuple[str, int]

_SWEEP_AT = 10_000  # clients remembered before the expired ones are dropped


class Balancer:
    """Chooses among the endpoints of one Service port; ``affinity_seconds`` is 0 for none."""

    def __init__(self) -> None:
        self._endpoints: tuple[Address, ...] = ()
        self._affinity_seconds = 0
        self._next = 0
        self._clients: dict[str, tuple[Address, float]] = {}  # the endpoint and when it was last chosen
        self._sweep_at = _SWEEP_AT

    def update(self, endpoints: Sequence[Address], affinity_seconds: int) -> None:
        """Take over endpoints; clients of those that stay keep theirs, and round robin starts again."""
        self._endpoints = tuple(endpoints)
        self._affinity_seconds = affinity_seconds
        self._next = 0
        there = set(self._endpoints) if affinity_seconds else set()
        self._clients = {client: kept for client, kept in self._clients.items() if kept[0] in there}

    @property
    def endpoints(self) -> tuple[Address, ...]:
        """The endpoints as they stand."""
        return self._endpoints

    def choose(self, client: str, now: float, *, forget: bool = False) -> Address | None:
        """Return the endpoint for ``client`` (its address), None without endpoints; ``forget`` ends its affinity."""
        if not self._endpoints:
            return None
        if not self._affinity_seconds:
            return self._round_robin()
        kept = self._clients.get(client)
        if kept is not None and not forget and now - kept[1] < self._affinity_seconds:
            chosen = kept[0]
        else:
            chosen = self._round_robin()
        self._clients[client] = (chosen, now)
        if len(self._clients) >= self._sweep_at:
            self._sweep(now)
        return chosen

    def _round_robin(self) -> Address:
        chosen = self._endpoints[self._next]
        self._next = (self._next + 1) % len(self._endpoints)
        return chosen

    def _sweep(self, now: float) -> None:
        """Drop expired clients; look again only when twice as many as live ones are known."""
        limit = self._affinity_seconds
        self._clients = {client: kept for client, kept in self._clients.items() if now - kept[1] < limit}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._clients))
