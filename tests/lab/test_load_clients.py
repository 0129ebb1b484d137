"""A load by several clients: locust's master and workers in namespaces, whose ways to each other lead over SSH."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from proxybench.clocks import Clocks
from proxybench.errors import MeasurementError
from proxybench.hosts.fleet import Fleet
from proxybench.load.clients import LoadClients, start_load
from proxybench.load.plan import LoadPlan, Target
from proxybench.model import ClockKind
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.targets.lab.topology import with_clients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.hosts.base import Executor

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

PODS = tuple(Target(address, 8080, (address,)) for address in ("10.244.1.0", "10.244.129.0"))
# The newest process of the warm program in the node's own network namespace is the load itself.
KILL = """\
own=$(readlink /proc/self/ns/net)
for pid in $(pgrep -f load/[w]arm.py); do
    [ "$(readlink /proc/$pid/ns/net)" = "$own" ] && newest=$pid
done
kill -9 "$newest"
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Fleet, LoadClients]]:
    lab = NetnsLab(Settings(ClockKind.WALL, "none", topology=with_clients(2)))
    try:
        cluster = lab.up()
        assert [node.name for node in cluster.clients] == ["client", "client2"]
        with Fleet.connect(cluster.targets) as connected:
            load = start_load([(node, connected[node.name]) for node in cluster.clients])
            try:
                load.ready(60)
                yield connected, load
            finally:
                load.close()
    finally:
        lab.down()


def listening(executor: Executor) -> set[str]:
    """Return the addresses that somebody listens on in the node's namespace, in the kernel's own hexadecimal."""
    rows = executor.run(["sh", "-c", "cat /proc/net/tcp /proc/net/tcp6"]).stdout.splitlines()
    words = [row.split() for row in rows]
    return {row[1].split(":")[0] for row in words if row[3] == "0A"}


def test_both_clients_load_and_nothing_listens_beyond_loopback(fleet: tuple[Fleet, LoadClients]) -> None:
    nodes, load = fleet
    seen: dict[str, set[str]] = {}

    def look() -> None:
        time.sleep(2)
        seen.update({name: listening(nodes[name]) for name in ("client", "client2")})

    watcher = threading.Thread(target=look)
    watcher.start()
    result = load.run(LoadPlan(PODS, 10.0, 10, 3.0, 2000), Clocks(), 60)
    watcher.join()
    assert (len(result.connect_ns), result.failures, result.offered) == (300, {}, 100)
    assert (result.lag_ns >= 0).all()
    assert {name for name, found in seen.items() if found} == {"client", "client2"}
    assert all(address in {"0100007F", "0" * 24 + "01000000"} for found in seen.values() for address in found)


def test_a_worker_that_dies_fails_the_load_at_once(fleet: tuple[Fleet, LoadClients]) -> None:
    nodes, load = fleet
    started = time.monotonic()
    killer = threading.Timer(4, lambda: nodes["client2"].run(["sh", "-c", KILL]))
    killer.start()
    with pytest.raises(MeasurementError, match=r"^client2: locust was ended by SIGKILL and said: nothing$"):
        load.run(LoadPlan(PODS, 10.0, 10, 60.0, 2000), Clocks(), 90)
    assert time.monotonic() - started < 20
    killer.join()
    result = load.run(LoadPlan(PODS, 10.0, 10, 1.0, 2000), Clocks(), 60)  # the next is none the worse
    assert (len(result.connect_ns), result.failures) == (100, {})
