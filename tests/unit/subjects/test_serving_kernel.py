"""What a serving proxy has in the kernel: read back, and taken away behind its back."""

from __future__ import annotations

import pytest

from proxybench.errors import ProxierError
from proxybench.model import Family, Mode
from proxybench.nodes.answers import Spawned
from proxybench.subjects.inventory import Inventory
from proxybench.subjects.process import NodeProcess
from proxybench.subjects.removals import Part
from proxybench.subjects.serving import Served, ServingProxy
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.subjects.rig import YEAR_2026, handle, unpack
from tests.unit.subjects.test_serving import BUNDLE, PROGRAM, SPAWN

NAT = ["/x/legacy", "iptables", "-w", "30", "-t", "nat"]
NAT6 = ["/x/legacy", "ip6tables", "-w", "30", "-t", "nat"]


def proxy(
    *steps: Run,
    mode: Mode = Mode.IPTABLES,
    iptables: str = "/x/legacy",
    families: tuple[Family, ...] = (Family.IPV4,),
) -> tuple[ServingProxy, FakeExecutor]:
    node, executor, _ = handle([unpack(BUNDLE), *steps], [(SPAWN, Spawned(7, 123))])
    served = Served(mode, iptables, families=families)
    return ServingProxy(NodeProcess.start(PROGRAM, node), served, FakeClock(utc=YEAR_2026)), executor


def test_addresses_and_chains_of_both_families_are_one_inventory() -> None:
    four = "-N KUBE-SERVICES\n-N KUBE-SVC-A\n-N MINE\n-A KUBE-SERVICES -d 10.96.0.2/32 -j KUBE-SVC-A\n"
    six = "-N KUBE-SERVICES\n-A KUBE-SERVICES -d fd00::2/128 -j KUBE-SVC-B\n"
    found, executor = proxy(
        Run([*NAT, "-S"], done(four)), Run([*NAT6, "-S"], done(six)), families=(Family.IPV4, Family.IPV6)
    )
    assert found.inventory() == Inventory(frozenset({"10.96.0.2", "fd00::2"}), 3)
    executor.assert_done()


def test_rules_that_cannot_be_read_have_no_inventory() -> None:
    argv = ["nft", "list", "table", "ip", "kube-proxy"]
    found, executor = proxy(Run(argv, done(stderr="Error: No such file or directory\n", code=1)), mode=Mode.NFTABLES)
    with pytest.raises(ProxierError) as caught:
        found.inventory()
    assert str(caught.value) == "node-a: its rules cannot be read: Error: No such file or directory"
    executor.assert_done()


def test_what_is_to_be_removed_is_looked_up_first() -> None:
    rules = (
        "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"
        "-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-B\n"
    )
    looked = Run([*NAT, "-S", "KUBE-SERVICES"], done(rules))
    found, executor = proxy(looked, looked)
    assert found.removal(Part.ENDPOINTS, "10.96.0.2", 80) == (*NAT, "-F", "KUBE-SVC-B")
    assert found.removal(Part.SERVICE, "10.96.0.3", 80) is None
    executor.assert_done()


def test_what_needs_no_look_is_not_looked_up() -> None:
    found, executor = proxy(mode=Mode.IPVS)
    assert found.removal(Part.SERVICE, "10.96.0.2", 80) == ("ipvsadm", "-D", "-t", "10.96.0.2:80")
    executor.assert_done()


def test_a_look_that_fails_removes_nothing() -> None:
    found, executor = proxy(Run([*NAT, "-S", "PREROUTING"], done(stderr="no table\n", code=3)))
    with pytest.raises(ProxierError) as caught:
        found.removal(Part.JUMP, "10.96.0.2", 80)
    assert str(caught.value) == "node-a: /x/legacy iptables -w 30 -t nat -S PREROUTING failed: no table"
    executor.assert_done()


@pytest.mark.parametrize(
    ("mode", "chain"), [(Mode.IPTABLES, "KUBE-SERVICES"), (Mode.USERSPACE, "KUBE-PORTALS-CONTAINER")]
)
def test_without_an_iptables_there_are_no_ranks(mode: Mode, chain: str) -> None:
    found, _ = proxy(mode=mode, iptables="")
    with pytest.raises(ProxierError) as caught:
        found.rule_ranks()
    assert str(caught.value) == f"node-a: no iptables there sees {chain}"
