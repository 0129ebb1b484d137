"""The control loop's figures under kube-proxy's names, in the Prometheus text format.

Written here instead of with prometheus_client: a cold import of that took 228 ms natively, and a process has to pay it
before its first sync; these few lines take none. The orchestrator reads the result with prometheus_client's own
parser, and so do the tests.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from refproxy.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
"""Seconds; kube-proxy's ExponentialBuckets(0.001, 2, 15): the last is 16.384 s."""

PROGRAMMING_BUCKETS = (
    0.25,
    0.5,
    *(float(second) for second in range(1, 60)),
    *(float(second) for second in range(60, 120, 5)),
    *(float(second) for second in range(120, 301, 30)),
)
"""Seconds; kube-proxy's buckets of network programming."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of observations up to each bound, their sum (seconds) and number."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value; a bucket holds what is at most its bound."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def lines(self, name: str) -> list[str]:
        """Return the samples of the text format, buckets cumulative."""
        total = 0
        lines = []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{"+Inf" if bound is None else _number(bound)}"}} {total}')
        return [*lines, f"{name}_sum {_number(self.sum)}", f"{name}_count {total}"]


class LoopMetrics:
    """All figures of one control loop. Written by its thread, read by the one that serves ``/metrics``."""

    def __init__(self) -> None:
        self.sync_duration = Histogram(SYNC_BUCKETS)
        self.programming = Histogram(PROGRAMMING_BUCKETS)
        self.last_sync_utc_s = 0.0
        self.last_queued_utc_s = 0.0
        self.service_changes_total = 0
        self.service_changes_pending = 0
        self.endpoint_changes_total = 0
        self.endpoint_changes_pending = 0
        self.syncs_total = 0
        self.sync_failures_total = 0
        self.build_seconds = 0.0
        self.tool_seconds = 0.0
        self.kernel_seconds = 0.0
        self.wait_seconds = 0.0
        self.relayed_ns: Callable[[], int | None] = lambda: None

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        lines: list[str] = []
        for name, words, histogram in (
            ("kubeproxy_sync_proxy_rules_duration_seconds", "Duration of a sync.", self.sync_duration),
            (
                "kubeproxy_network_programming_duration_seconds",
                "From the change of an endpoint until its rules were in the kernel.",
                self.programming,
            ),
        ):
            lines += [f"# HELP {name} {words}", f"# TYPE {name} histogram", *histogram.lines(name)]
        for kind, name, words, value in (*self._plain(), *self._relay()):
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}", f"{name} {_number(value)}"]
        return ("\n".join(lines) + "\n").encode()

    def _relay(self) -> tuple[tuple[str, str, str, float], ...]:
        relayed = self.relayed_ns()
        if relayed is None:
            return ()
        name, words = "proxybench_relay_cpu_seconds_total", "CPU time of relaying connections."
        return (("counter", name, words, relayed / NS_PER_S),)

    def _plain(self) -> tuple[tuple[str, str, str, float], ...]:
        rules, own = "kubeproxy_sync_proxy_rules", "proxybench_sync"
        return (
            ("gauge", f"{rules}_last_timestamp_seconds", "UTC of the last sync.", self.last_sync_utc_s),
            (
                "gauge",
                f"{rules}_last_queued_timestamp_seconds",
                "UTC of the last request for a sync.",
                self.last_queued_utc_s,
            ),
            (
                "gauge",
                f"{rules}_endpoint_changes_pending",
                "Services whose endpoints wait for a sync.",
                self.endpoint_changes_pending,
            ),
            (
                "counter",
                f"{rules}_endpoint_changes_total",
                "Changes of endpoints.",
                self.endpoint_changes_total,
            ),
            (
                "gauge",
                f"{rules}_service_changes_pending",
                "Services that wait for a sync.",
                self.service_changes_pending,
            ),
            ("counter", f"{rules}_service_changes_total", "Changes of Services.", self.service_changes_total),
            ("counter", f"{own}_build_seconds_total", "Making rules and requests.", self.build_seconds),
            ("counter", f"{own}_tool_seconds_total", "In programs that were run.", self.tool_seconds),
            ("counter", f"{own}_kernel_seconds_total", "Waiting for the kernel.", self.kernel_seconds),
            ("counter", f"{own}_wait_seconds_total", "Changes waiting for the loop's next turn.", self.wait_seconds),
            ("counter", "proxybench_syncs_total", "Syncs that succeeded.", self.syncs_total),
            ("counter", "proxybench_sync_failures_total", "Syncs that failed.", self.sync_failures_total),
        )


def _number(value: float) -> str:
    """Write a number with all its digits, whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(value)
