"""What to remove, from what the kernel of a node with kube-proxy 1.37.2 really listed."""

from __future__ import annotations

import pytest

from proxybench.model import Mode
from proxybench.subjects.removals import Part, look, removal
from tests.golden.cases import golden

ONE = ("10.96.1.1", 80)
PROGRAM = "/xtables"
NAT = ("/xtables", "iptables", "-w", "30", "-t", "nat")
GOTO = "table ip kube-proxy {\n\tmap service-ips {\n\t\telements = { 10.96.1.1 . tcp . 80 : goto service-A-b/tcp/h }\n"


def rules() -> str:
    return golden("1.37.2", "iptables", "iptables-save.nat")


def of_iptables(part: Part, listing: str | None = None) -> tuple[str, ...] | None:
    return removal(Mode.IPTABLES, part, ONE, PROGRAM, rules() if listing is None else listing)


def test_one_rule_of_iptables() -> None:
    assert look(Mode.IPTABLES, Part.SERVICE, ONE, PROGRAM) == (*NAT, "-S", "KUBE-SERVICES")
    found = of_iptables(Part.SERVICE)
    assert found is not None
    assert found[:9] == (*NAT, "-D", "KUBE-SERVICES", "-d")
    assert "bench/one:http cluster IP" in found
    assert found[-2] == "-j"
    assert found[-1].startswith("KUBE-SVC-")


def test_the_rules_to_its_endpoints() -> None:
    found, service = of_iptables(Part.ENDPOINTS), of_iptables(Part.SERVICE)
    assert service is not None
    assert found == (*NAT, "-F", service[-1])


def test_the_jump_to_all_services() -> None:
    assert look(Mode.IPTABLES, Part.JUMP, ONE, PROGRAM) == (*NAT, "-S", "PREROUTING")
    comment = ("-m", "comment", "--comment", "kubernetes service portals")
    assert of_iptables(Part.JUMP) == (*NAT, "-D", "PREROUTING", *comment, "-j", "KUBE-SERVICES")


def test_the_whole_of_iptables_is_all_tables_that_a_canary_is_in() -> None:
    assert look(Mode.IPTABLES, Part.TABLE, ONE, PROGRAM) == ()
    flush = 'for t in mangle nat filter; do "$0" "$1" -w 30 -t $t -F && "$0" "$1" -w 30 -t $t -X; done'
    assert of_iptables(Part.TABLE, "") == ("sh", "-c", flush, "/xtables", "iptables")


@pytest.mark.parametrize("part", [Part.SERVICE, Part.ENDPOINTS, Part.JUMP])
def test_what_is_not_there_cannot_be_removed(part: Part) -> None:
    assert of_iptables(part, "-N KUBE-SERVICES\n") is None


@pytest.mark.parametrize(
    ("part", "argv"),
    [
        (Part.SERVICE, ("nft", "delete", "element", "ip", "kube-proxy", "service-ips", "{ 10.96.1.1 . tcp . 80 }")),
        (Part.ENDPOINTS, ("nft", "flush", "chain", "ip", "kube-proxy", "service-A-b/tcp/h")),
        (Part.JUMP, ("nft", "flush", "chain", "ip", "kube-proxy", "nat-prerouting")),
        (Part.TABLE, ("nft", "delete", "table", "ip", "kube-proxy")),
    ],
)
def test_nftables(part: Part, argv: tuple[str, ...]) -> None:
    asked = look(Mode.NFTABLES, part, ONE, PROGRAM)
    element = ("nft", "get", "element", "ip", "kube-proxy", "service-ips", "{ 10.96.1.1 . tcp . 80 }")
    assert asked == (element if part is Part.ENDPOINTS else ())
    assert removal(Mode.NFTABLES, part, ONE, PROGRAM, GOTO) == argv


@pytest.mark.parametrize(
    ("part", "argv"),
    [
        (Part.SERVICE, ("ipvsadm", "-D", "-t", "10.96.1.1:80")),
        (Part.ENDPOINTS, ("sh", "-c", "ipvsadm -d -t 10.96.1.1:80 -r 10.244.0.11:8080")),
        (Part.JUMP, ("ip", "address", "delete", "10.96.1.1/32", "dev", "kube-ipvs0")),
        (Part.TABLE, ("ipvsadm", "-C")),
    ],
)
def test_ipvs(part: Part, argv: tuple[str, ...]) -> None:
    assert look(Mode.IPVS, part, ONE, "") == (("ipvsadm", "-S", "-n") if part is Part.ENDPOINTS else ())
    assert removal(Mode.IPVS, part, ONE, "", golden("1.37.2", "ipvs", "ipvsadm")) == argv


def test_a_service_of_userspace_mode_has_no_chain_of_its_own() -> None:
    rule = "-A KUBE-PORTALS-CONTAINER -d 10.96.1.1/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 4711\n"
    assert look(Mode.USERSPACE, Part.SERVICE, ONE, PROGRAM) == (*NAT, "-S", "KUBE-PORTALS-CONTAINER")
    found = removal(Mode.USERSPACE, Part.SERVICE, ONE, PROGRAM, rule)
    assert found is not None
    assert found[6:9] == ("-D", "KUBE-PORTALS-CONTAINER", "-d")
    assert removal(Mode.USERSPACE, Part.ENDPOINTS, ONE, PROGRAM, rule) is None
    assert removal(Mode.NFTABLES, Part.ENDPOINTS, ONE, PROGRAM, "") is None
    assert removal(Mode.IPVS, Part.ENDPOINTS, ONE, PROGRAM, "") is None


def test_ipv6_has_programs_and_tables_of_its_own() -> None:
    vip = ("fd00:10:96::101", 80)
    assert look(Mode.IPTABLES, Part.JUMP, vip, PROGRAM) == ("/xtables", "ip6tables", *NAT[2:], "-S", "PREROUTING")
    rule = "-A KUBE-SERVICES -d fd00:10:96::101/128 -p tcp -m tcp --dport 80 -j KUBE-SVC-A\n"
    assert removal(Mode.IPTABLES, Part.ENDPOINTS, vip, PROGRAM, rule) == (
        *("/xtables", "ip6tables", *NAT[2:]),
        *("-F", "KUBE-SVC-A"),
    )
    assert removal(Mode.NFTABLES, Part.TABLE, vip, "", "") == ("nft", "delete", "table", "ip6", "kube-proxy")
    assert removal(Mode.IPVS, Part.SERVICE, vip, "", "") == ("ipvsadm", "-D", "-t", "[fd00:10:96::101]:80")


@pytest.mark.parametrize(
    ("mode", "chain"), [(Mode.IPTABLES, "KUBE-SERVICES"), (Mode.USERSPACE, "KUBE-PORTALS-CONTAINER")]
)
def test_the_rules_of_another_port_stay(mode: Mode, chain: str) -> None:
    rule = "-A {} -d 10.96.1.1/32 -p {} -m comment --comment one -m {} --dport {} -j {}\n"
    ports = [("udp", 80), ("tcp", 8080), ("tcp", 443), ("tcp", 80)]
    listing = "".join(rule.format(chain, over, over, port, f"KUBE-SVC-{over}{port}") for over, port in ports)
    found = removal(mode, Part.SERVICE, ONE, PROGRAM, listing)
    assert found is not None
    assert found[-1] == "KUBE-SVC-tcp80"
    assert removal(mode, Part.ENDPOINTS, ONE, PROGRAM, listing) == (*NAT, "-F", "KUBE-SVC-tcp80")
    assert removal(mode, Part.SERVICE, ONE, PROGRAM, "".join(listing.splitlines(keepends=True)[:3])) is None
