"""What a locust load is to do, as data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from proxybench.errors import UsageError
from proxybench.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True)
class Target:
    """One VIP and port; ``endpoints`` are the addresses that may answer for it (the backend's first word)."""

    address: str
    port: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class LoadPlan:
    """New connections at a set arrival rate.

    Each of ``users`` opens ``rate_per_user`` connections per second for ``duration_s`` seconds, on a fixed time
    grid; the users' grids are shifted evenly against each other, so that at a rate that the system can serve no two
    connections fall together. ``targets`` are taken in turn, in a random order that is always the same. ``timeout_ms``
    bounds one connection with its answer.

    Several clients share a plan: each has as many of the users, and takes every so-manieth place of the one grid.
    """

    targets: tuple[Target, ...]
    rate_per_user: float
    users: int
    duration_s: float
    timeout_ms: int

    def __post_init__(self) -> None:
        """Refuse what cannot be driven. Raises UsageError."""
        if not self.targets or not all(target.endpoints for target in self.targets):
            raise UsageError("a load needs at least one target, each with at least one endpoint")
        if min(self.rate_per_user, self.users, self.duration_s, self.timeout_ms) <= 0:
            raise UsageError("rate_per_user, users, duration_s and timeout_ms of a load must be greater than 0")
        if self.slots_per_user < 1:
            raise UsageError("the load is too short for one connection per user")

    @property
    def period_ns(self) -> int:
        """Time between two intended starts of one user."""
        return round(NS_PER_S / self.rate_per_user)

    @property
    def slots_per_user(self) -> int:
        """Connections that each user is to open."""
        return int(self.duration_s * NS_PER_S) // self.period_ns

    def to_json(self, output: str, place: int = 0, clients: int = 1, offset_ns: int = 0) -> bytes:
        """Return the file that the locustfile reads on the client number ``place`` (from 0), all derived times in it.

        ``output`` is the file on that node that takes the raw records, ``offset_ns`` its clock minus the first
        client's. Raises UsageError when the users cannot be shared out evenly.
        """
        if self.users % clients:
            raise UsageError(f"load.users is {self.users}, which {clients} clients cannot share evenly")
        derived = {
            "output": output,
            "place": place,
            "clients": clients,
            "offset_ns": offset_ns,
            "period_ns": self.period_ns,
            "slots_per_user": self.slots_per_user,
            "duration_ns": int(self.duration_s * NS_PER_S),
            "timeout_ns": self.timeout_ms * NS_PER_MS,
        }
        return json.dumps(dataclasses.asdict(self) | derived).encode()
