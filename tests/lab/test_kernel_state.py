"""Kernel state in a network namespace of this kernel: real rules are found, named, removed, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.hosts.base import Completed
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.state import diff
from proxybench.testing.hosts import FakeExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.lab

GOLDEN = Path(__file__).parents[1] / "golden"
TOOLS = Tools(python=sys.executable)
BACKENDS = ("legacy", "nft")
SOMEBODY_ELSE = "*nat\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\nCOMMIT\n"


class NamespaceExecutor(FakeExecutor):
    """Runs commands in a network namespace."""

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        inside = ["ip", "netns", "exec", self.name, *argv]
        ended = subprocess.run(inside, input=stdin or "", capture_output=True, text=True, timeout=timeout, check=check)
        return Completed(ended.stdout, ended.stderr, ended.returncode, 0.0)

    def shell(self, script: str, stdin: str = "") -> str:
        return self.run(["sh", "-c", script], stdin=stdin, timeout=240).stdout


@pytest.fixture
def node() -> Iterator[NamespaceExecutor]:
    name = f"pbt-state-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=30, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        executor = NamespaceExecutor(name)
        executor.shell("ip link set lo up")
        yield executor
    finally:
        subprocess.run(["ip", "netns", "del", name], timeout=60, check=True)


def real_rules(mode: str) -> str:
    """Return what a real kube-proxy wrote, without the rules that need sets."""
    files = sorted((GOLDEN / "kube-proxy-1.20.2").glob(f"{mode}.iptables-save.*"))
    lines = [line for file in files for line in file.read_text().splitlines() if "--match-set" not in line]
    return "".join(f"{line}\n" for line in lines)


def many_rules(services: int) -> str:
    """Return rules as kube-proxy writes them, for Services with one endpoint each."""
    names = [f"{number:016d}" for number in range(services)]
    chains = [f":KUBE-{kind}-{name} - [0:0]" for name in names for kind in ("SVC", "SEP")]
    rules = [
        f"-A KUBE-SERVICES -d 10.96.{number // 250}.{number % 250}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{name}\n"
        f"-A KUBE-SVC-{name} -j KUBE-SEP-{name}\n"
        f"-A KUBE-SEP-{name} -p tcp -m tcp -j DNAT --to-destination 10.244.0.1:8080"
        for number, name in enumerate(names)
    ]
    jumps = [
        f'-A {chain} -m comment --comment "service portals" -j KUBE-SERVICES' for chain in ("OUTPUT", "PREROUTING")
    ]
    return "\n".join(["*nat", ":KUBE-SERVICES - [0:0]", *chains, *jumps, *rules, "COMMIT", ""])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["iptables", "userspace"])
def test_the_rules_of_a_real_kube_proxy(node: NamespaceExecutor, backend: str, mode: str) -> None:
    before = capture(node, TOOLS)
    node.shell(f"xtables-{backend}-multi iptables-restore --noflush", real_rules(mode))
    lines = diff(before, capture(node, TOOLS))
    nat = [line for line in lines if line.startswith(f"iptables-{backend} nat: ")]
    expected = {
        (
            "iptables",
            "legacy",
        ): "35 chains (KUBE-MARK-DROP …), 95 rules, 3 jumps from OUTPUT and POSTROUTING and PREROUTING",
        ("iptables", "nft"): "35 chains (KUBE-MARK-DROP …), 3 jumps from OUTPUT and POSTROUTING and PREROUTING",
    }
    if mode == "iptables":
        assert nat == [f"iptables-{backend} nat: {expected[mode, backend]}"]
    assert restore(node, before, TOOLS) == lines
    assert restore(node, before, TOOLS) == ()
    assert "KUBE" not in node.shell(f"xtables-{backend}-multi iptables-save")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_somebody_elses_stays(node: NamespaceExecutor, backend: str) -> None:
    save = f"xtables-{backend}-multi iptables-save | grep -v '^#'"
    load = f"xtables-{backend}-multi iptables-restore --noflush"
    node.shell(load, SOMEBODY_ELSE)
    kept = node.shell(save)
    node.shell("ipset create mine hash:ip; nft add table inet mine")
    before = capture(node, TOOLS)
    node.shell(load, real_rules("iptables"))
    node.shell("ipset create KUBE-X hash:ip; nft add table ip kube-proxy; nft add table ip6 kube-proxy")
    node.shell("sysctl -q -w net.ipv4.conf.all.route_localnet=1")
    lines = restore(node, before, TOOLS)
    assert "ipset: set KUBE-X" in lines
    assert "nft: tables ip kube-proxy ip6 kube-proxy" in lines
    assert "sysctl net.ipv4.conf.all.route_localnet: 0 became 1" in lines
    assert set(kept.splitlines()) <= set(node.shell(save).splitlines())
    assert "KUBE" not in node.shell(save)
    assert node.shell("ipset list -n").split() == ["mine"]
    assert "kube-proxy" not in node.shell("nft list tables")
    assert "inet mine" in node.shell("nft list tables")


def test_a_new_table_of_somebody_elses_is_not_taken_away(node: NamespaceExecutor) -> None:
    before = capture(node, TOOLS)
    node.shell("xtables-nft-multi iptables-restore --noflush", SOMEBODY_ELSE + real_rules("iptables"))
    restore(node, before, TOOLS)
    assert node.shell("nft list tables").split() == ["table", "ip", "nat"]
    assert "-j DOCKER" in node.shell("xtables-nft-multi iptables-save")


def test_connections_are_forgotten(node: NamespaceExecutor) -> None:
    count = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    before = capture(node, TOOLS)
    node.shell("xtables-legacy-multi iptables -A OUTPUT -m conntrack --ctstate NEW -j ACCEPT")
    program = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', 9))"
    node.run([sys.executable, "-c", program])
    assert int(node.shell(count)) > 0
    restore(node, before, Tools(python=sys.executable, exclusive=False))
    assert int(node.shell(count)) > 0
    restore(node, before, TOOLS)
    assert int(node.shell(count)) == 0


@pytest.mark.parametrize(("backend", "services"), [("legacy", 10_000), ("nft", 10_000)])
def test_the_rules_of_ten_thousand_services(node: NamespaceExecutor, backend: str, services: int) -> None:
    before = capture(node, TOOLS)
    node.shell(f"xtables-{backend}-multi iptables-restore --noflush", many_rules(services))
    times = [time.monotonic()]
    after = capture(node, TOOLS)
    times.append(time.monotonic())
    lines = restore(node, before, TOOLS)
    times.append(time.monotonic())
    assert len(after.things) == 2 * services + 3
    assert lines[0].startswith(f"iptables-{backend} nat: 20,001 chains (KUBE-SEP-0000000000000000 …)")
    assert capture(node, TOOLS).things == ()
    took = {"capture": times[1] - times[0], "capture, restore, capture": times[2] - times[1]}
    sys.stdout.write(json.dumps({backend: took}) + "\n")
