"""Kernel state in the guest, whose kernel has IPVS: what IPVS mode makes is found and removed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING

import pytest

from proxybench.hosts.fleet import Fleet
from proxybench.model import ClockKind
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.state import diff
from proxybench.targets.lab import qemu
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import VmLab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.hosts.base import Executor
    from proxybench.nodes.node import Node

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which(qemu.BINARY), reason=f"{qemu.BINARY} is not installed (make setup brings it)"),
    pytest.mark.timeout(600),
]
SERVERS = (
    "-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.244.0.1:8080 -m -w 1\n-A -u 10.96.0.10:53 -s rr -p 60\n"
    "-A --sctp-service 10.96.0.2:9 -s rr\n-A -t [fd00:96::1]:80 -s rr\n"
    "-a -t [fd00:96::1]:80 -r [fd00:244::1]:8080 -m -w 1\n"
)
EXPECTED = (
    "iptables-legacy nat: chain KUBE-SERVICES, 1 rule, 1 jump from OUTPUT",
    "ipset: set KUBE-CLUSTER-IP",
    "ipvs: 4 virtual servers (SCTP 10.96.0.2:9 …)",
    "link kube-ipvs0: addresses 10.96.0.1/32 fd00:96::1/128",
    "links: link kube-ipvs0",
    "sysctl net.ipv4.conf.all.arp_ignore: 0 became 1",
    "sysctl net.ipv4.vs.conn_reuse_mode: 1 became 0",
    "sysctl net.ipv4.vs.conntrack: 0 became 1",
)
MAKE = """
modprobe ip_vs
ipvsadm --restore
ip link add kube-ipvs0 type dummy
ip address add 10.96.0.1/32 dev kube-ipvs0
ip address add fd00:96::1/128 dev kube-ipvs0
ipset create KUBE-CLUSTER-IP hash:ip,port
iptables() { xtables-legacy-multi iptables -t nat "$@"; }
iptables -N KUBE-SERVICES
iptables -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
iptables -A OUTPUT -j KUBE-SERVICES
cd /proc/sys/net/ipv4
echo 1 > vs/conntrack; echo 0 > vs/conn_reuse_mode; echo 1 > conf/all/arp_ignore
"""


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Node, Executor]]:
    lab = VmLab(Settings(ClockKind.INSTRUCTIONS, "tcg"))
    cluster = lab.up()
    try:
        with Fleet.connect(cluster.targets) as fleet:
            yield cluster.measured, fleet[cluster.measured.name]
    finally:
        lab.down()


def test_what_ipvs_mode_makes(node: tuple[Node, Executor]) -> None:
    executor, tools = node[1], Tools.of(node[0])
    before = capture(executor, tools)
    executor.run(["sh", "-e", "-c", MAKE], stdin=SERVERS)
    assert restore(executor, before, tools) == tuple(sorted(EXPECTED[:5])) + EXPECTED[5:]
    assert executor.run(["ipvsadm", "-Sn"]).stdout == ""
    assert executor.run(["cat", "/proc/sys/net/ipv4/vs/conntrack"]).stdout == "0\n"


def test_ten_thousand_virtual_servers_and_rules(node: tuple[Node, Executor]) -> None:
    executor, tools = node[1], Tools.of(node[0])
    before = capture(executor, tools)
    addresses = [f"10.96.{number // 250}.{number % 250}" for number in range(10_000)]
    chains = "".join(f":KUBE-SVC-{number:016d} - [0:0]\n" for number in range(20_000))
    rules = "".join(f"-A KUBE-SVC-{number:016d} -j ACCEPT\n" for number in range(20_000))
    for command, text in (
        ("ipvsadm --restore", "".join(f"-A -t {address}:80 -s rr\n" for address in addresses)),
        (
            "ip link add kube-ipvs0 type dummy; ip -batch -",
            "".join(f"a add {one} dev kube-ipvs0\n" for one in addresses),
        ),
        ("xtables-legacy-multi iptables-restore --noflush", f"*nat\n{chains}{rules}COMMIT\n"),
    ):
        executor.run(["sh", "-c", command], stdin=text, timeout=240)
    times = [time.monotonic()]
    after = capture(executor, tools)
    times.append(time.monotonic())
    lines = restore(executor, before, tools)
    times.append(time.monotonic())
    assert lines == diff(before, after)
    assert "ipvs: 10,000 virtual servers (TCP 10.96.0.0:80 …)" in lines
    took = {"capture": times[1] - times[0], "capture, restore, capture": times[2] - times[1]}
    sys.stdout.write(json.dumps(took) + "\n")
