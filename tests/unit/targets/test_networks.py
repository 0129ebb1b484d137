from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.targets.lab.networks import Networks, interfaces, routes

if TYPE_CHECKING:
    from pathlib import Path

DEV = """Inter-|   Receive                                   |  Transmit
 face |bytes    packets errs drop fifo frame compressed |bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0        0       0    0    0    0     0       0          0
  data:    1292      18    0    0    0     0          0     1292      18    0    0    0     0       0          0
"""
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
mgmt\t00000000\t010012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0
data\t0080F40A\t0C0112C6\t0003\t0\t0\t0\t0080FFFF\t0\t0\t0
"""


def test_the_kernel_s_tables_in_words() -> None:
    assert list(interfaces(DEV)) == ["its interface lo", "its interface data"]
    assert list(routes(ROUTE)) == ["its route to 0.0.0.0/0 by mgmt", "its route to 10.244.128.0/17 by data"]


def process(proc: Path, pid: int, *children: int, dev: str = DEV) -> Path:
    folder = proc / str(pid)
    for name in ("net", "ns", f"task/{pid}"):
        (folder / name).mkdir(parents=True)
    (folder / "net/dev").write_text(dev)
    (folder / "net/route").write_text(ROUTE)
    (folder / "task" / str(pid) / "children").write_text("".join(f"{child} " for child in children))
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Process 1 holds 2, the supervisor, which has named the namespaces; 3 and 4 live in node1's, 5 in another."""
    below = {1: (2,), 2: (3, 4, 5), 3: (), 4: (), 5: ()}
    made = {pid: process(tmp_path, pid, *children) for pid, children in below.items()}
    (made[1] / "ns/net").touch()
    names = made[2] / "root/run/netns"
    names.mkdir(parents=True)
    for name in ("client", "node1"):
        (names / name).touch()
    (made[2] / "ns/net").touch()
    for pid, name in ((3, "node1"), (4, "node1"), (5, "client")):
        (made[pid] / "ns/net").hardlink_to(names / name)
    return tmp_path


def test_what_was_taken_away_is_told_with_the_node(proc: Path) -> None:
    networks = Networks(1, proc)
    assert networks.lack() == ""
    (proc / "3/net/dev").write_text(DEV + "kube-ipvs0: 0 0\n")
    assert networks.lack() == ""
    (proc / "3/net/dev").write_text(DEV.replace("  data:", "  date:"))
    assert networks.lack() == "in the lab, node1 has lost its interface data"
    (proc / "3/net/route").write_text(ROUTE.replace("data", "date"))
    assert networks.lack() == "in the lab, node1 has lost its interface data and 1 more"


def test_of_a_process_that_has_ended_others_tell(proc: Path) -> None:
    networks = Networks(1, proc)
    for name in ("dev", "route"):
        (proc / "3/net" / name).unlink()
    assert networks.lack() == ""
