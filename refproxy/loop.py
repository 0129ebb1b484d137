"""The control loop: changes of objects in, syncs of the data plane out, no more often than allowed.

Watch threads hand in changes under a lock; one thread runs the syncs. kube-proxy's rules hold: nothing is
programmed before both lists came; the first sync then runs at once; later ones at bounded frequency; a sync that
failed is tried again; what the kernel holds is checked against everything once per sync period.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from refproxy.errors import ProxierError
from refproxy.frequency import BoundedFrequency
from refproxy.plane import SyncSplit
from refproxy.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from refproxy.config import LoopConfig
    from refproxy.metrics import LoopMetrics
    from refproxy.plane import Plane
    from refproxy.state import Changes, ServiceState
    from refproxy.units import Clock

log = logging.getLogger(__name__)

Object = dict[str, Any]


class _Outcome(NamedTuple):
    """One sync, for the log."""

    changes: Changes
    split: SyncSplit
    elapsed_ns: int
    full: bool


class ControlLoop:
    """Keeps one data plane equal to the objects of the API.

    ``report`` takes one line of JSON for each sync. The ``*_listed`` and ``*_event`` methods may be called from any
    thread, all others only from the one that runs the loop, except ``stop`` and ``healthy``.
    """

    def __init__(
        self,
        plane: Plane,
        state: ServiceState,
        config: LoopConfig,
        clock: Clock,
        metrics: LoopMetrics,
        report: Callable[[str], None],
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._plane = plane
        self._state = state
        self._clock = clock
        self._cpu_ns = cpu_ns
        self._metrics = metrics
        self._report = report
        self._period_ns = int(config.sync_period * NS_PER_S)
        self._frequency = BoundedFrequency(
            int(config.min_sync_period * NS_PER_S), self._period_ns, clock.monotonic_ns()
        )
        self._lock = threading.Lock()
        self._wake: SimpleQueue[None] = SimpleQueue()  # its put() may be called from a signal handler
        self._stopping = False
        self._requested = False
        self._requested_at = 0
        self._last_end = 0
        self._listed: set[str] = set()
        self._last_full: int | None = None
        self._last_good: int | None = None
        self._failed = False

    def services_listed(self, items: Sequence[Object]) -> None:
        """Take in the whole list of Services."""
        self._take_in("services", lambda: self._state.replace_services(items))

    def slices_listed(self, items: Sequence[Object]) -> None:
        """Take in the whole list of EndpointSlices."""
        self._take_in("slices", lambda: self._state.replace_slices(items))

    def service_event(self, event: str, obj: Object) -> None:
        """Take in one watch event of a Service."""
        self._take_in("", lambda: self._state.apply_service(event, obj))

    def slice_event(self, event: str, obj: Object) -> None:
        """Take in one watch event of an EndpointSlice."""
        self._take_in("", lambda: self._state.apply_slice(event, obj))

    def healthy(self) -> bool:
        """Tell whether the loop runs and its last sync succeeded, at most two sync periods ago."""
        good = self._last_good
        if self._stopping or self._failed or good is None:
            return False
        return self._clock.monotonic_ns() - good <= 2 * self._period_ns

    def stop(self) -> None:
        """Make ``run`` return after the sync at hand; may be called from a signal handler."""
        self._stopping = True
        self._wake.put(None)

    def run(self) -> None:
        """Sync until ``stop`` is called."""
        try:
            while not self._stopping:
                wait = self.step()
                with suppress(Empty):
                    self._wake.get(timeout=wait)
        finally:
            self._stopping = True  # nobody syncs any more, whatever the reason

    def step(self) -> float:
        """Run a sync if one is due; return the seconds until the next one may be."""
        if len(self._listed) < 2:  # noqa: PLR2004 - Services and EndpointSlices
            return self._period_ns / NS_PER_S
        now = self._clock.monotonic_ns()
        if self._requested:
            self._frequency.request(now)
        # The first sync waits for nothing and costs no token, as in kube-proxy.
        if (self._last_full is None and not self._failed) or self._frequency.due(now):
            self._sync(full=self._must_be_full(now))
            now = self._last_end = self._clock.monotonic_ns()
            self._frequency.ended(now)
            if self._failed:
                self._frequency.retry_after(now, self._period_ns)
            if self._requested:
                self._frequency.request(now)
        return max(0, self._frequency.next - now) / NS_PER_S

    def _take_in(self, listed: str, apply: Callable[[], bool]) -> None:
        """Change the state under the lock, and wake the loop unless it knows already."""
        with self._lock:
            changed = apply()
            for note in self._state.take_notes():
                self._report(json.dumps({"event": "skipped", "error": note}))
            first = bool(listed) and listed not in self._listed
            if first:
                self._listed.add(listed)
            self._count_pending()
            if not (changed or first):
                return
            # Like kube-proxy, a further request while one waits runs at once if a token has come meanwhile.
            now = self._clock.monotonic_ns()
            news = first or not self._requested or self._frequency.allows(now)
            if not self._requested:
                self._requested, self._requested_at = True, now
        self._metrics.last_queued_utc_s = self._clock.utc_ns() / NS_PER_S
        if news:
            self._wake.put(None)

    def _count_pending(self) -> None:
        metrics, state = self._metrics, self._state
        metrics.service_changes_pending, metrics.endpoint_changes_pending = state.pending
        metrics.service_changes_total = state.service_changes_total
        metrics.endpoint_changes_total = state.endpoint_changes_total

    def _must_be_full(self, now: int) -> bool:
        return self._failed or self._last_full is None or now - self._last_full >= self._period_ns

    def _sync(self, *, full: bool) -> None:
        start, begun = self._clock.monotonic_ns(), self._cpu_ns()
        try:
            with self._lock:
                # The first sync waits for the lists, and a periodic one for nothing.
                waited = start - max(self._requested_at, self._last_end) if self._requested and self._last_end else 0
                self._requested = False
                changes = self._state.take()
                self._count_pending()
            taking = self._cpu_ns() - begun
            split = self._plane.sync(self._state.ports, None if full else changes.keys)
        except ProxierError as error:
            self._note_failure(start, str(error))
            return
        except Exception as error:
            # Not foreseen, so perhaps a mistake of ours; but a loop that ends leaves the node with rules that grow old.
            log.exception("the sync failed unexpectedly")
            self._note_failure(start, f"unexpected {type(error).__name__}: {error}")
            return
        end = self._clock.monotonic_ns()
        self._metrics.wait_seconds += waited / NS_PER_S
        self._failed = False
        self._last_good = end
        if full:
            self._last_full = start
        whole = SyncSplit(split.build_ns + taking, split.tool_ns, split.kernel_ns)
        self._note(_Outcome(changes, whole, end - start, full))

    def _note_failure(self, start: int, words: str) -> None:
        self._failed = True
        self._metrics.sync_failures_total += 1
        elapsed = self._clock.monotonic_ns() - start
        self._report(json.dumps({"event": "sync-failed", "elapsed_ns": elapsed, "error": words}))

    def _note(self, outcome: _Outcome) -> None:
        """Write one good sync into the metrics and the log."""
        metrics, split = self._metrics, outcome.split
        utc = self._clock.utc_ns()
        metrics.syncs_total += 1
        metrics.sync_duration.observe(outcome.elapsed_ns / NS_PER_S)
        for trigger in outcome.changes.triggers:
            metrics.programming.observe((utc - trigger) / NS_PER_S)
        metrics.last_sync_utc_s = utc / NS_PER_S
        metrics.build_seconds += split.build_ns / NS_PER_S
        metrics.tool_seconds += split.tool_ns / NS_PER_S
        metrics.kernel_seconds += split.kernel_ns / NS_PER_S
        self._report(json.dumps(self._line(outcome)))

    def _line(self, outcome: _Outcome) -> Mapping[str, object]:
        ports = self._state.ports
        return {
            "event": "sync",
            "number": self._metrics.syncs_total,
            "full": outcome.full,
            "elapsed_ns": outcome.elapsed_ns,
            "build_ns": outcome.split.build_ns,
            "tool_ns": outcome.split.tool_ns,
            "kernel_ns": outcome.split.kernel_ns,
            "service_ports": len(ports),
            "endpoints": self._state.endpoints,
            "changed": len(outcome.changes.keys),
        }
