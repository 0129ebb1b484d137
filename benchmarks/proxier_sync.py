"""What a sync of the reference proxier costs in iptables mode, by number of Services (2 endpoints each).

Run as root: ``python benchmarks/proxier_sync.py [N …]``. It works in a network namespace of its own, which vanishes
with it. Times are milliseconds of this machine's monotonic clock, the best of a few runs, so that a busy machine
shows as little as possible:

- ingest: watch events (decoded objects) into the state, and the state's take;
- cold: rules for all Services, none cached, and the join of the input;
- one: the same after one endpoint changed;
- restore: ``iptables-restore`` of the whole input over tables that hold the same;
- full: a sync that trusts nothing: ``iptables-save``, its reading, and the restore.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from refproxy.config import LoopConfig
from refproxy.iptables_plane import IptablesPlane
from refproxy.state import ServiceState
from refproxy.tools import SubprocessRunner, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = (10, 100, 1000, 10_000)
IPTABLES = "/usr/sbin/xtables-legacy-multi"
CONFIG = LoopConfig("iptables", "node", (), "", "", "10.244.0.0/16", 1.0, 30.0, IPTABLES)
INSIDE = "PROXYBENCH_BENCH_INSIDE"


class NoTool:
    """Runs nothing, so that only building is timed."""

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        """Succeed without output."""
        del argv, stdin, timeout
        return ToolResult(0, b"", b"")


def main() -> None:
    if os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        command = ["unshare", "--net", sys.executable, *sys.argv]
        os.execvp(command[0], command)  # noqa: S606 - the same program again, in a namespace of its own
    sizes = [int(text) for text in sys.argv[1:]] or list(SIZES)
    print(f"{'services':>9}{'ingest':>9}{'cold':>9}{'one':>9}{'restore':>9}{'full':>9}  ms")
    for size in sizes:
        print(f"{size:>9}" + "".join(f"{1000 * seconds:>9.1f}" for seconds in measure(size)), flush=True)


def measure(size: int) -> tuple[float, float, float, float, float]:
    """Return the five times in seconds."""
    runs = 3 if size > 1000 else 10  # noqa: PLR2004 - the large ones take their time
    events = [obj for number in range(size) for obj in objects(number, 2)]
    ingest = best(runs, lambda: filled(events))
    state = filled(events)
    cold = best(runs, lambda: IptablesPlane(NoTool(), CONFIG).sync(state.ports, None))
    plane = IptablesPlane(NoTool(), CONFIG)
    plane.sync(state.ports, None)
    addresses = iter(range(3, 200))

    def change() -> None:
        state.apply_slice("MODIFIED", objects(size // 2, next(addresses))[1])
        plane.sync(state.ports, state.take().keys)

    one = best(runs, change)
    real = IptablesPlane(SubprocessRunner(), CONFIG)
    full = best(runs, lambda: real.sync(state.ports, None))
    restore = best(runs, lambda: real.sync(state.ports, frozenset()))
    real.cleanup()
    return ingest, cold, one, restore, full


def filled(events: list[dict[str, Any]]) -> ServiceState:
    state = ServiceState("node")
    for obj in events:
        (state.apply_service if obj["kind"] == "Service" else state.apply_slice)("ADDED", obj)
    state.take()
    return state


def best(runs: int, work: Callable[[], object]) -> float:
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def objects(number: int, endpoints: int) -> list[dict[str, Any]]:
    """Return a Service and its EndpointSlice."""
    name, high, low = f"svc-{number:05d}", number // 250, number % 250 + 1
    labels = {"kubernetes.io/service-name": name}
    return [
        {
            "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {"clusterIP": f"10.96.{high}.{low}", "ports": [{"name": "http", "port": 80}]},
        },
        {
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": "bench", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.{244 + index % 4}.{high}.{low}"]} for index in range(endpoints)],
            "ports": [{"name": "http", "port": 8080 + endpoints, "protocol": "TCP"}],
        },
    ]


if __name__ == "__main__":
    main()
