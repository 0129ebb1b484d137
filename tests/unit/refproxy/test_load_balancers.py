"""What each mode writes for the addresses of a load balancer and for their sources: the rules of kube-proxy 1.20."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refproxy import ipvs_rules, ranges
from refproxy.iptables_rules import SERVICE_PREFIXES, build_block, chain_name
from refproxy.ipvs_plan import RealServer, ServerId, share
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.userspace_rules import nat_rules

CIDR = "10.244.0.0/16"
NODE = "198.18.0.1"
KEY = ServicePortKey("ns", "web", "http", "tcp")
ENDS = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.1.2", 8080, local=False))
OPEN = ServicePort(KEY, "10.96.0.1", 80, ENDS, ingress_ips=("203.0.113.1",))
CLOSED = replace(OPEN, source_ranges=("192.0.2.0/24", "198.18.0.0/15"))
FW, SVC, XLB = (chain_name(prefix, KEY).decode() for prefix in (b"KUBE-FW-", b"KUBE-SVC-", b"KUBE-XLB-"))
NOTE = '-m comment --comment "ns/web:http loadbalancer IP"'


def firewall(port: ServicePort, node_ip: str = NODE) -> list[str]:
    lines = build_block(port, CIDR, node_ip, comments=False).rules.decode().splitlines()
    return [line.removeprefix(f"-A {FW} ") for line in lines if line.startswith(f"-A {FW} ")]


def test_iptables_leads_each_address_to_the_services_firewall_chain() -> None:
    block = build_block(OPEN, CIDR, NODE, comments=True)
    assert f"-A KUBE-SERVICES -d 203.0.113.1/32 -p tcp {NOTE} -m tcp --dport 80 -j {FW}\n" in block.services.decode()
    assert FW.encode() in block.names
    assert f":{FW} - [0:0]\n" in block.chains.decode()
    assert b"KUBE-FW-" in SERVICE_PREFIXES  # chains of these names are looked for when nothing is known
    assert "KUBE-FW-" not in build_block(replace(OPEN, ingress_ips=()), CIDR, NODE, comments=True).rules.decode()


@pytest.mark.parametrize(
    ("port", "lines"),
    [
        pytest.param(OPEN, [f"{NOTE} -j KUBE-MARK-MASQ", f"{NOTE} -j {SVC}", f"{NOTE} -j KUBE-MARK-DROP"], id="open"),
        pytest.param(
            replace(OPEN, local_only=True), [f"{NOTE} -j {XLB}", f"{NOTE} -j KUBE-MARK-DROP"], id="open and local"
        ),
        pytest.param(
            CLOSED,
            [
                f"{NOTE} -j KUBE-MARK-MASQ",
                f"-s 192.0.2.0/24 {NOTE} -j {SVC}",
                f"-s 198.18.0.0/15 {NOTE} -j {SVC}",
                f"-s 203.0.113.1/32 {NOTE} -j {SVC}",
                f"{NOTE} -j MARK --set-xmark 0x0/0x4000",
                f"{NOTE} -j KUBE-MARK-DROP",
            ],
            id="two ranges, the node in one of them",
        ),
        pytest.param(
            replace(CLOSED, source_ranges=("192.0.2.0/24", "0.0.0.0/0"), local_only=True),
            [
                f"-s 192.0.2.0/24 {NOTE} -j {XLB}",
                f"{NOTE} -j {XLB}",
                f"-s 203.0.113.1/32 {NOTE} -j {XLB}",
                f"{NOTE} -j KUBE-MARK-DROP",
            ],
            id="a range of everybody",
        ),
    ],
)
def test_the_firewall_chain_of_iptables(port: ServicePort, lines: list[str]) -> None:
    assert firewall(port) == lines


def test_the_firewall_chain_is_written_for_each_address() -> None:
    both = replace(OPEN, ingress_ips=("203.0.113.1", "203.0.113.2"))
    assert firewall(both) == firewall(OPEN) * 2
    assert firewall(CLOSED, "10.0.0.1") == [line for line in firewall(CLOSED) if "203.0.113.1" not in line]


def test_iptables_refuses_what_comes_to_a_load_balancer_without_endpoints() -> None:
    block = build_block(replace(OPEN, endpoints=()), CIDR, NODE, comments=True)
    assert block.filter_external.decode() == (
        '-A KUBE-EXTERNAL-SERVICES -d 203.0.113.1/32 -p tcp -m comment --comment "ns/web:http has no endpoints" '
        "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable\n"
    )
    assert block.services == b""


def refusals(port: ServicePort, chain: str) -> list[str]:
    block = build_block(port, CIDR, NODE, comments=True)
    text = block.filter_services if chain == "KUBE-SERVICES" else block.filter_external
    assert all(line.startswith(f"-A {chain} ") for line in text.decode().splitlines())
    return [line.removeprefix(f"-A {chain} ") for line in text.decode().splitlines()]


def test_iptables_drops_what_the_firewall_chain_did_not_let_through() -> None:
    rule = (
        f'-d 203.0.113.1/32 -p tcp -m comment --comment "ns/web:http traffic not accepted by {FW}" '
        "-m tcp --dport 80 -j DROP"
    )
    for chain in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"):
        assert refusals(CLOSED, chain) == [rule]
        assert refusals(OPEN, chain) == []
        assert refusals(replace(CLOSED, ingress_ips=()), chain) == []


def test_iptables_drops_what_comes_to_a_node_without_a_local_endpoint() -> None:
    far = replace(OPEN, endpoints=ENDS[1:], local_only=True, node_port=30080, external_ips=("192.0.2.9",))
    words = '-p tcp -m comment --comment "ns/web:http has no local endpoints"'
    assert refusals(far, "KUBE-EXTERNAL-SERVICES") == [
        f"-d 192.0.2.9/32 {words} -m tcp --dport 80 -j DROP",
        f"-d 203.0.113.1/32 {words} -m tcp --dport 80 -j DROP",
        f"{words} -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP",
    ]
    assert refusals(far, "KUBE-SERVICES") == []
    assert refusals(replace(far, endpoints=ENDS), "KUBE-EXTERNAL-SERVICES") == []
    assert refusals(replace(far, local_only=False), "KUBE-EXTERNAL-SERVICES") == []


def test_iptables_gives_outside_traffic_to_local_endpoints_that_leave_where_no_other_is_local() -> None:
    old = Endpoint("10.244.0.7", 8080, local=True)
    port = replace(OPEN, endpoints=ENDS[1:], leaving=(old, Endpoint("10.244.1.7", 8080, local=False)), local_only=True)
    block = build_block(port, CIDR, NODE, comments=False)
    sep = chain_name(b"KUBE-SEP-", KEY, "10.244.0.7:8080").decode()
    lines = block.rules.decode().splitlines()
    assert [line for line in lines if line.startswith(f"-A {XLB} ")][-1] == (
        f'-A {XLB} -m comment --comment "Balancing rule 0 for ns/web:http" -j {sep}'
    )
    assert [line for line in lines if line.startswith(f"-A {SVC} ")] == [
        f"-A {SVC} -j {chain_name(b'KUBE-SEP-', KEY, '10.244.1.2:8080').decode()}"
    ]
    assert f"-A {sep} -p tcp -m tcp -j DNAT --to-destination 10.244.0.7:8080" in lines
    assert sep.encode() in block.names
    assert block.filter_external == b""
    same = replace(port, local_only=False)
    assert build_block(same, CIDR, NODE, comments=False) == build_block(
        replace(same, leaving=()), CIDR, NODE, comments=False
    )


def members(port: ServicePort) -> list[tuple[str, str]]:
    found = [item for item in share(port, (NODE, "198.18.0.2"), "rr").members if "LOAD-BALANCER" in item.set_name]
    assert {item[1:4] for item in found} == {("tcp", "203.0.113.1", 80)}
    return [(item.set_name, item.source) for item in found]


def test_ipvs_has_a_virtual_server_an_address_and_members_for_each_address() -> None:
    wanted = share(replace(OPEN, local_only=True), (NODE,), "rr")
    name = ServerId("tcp", "203.0.113.1", 80)
    assert dict(wanted.servers)[name].reals == {RealServer("10.244.0.1", 8080)}
    assert len(dict(share(OPEN, (NODE,), "rr").servers)[name].reals) == 2
    assert wanted.addresses == ("10.96.0.1", "203.0.113.1")
    assert members(OPEN) == [("KUBE-LOAD-BALANCER", "")]
    assert members(replace(OPEN, local_only=True)) == [("KUBE-LOAD-BALANCER", ""), ("KUBE-LOAD-BALANCER-LOCAL", "")]
    assert members(CLOSED) == [
        ("KUBE-LOAD-BALANCER", ""),
        ("KUBE-LOAD-BALANCER-FW", ""),
        ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "192.0.2.0/24"),
        ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "198.18.0.0/15"),
        ("KUBE-LOAD-BALANCER-SOURCE-IP", "203.0.113.1"),
    ]
    assert members(replace(CLOSED, source_ranges=("0.0.0.0/0",)))[2:4] == [
        ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "0.0.0.0/1"),
        ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "128.0.0.0/1"),
    ]


def test_ipvs_asks_the_sets_of_load_balancers_in_kube_proxys_order() -> None:
    names = {item.set_name for item in share(replace(CLOSED, local_only=True), (NODE,), "rr").members}
    lines = ipvs_rules.nat_lines(names, CIDR).decode().splitlines()
    words = "Kubernetes service load balancer ip + port"
    assert [line for line in lines if "--match-set KUBE-LOAD-BALANCER" in line] == [
        (
            '-A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" '
            "-m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER"
        ),
        (
            f'-A KUBE-LOAD-BALANCER -m comment --comment "{words} for load balancer with sourceRange" '
            "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-FIREWALL"
        ),
        (
            f'-A KUBE-FIREWALL -m comment --comment "{words} + source cidr for packet filter purpose" '
            "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN"
        ),
        (
            f'-A KUBE-FIREWALL -m comment --comment "{words} + source IP for packet filter purpose" '
            "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN"
        ),
        (
            f'-A KUBE-LOAD-BALANCER -m comment --comment "{words} with externalTrafficPolicy=local" '
            "-m set --match-set KUBE-LOAD-BALANCER-LOCAL dst,dst -j RETURN"
        ),
        "-A KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT",
    ]


def test_userspace_treats_a_load_balancers_address_like_the_cluster_ip() -> None:
    rules = [rule.decode() for rule in nat_rules(OPEN, 40_000, NODE)]
    match = '-d 203.0.113.1/32 -p tcp -m comment --comment "ns/web:http" -m tcp --dport 80'
    assert rules[2:] == [
        f"KUBE-PORTALS-CONTAINER {match} -j REDIRECT --to-ports 40000",
        f"KUBE-PORTALS-HOST {match} -j DNAT --to-destination {NODE}:40000",
    ]
    assert nat_rules(CLOSED, 40_000, NODE) == nat_rules(replace(OPEN, ingress_ips=()), 40_000, NODE)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("192.0.2.129/25", "192.0.2.128/25"),
        (" 10.1.2.3/0", "0.0.0.0/0"),
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("010.0.0.0/08", "10.0.0.0/8"),  # octal for inet_aton, which would make it 8.0.0.0/8
    ],
)
def test_a_range_is_spelled_as_the_kernel_spells_it(text: str, spelled: str) -> None:
    assert ranges.canonical(text) == spelled


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0/8",
        "10.0.0.256/8",
        "x/8",
        "/8",
        "",
        "0x0a.0.0.0/8",
        "1.2.3.4.5/8",
        "\u0661.0.0.0/8",
    ],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a range of addresses: "):
        ranges.canonical(text)


def test_what_a_range_contains() -> None:
    assert ranges.contains("192.0.2.128/25", "192.0.2.255")
    assert not ranges.contains("192.0.2.128/25", "192.0.2.127")
    assert ranges.contains("0.0.0.0/0", "255.255.255.255")
    assert ranges.contains("192.0.2.1/32", "192.0.2.1")
