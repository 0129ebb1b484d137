from __future__ import annotations

import inspect

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.kernel import netlink
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.state import KernelState, Thing
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.nodes.kernel.looks import look

pytestmark = pytest.mark.usefixtures("known_mark")
TOOLS = Tools()
LEFT = ("ipset: set KUBE-X",)
DESTROY = ["sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"', "remove", "ipset", "restore"]

NETLINK = ["python3", "-c", inspect.getsource(netlink), "ipvs"]


def destroy(code: int = 0, stderr: str = "") -> Run:
    return Run(DESTROY, done(code=code, stderr=stderr), stdin="destroy KUBE-X\n")


def restored(*script: Run) -> tuple[str, ...]:
    executor = FakeExecutor("node1", script)
    left = restore(executor, KernelState(), TOOLS)
    executor.assert_done()
    return left


def test_everything_is_read_in_one_exec() -> None:
    servers, sysctls = "TCP  0A600101:0050 rr  \n", "/proc/sys/net/ipv4/ip_forward:1\n"
    executor = FakeExecutor("node1", [look(sets="KUBE-X\n", servers=servers, sysctls=sysctls)])
    assert capture(executor, TOOLS) == KernelState(
        (Thing("ipset", "set", "KUBE-X"), Thing("ipvs", "virtual server", "TCP 10.96.1.1:80")),
        sysctls=(("net.ipv4.ip_forward", "1"),),
    )
    executor.assert_done()


def test_what_cannot_be_looked_at_is_named_with_its_node() -> None:
    with pytest.raises(ProxierError) as caught:
        capture(FakeExecutor("node1", [look(links="sh: 1: ip: not found\nfailed 127\n")]), TOOLS)
    assert str(caught.value) == "node1: ip failed: sh: 1: ip: not found"


@pytest.mark.parametrize("reading", ["servers", "sysctls", "iptables"])
def test_a_look_without_grep_or_awk_is_none(reading: str) -> None:
    with pytest.raises(ProxierError) as caught:
        capture(FakeExecutor("node1", [look(without=reading)]), TOOLS)
    assert str(caught.value) == "node1: grep or awk is missing: the kernel's state cannot be read"


def test_a_clean_node_is_looked_at_once() -> None:
    assert restored(look()) == ()


def test_what_was_left_is_removed_and_looked_for_again() -> None:
    assert restored(look(sets="KUBE-X\n"), destroy(), look()) == LEFT


def test_what_the_first_look_left_out_is_removed_as_well() -> None:
    """As recorded on Linux 6.1: /proc/net/ip_vs of one namespace skips servers where another has some."""
    first, second = "TCP  0A600101:0050 rr  \n", "TCP  0A600102:0050 rr  \n"
    servers = [Run(NETLINK, done(), stdin=f"TCP 10.96.1.{number}:80\n") for number in (1, 2)]
    script = (look(servers=first), servers[0], look(servers=second), servers[1], look())
    assert restored(*script) == ("ipvs: virtual server TCP 10.96.1.1:80",)


def test_a_node_that_shows_something_new_each_time_is_given_up() -> None:
    looks = [look(sets=f"KUBE-{number}\n") for number in range(21)]
    removals = [Run(DESTROY, done(), stdin=f"destroy KUBE-{number}\n") for number in range(20)]
    script = [one for pair in zip(looks, removals, strict=False) for one in pair]
    with pytest.raises(ProxierError) as caught:
        restored(*script, looks[20])
    assert str(caught.value) == "node1: could not be cleaned: ipset: set KUBE-20"


def test_a_tool_that_failed_matters_only_by_what_stays() -> None:
    assert restored(look(sets="KUBE-X\n"), destroy(1, "no such set\n"), look()) == LEFT


@pytest.mark.parametrize(
    ("stderr", "why"), [("ipset: set is\nin use\n", "ipset: set is in use"), ("", "restore ended with 1")]
)
def test_what_stays_is_named_with_the_tools_reason(stderr: str, why: str) -> None:
    with pytest.raises(ProxierError) as caught:
        restored(look(sets="KUBE-X\n"), destroy(1, stderr), look(sets="KUBE-X\n"))
    assert str(caught.value) == f"node1: could not be cleaned: ipset: set KUBE-X ({why})"


def test_what_is_gone_is_told_and_cannot_be_mended() -> None:
    before = KernelState((Thing("ipset", "set", "KUBE-X"),))
    executor = FakeExecutor("node1", [look()])
    assert restore(executor, before, TOOLS) == ("gone: ipset: set KUBE-X",)


def test_connections_that_cannot_be_forgotten_are_an_error() -> None:
    forget = Run(
        ["python3", "-c", inspect.getsource(netlink), "conntrack"],
        done(code=1, stderr="conntrack: [Errno 95] Operation not supported\n"),
        stdin="",
    )
    with pytest.raises(ProxierError) as caught:
        restored(look(sysctls="/proc/sys/net/netfilter/nf_conntrack_count:3\n"), forget)
    assert str(caught.value) == "node1: could not be cleaned: conntrack: [Errno 95] Operation not supported"
