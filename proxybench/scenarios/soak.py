"""Mixed churn for a long time: whether memory grows, chains are left over, and rules still say what the API says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from proxybench.kube.base import Kind
from proxybench.model import Metric, Scenario
from proxybench.nodes.requests import Change, Write
from proxybench.scenarios.canary import SERVICES, SLICES
from proxybench.scenarios.event import measure_event, places_watched
from proxybench.scenarios.observe import write
from proxybench.scenarios.quiet import pause, settle
from proxybench.scenarios.workload import Workload
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics
    from proxybench.subjects.inventory import Inventory

SERVICES_CHURNED, ENDPOINTS_CHURNED = 4, 4
_MOST_READINGS = 200  # the slope looks at all pairs of them
_HOUR_NS = 3600 * NS_PER_S
_KIB = 1024


@dataclass(frozen=True)
class Soak:
    """A change every ``pace_s``, for ``duration_s``: endpoints move, Services shrink and grow, come and go."""

    name: ClassVar = str(Scenario.SOAK)
    vital: ClassVar = False

    duration_s: float
    pace_s: float
    interval_ms: int

    def run(self, step: StepContext) -> None:
        """Churn, and record what became of memory, chains and rules."""
        own = Workload(step.population.plan, SERVICES_CHURNED, ENDPOINTS_CHURNED)
        extra = Workload(step.population.plan, protocol="UDP")
        readings: list[tuple[int, int]] = []
        changes = 0

        def act(before: ProxyMetrics) -> None:
            nonlocal changes
            end = step.clock.monotonic_ns() + round(self.duration_s * NS_PER_S)
            while step.clock.monotonic_ns() < end:
                write(step.client, Change(churn(own, extra, changes), ()))
                changes += 1
                readings.extend(_memory(step))
                step.clock.sleep(step.deadline.left(self.pace_s))
            write(step.client, Change(own.put_slices(own.pods()), ()))
            settle(step, before)

        with own.there(step):
            begun = step.proxy.inventory()
            known = _astray(step, begun) if begun and step.cell.profile else frozenset()
            try:
                measure_event(step, Scenario.SOAK, places_watched(step, self.interval_ms), act)
            finally:
                step.api.delete_many(extra.refs)
            pause(step)
            settle(step)
            write(step.client, Change(own.put_slices(own.pods(1)), ()))  # stale chains go with the sync after theirs
            pause(step)
            settle(step)
            self._record(step, begun, step.proxy.inventory(), known)
        step.recorder.add(Metric.SOAK_CHANGES, Scenario.SOAK, changes)
        if (growth := slope(readings[len(readings) // 2 :])) is not None:
            step.recorder.add(Metric.SOAK_MEMORY_SLOPE, Scenario.SOAK, growth)

    def _record(self, step: StepContext, begun: Inventory | None, now: Inventory | None, known: frozenset[str]) -> None:
        """Record how many chains more there are than before, and for how many addresses rules and API disagree.

        ``known`` are those that did before: a profile's external addresses, and Services without endpoints.
        """
        if begun is None or now is None:
            step.result.notes.append(f"{self.name}: what {step.cell.subject.label} has in the kernel is not known")
            return
        step.recorder.add(Metric.SOAK_STALE, Scenario.SOAK, now.chains - begun.chains)
        astray = _astray(step, now) ^ known
        step.recorder.add(Metric.SOAK_DRIFT, Scenario.SOAK, len(astray))
        if astray:
            step.result.notes.append(f"{self.name}: rules and API disagree about {', '.join(sorted(astray)[:5])}")


def _astray(step: StepContext, inventory: Inventory) -> frozenset[str]:
    """Return the addresses that have rules and no Service, or a Service and no rules."""
    wanted = {one["spec"].get("clusterIP", "") for one in step.api.list(Kind.SERVICE)} - {"None", ""}
    return inventory.vips ^ wanted


def churn(own: Workload, extra: Workload, turn: int) -> tuple[Write, ...]:
    """Return the writes of a turn; after each fourth, all is as before but for which endpoints there are."""
    kind, generation = turn % 4, turn // 4 % 2
    pods = own.pods(1 - generation)
    if kind == 0:  # all endpoints move
        return own.put_slices(pods)
    if kind == 1:  # a Service comes, of another protocol
        return (extra.post_service(), Write("POST", SLICES, extra.endpoint_slice(extra.pods())))
    if kind == 2:  # Services shrink to one endpoint  # noqa: PLR2004 - the third kind
        return own.put_slices(pods[:1])
    name = extra.name()  # the other Service goes
    return (Write("DELETE", f"{SERVICES}/{name}"), Write("DELETE", f"{SLICES}/{name}-000"))


def slope(readings: Sequence[tuple[int, int]]) -> int | None:
    """Return how memory grew, in KiB per hour: the median of all pairs' slopes (Theil 1950, Sen 1968).

    ``readings`` are (ns, bytes); None for fewer than two.
    """
    kept = readings[:: max(1, len(readings) // _MOST_READINGS)]
    slopes = [(later[1] - one[1]) / (later[0] - one[0]) for one, later in combinations(kept, 2) if later[0] > one[0]]
    return round(median(slopes) * _HOUR_NS / _KIB) if slopes else None


def _memory(step: StepContext) -> tuple[tuple[int, int], ...]:
    """Return the time (ns) and the resident memory of the proxy's processes (bytes); nothing without its cgroup."""
    if step.proxy.cgroup is None:
        return ()
    agent, members = step.measured.agent, f"{step.proxy.cgroup}/cgroup.procs"
    pids = (agent.read([members])[members] or "").split()
    statuses = agent.read([f"/proc/{pid}/status" for pid in pids]).values()
    return ((step.clock.monotonic_ns(), sum(resident(status or "") for status in statuses)),)


def resident(status: str) -> int:
    """Return VmRSS of a /proc/PID/status in bytes; 0 for a process that is gone or has no memory of its own."""
    words = next((line.split() for line in status.splitlines() if line.startswith("VmRSS:")), ["", "0"])
    return int(words[1]) * _KIB
