from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.model import Family
from proxybench.subjects.rule_ranks import list_argv, parse_addresses, parse_places, parse_port_ranks, parse_ranks
from tests.golden.cases import OLD, RELEASES, golden

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-proxy-1.20.2"


def in_order(*served: str) -> dict[str, int]:
    """Return the ranks of what is served in this order; an address alone stands for its port 80 over TCP."""
    keys = (one if "/" in one else f"{one} 80/tcp" for one in served)
    return {key: n for n, key in enumerate(keys, start=1)}


def test_the_order_of_a_real_kube_proxy() -> None:
    ranks = parse_ranks((GOLDEN / "iptables.iptables-save.nat").read_text(), "KUBE-SERVICES")
    assert ranks == in_order(
        "10.96.1.6 53/udp",
        "10.96.1.7",
        "10.96.1.9",
        "10.96.1.3",
        "10.96.1.5",
        "10.96.1.10",
        "192.0.2.10",
        "10.96.1.1",
        "10.96.1.6 53/tcp",
        "10.96.1.8",
        "10.96.1.2",
    )


@pytest.mark.parametrize("case", ["iptables", "iptables-nft"])
@pytest.mark.parametrize("release", [OLD, *RELEASES])
def test_every_release(release: str, case: str) -> None:
    """The dumps are sorted by address; the Service without endpoints has no rule in nat."""
    ranks = parse_ranks(golden(release, case, "iptables-save.nat"), "KUBE-SERVICES")
    served = ("1", "2", "3", "5", "6 53/tcp", "6 53/udp", "7", "8", "9", "10")
    assert ranks == in_order(*(f"10.96.1.{one}" for one in served), "192.0.2.10")


def test_the_order_of_its_userspace_mode() -> None:
    ranks = parse_ranks((GOLDEN / "userspace.iptables-save.nat").read_text(), "KUBE-PORTALS-CONTAINER")
    assert ranks == in_order(
        "10.96.1.3",
        "10.96.1.6 53/udp",
        "10.96.1.6 53/tcp",
        "10.96.1.9",
        "10.96.1.1",
        "10.96.1.2",
        "10.96.1.7",
        "10.96.1.8",
        "10.96.1.10",
        "192.0.2.10",
        "10.96.1.4",
        "10.96.1.5",
    )


def test_ranks_over_ipv6() -> None:
    head = "-A KUBE-SERVICES -d fd00:10:96::10"
    listing = (
        f"{head}1/128 -p tcp -m tcp --dport 80 -j KUBE-SVC-B\n{head}0/128 -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"
    )
    assert parse_ranks(listing, "KUBE-SERVICES") == in_order("fd00:10:96::101", "fd00:10:96::100")
    argv = list_argv("/sbin/xtables", "KUBE-SERVICES", Family.IPV6)
    assert argv == ["/sbin/xtables", "ip6tables", "-w", "30", "-t", "nat", "-S", "KUBE-SERVICES"]


def test_a_mark_before_the_jump_does_not_count() -> None:
    listing = (
        "-N KUBE-SERVICES\n"
        '-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.96.0.9/32 -p tcp -m comment --comment "a/b:c cluster IP"'
        " -m tcp --dport 80 -j KUBE-MARK-MASQ\n"
        "-A KUBE-SERVICES -d 10.96.0.8/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"
        "-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-B\n"
        "-A KUBE-SERVICES -d 10.96.0.8/32 -p udp -m udp --dport 53 -j KUBE-SVC-C\n"
        "-A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-D\n"
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
        "-A KUBE-OTHER -d 10.96.0.6/32 -j KUBE-SVC-E\n"
    )
    assert parse_ranks(listing, "KUBE-SERVICES") == in_order("10.96.0.8", "10.96.0.9", "10.96.0.8 53/udp", "10.96.0.7")
    assert parse_addresses(listing, "KUBE-SERVICES") == {"10.96.0.7", "10.96.0.8", "10.96.0.9"}


@given(st.permutations([f"10.96.0.{n}" for n in range(1, 9)]))
def test_any_order_is_read_back(order: list[str]) -> None:
    listing = "".join(f"-A KUBE-SERVICES -d {address}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X\n" for address in order)
    assert parse_ranks(listing, "KUBE-SERVICES") == in_order(*order)


def test_the_command() -> None:
    words = ["/x", "iptables", "-w", "30", "-t", "nat", "-S", "KUBE-SERVICES"]
    assert list_argv("/x", "KUBE-SERVICES") == words


@pytest.mark.parametrize("case", ["iptables", "iptables-nft"])
@pytest.mark.parametrize("release", RELEASES)
def test_node_ports_of_every_release_have_ranks(release: str, case: str) -> None:
    """Each has a rule for the loopback before its own. The dumps are sorted."""
    ranks = parse_port_ranks(golden(release, case, "iptables-save.nat"), "KUBE-NODEPORTS")
    assert ranks == in_order("30080/tcp", "30081/tcp", "30082/tcp")


def test_node_ports_of_an_old_kube_proxy_count_once() -> None:
    dump = (GOLDEN / "iptables.iptables-save.nat").read_text()
    assert sorted(parse_port_ranks(dump, "KUBE-NODEPORTS").values()) == [1, 2, 3]


@pytest.mark.parametrize("case", ["iptables", "iptables-nft"])
@pytest.mark.parametrize("release", RELEASES)
def test_endpoints_of_every_release_have_places(release: str, case: str) -> None:
    dump = golden(release, case, "iptables-save.nat")
    found = parse_places(dump, "10.96.1.1")
    assert sorted(found.values()) == list(range(1, len(found) + 1))
    assert found
    assert all(address.startswith("10.") for address in found)
    assert parse_places(dump, "10.96.1.4") == parse_places(dump, "192.0.2.99") == {}


def test_the_chain_of_a_service_with_two_protocols_is_that_of_tcp() -> None:
    listing = (
        "-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.1.9:8080\n"
        "-A KUBE-SEP-B -p udp -m udp -j DNAT --to-destination 10.244.1.3:8080\n"
        "-A KUBE-SERVICES -d 10.96.1.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-T\n"
        "-A KUBE-SERVICES -d 10.96.1.1/32 -p udp -m udp --dport 80 -j KUBE-SVC-U\n"
        "-A KUBE-SVC-T -j KUBE-SEP-A\n"
        "-A KUBE-SVC-U -j KUBE-SEP-B\n"
    )
    assert parse_places(listing, "10.96.1.1") == {"10.244.1.9": 1}


def test_a_place_is_that_of_the_jump() -> None:
    listing = (
        "-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.1.9:8080\n"
        "-A KUBE-SEP-B -s 10.244.1.3/32 -j KUBE-MARK-MASQ\n"
        "-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.244.1.3:8080\n"
        "-A KUBE-SEP-C -p tcp -m tcp -j DNAT --to-destination [fd00::3]:8080\n"
        "-A KUBE-SERVICES -d 10.96.1.0/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X\n"
        "-A KUBE-SERVICES -d 10.96.1.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-Y\n"
        "-A KUBE-SVC-X ! -s 10.244.0.0/16 -d 10.96.1.0/32 -p tcp -j KUBE-MARK-MASQ\n"
        '-A KUBE-SVC-X -m comment --comment "a -> b" -m statistic --mode random --probability 0.5 -j KUBE-SEP-B\n'
        "-A KUBE-SVC-X -j KUBE-SEP-A\n"
        "-A KUBE-SVC-Y -j KUBE-SEP-C\n"
    )
    assert parse_places(listing, "10.96.1.0") == {"10.244.1.3": 1, "10.244.1.9": 2}
    assert parse_places(listing, "10.96.1.1") == {"fd00::3": 1}
