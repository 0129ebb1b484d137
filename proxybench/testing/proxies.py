"""A Service proxy, and a node's kernel, that only note what was asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxybench.clocks import Instant
from proxybench.subjects.driver import ProxyMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.deadline import Deadline
    from proxybench.nodes.kernel.state import Thing
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.driver import SyncRecord
    from proxybench.subjects.inventory import Inventory
    from proxybench.subjects.removals import Part
    from proxybench.units import Clock


@dataclass
class FakeProxy:
    """Implements RunningProxy; each question that changes something is a line of ``asked``: "node1 start".

    ``fails`` holds an exception to raise by the last word of such a line. ``read`` returns the metrics of now. With
    ``no_cpu`` it has no cgroup of its own.
    """

    handle: NodeHandle
    clock: Clock
    asked: list[str]
    read: Callable[[], ProxyMetrics] = lambda: ProxyMetrics(0.5, 1)
    fails: dict[str, Exception] = field(default_factory=dict)
    ranks: Mapping[str, int] | None = None
    port_ranks: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    logged: tuple[SyncRecord, ...] = ()
    written: str = ""
    rendered: Mapping[str, str] = field(default_factory=dict)
    inventories: list[Inventory] = field(default_factory=list)
    removals: Mapping[Part, tuple[str, ...]] = field(default_factory=dict)
    periods: tuple[float, float] | None = None
    no_cpu: str = ""
    _started_ns: int | None = None

    @property
    def cgroup(self) -> str | None:
        """A folder named after the node; None with ``no_cpu``."""
        return None if self.no_cpu else f"/cgroup/{self.handle.name}"

    @property
    def started_at(self) -> Instant:
        """The moment at which ``start`` was called. AssertionError before."""
        if self._started_ns is None:
            raise AssertionError("the proxy was not started")
        return Instant(self._started_ns, self.handle.node.clock)

    def start(self) -> FakeProxy:
        """Note that it was started."""
        self._ask("start")
        self._started_ns = self.clock.monotonic_ns()
        return self

    def wait_ready(self, deadline: Deadline, limit_s: float) -> None:
        """Be ready at once."""
        if deadline.left(limit_s) <= 0:
            raise AssertionError("nothing is ready in no time")
        self._ask("ready")

    def metrics(self) -> ProxyMetrics:
        """Return what ``read`` does."""
        return self.read()

    def rule_ranks(self) -> Mapping[str, int] | None:
        """Return ``ranks``."""
        if "ranks" in self.fails:
            raise self.fails["ranks"]
        return self.ranks

    def node_port_ranks(self) -> Mapping[str, int]:
        """Return ``port_ranks``."""
        return self.port_ranks

    def endpoint_places(self, vip: str) -> Mapping[str, int]:
        """Return the places of a Service in ``chains``."""
        return self.chains.get(vip, {})

    def syncs(self) -> tuple[SyncRecord, ...]:
        """Return ``logged``."""
        return self.logged

    def removal(self, part: Part, vip: str, port: int) -> tuple[str, ...] | None:
        """Return the command that ``removals`` has for a part, with the address behind it."""
        argv = self.removals.get(part)
        return None if argv is None else (*argv, f"{vip}:{port}")

    def inventory(self) -> Inventory | None:
        """Return the next of ``inventories``; None where there are none."""
        return self.inventories.pop(0) if self.inventories else None

    def check(self) -> None:
        """Raise what ``fails`` has for it; nothing is noted, since nothing changes."""
        if "check" in self.fails:
            raise self.fails["check"]

    def stop(self, limit_s: float) -> None:
        """Note that it was stopped."""
        if limit_s <= 0:
            raise AssertionError("nothing stops in no time")
        self._ask("stop")

    def log(self) -> str:
        """Return ``written``, else one line that names the node."""
        return self.written or f"log of {self.handle.name}"

    def files(self) -> Mapping[str, str]:
        """Return ``rendered``."""
        return self.rendered

    def _ask(self, what: str) -> None:
        self.asked.append(f"{self.handle.name} {what}")
        if what in self.fails:
            raise self.fails[what]


@dataclass
class FakeKernels:
    """Implements KernelGuard; each call is a line of ``asked``. ``left`` holds by node what is found left."""

    asked: list[str]
    left: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fails: dict[str, Exception] = field(default_factory=dict)
    things: list[tuple[Thing, ...]] = field(default_factory=list)

    def capture(self, handle: NodeHandle) -> None:
        """Note it."""
        self._ask(handle, "capture")

    def look(self, handle: NodeHandle) -> tuple[Thing, ...]:
        """Return the next of ``things``."""
        self._ask(handle, "look")
        return self.things.pop(0)

    def restore(self, handle: NodeHandle) -> tuple[str, ...]:
        """Return what was left on the node."""
        self._ask(handle, "restore")
        return self.left.get(handle.name, ())

    def _ask(self, handle: NodeHandle, what: str) -> None:
        self.asked.append(f"{handle.name} {what}")
        if what in self.fails:
            raise self.fails[what]
