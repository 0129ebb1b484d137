"""How many rules a new connection walks: the reference beside kube-proxy 1.20.2 and 1.37.2, as its page tells."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refproxy.ipvs_plan import NODE_PORT, NODE_PORT_LOCAL
from tests import iptables_dump
from tests.golden.cases import TABLES, golden
from tests.golden.normal import rules as sorted_rules
from tests.unit.refproxy import builds
from tests.unit.refproxy.builds import CIDR, added
from tests.unit.refproxy.walks import BY_IPVS, FORWARDED, Packet, Walk, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refproxy.iptables_save import Rule
    from tests.iptables_dump import Table

PAGE = Path(__file__).parents[3] / "docs" / "reference-proxier.md"
OLD, NEW = "v1.20.2", "v1.37.2"
WHO = (OLD, "reference", NEW)
NODES = {OLD: builds.ADDRESSES[0], "reference": builds.ADDRESSES[0], NEW: "198.18.1.11"}
OUTSIDE, POD = "192.0.2.1", "10.244.0.5"
ALL_ADDRESSES = "KUBE-IPVS-IPS"
BITMAPS = {*NODE_PORT.values(), *NODE_PORT_LOCAL.values()}
# Name, from, to, port, and the endpoint that is reached, "" for none. NODE stands for the node's own address.
CONNECTIONS = (
    ("from outside of the cluster to the first ClusterIP", OUTSIDE, "10.96.1.1", 80, "10.244.0.11:8080"),
    ("from outside to the last of ten ClusterIPs", OUTSIDE, "10.96.1.10", 80, "10.244.0.101:8080"),
    ("from a pod to the last of ten ClusterIPs", POD, "10.96.1.10", 80, "10.244.0.101:8080"),
    ("from a pod to an endpoint, past all Services", POD, "10.244.0.11", 8080, "10.244.0.11"),
    ("from outside to a NodePort", OUTSIDE, "NODE", 30080, "10.244.1.72:8080"),
    ("from a pod to a Service without endpoints", POD, "10.96.1.4", 80, ""),
)
BY_SETS = CONNECTIONS[1:4]


@cache
def tables(who: str, case: str) -> Mapping[str, Table]:
    if who == "reference":
        return builds.iptables_tables() if case == "iptables" else builds.ipvs_tables(builds.ipvs_plan())
    texts = (sorted_rules(golden(who, case, f"iptables-save.{table}")) for table in TABLES)
    return {name: table for text in texts for name, table in iptables_dump.parse(text).items()}


@cache
def sets(who: str) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    if who == "reference":
        for name, protocol, address, port, source in builds.ipvs_plan().state.members:
            member = str(port) if name in BITMAPS else f"{address},{protocol}:{port}{f',{source}' if source else ''}"
            found.setdefault(name, set()).add(member)
    else:
        for line in golden(who, "ipvs", "ipset").splitlines():
            verb, name, member = line.split()[:3]
            found.setdefault(name, set()).update([member] if verb == "add" else [])
    return {name: frozenset(members) for name, members in found.items()}


def walked(who: str, case: str, row: tuple[str, str, str, int, str]) -> Walk:
    _, source, destination, port, endpoint = row
    destination = NODES[who] if destination == "NODE" else destination
    local = frozenset({NODES[who]})
    if case == "iptables":
        return walk(tables(who, case), Packet(source, destination, "tcp", port, local), FORWARDED)
    servers = frozenset(f"10.96.1.{n}" for n in range(1, 11)) | local
    path = BY_IPVS if destination in servers else FORWARDED
    packet = Packet(source, destination, "tcp", port, servers, sets(who))
    return walk(tables(who, case), packet, path, endpoint)


def usual(case: str, row: tuple[str, str, str, int, str]) -> list[Rule]:
    """Return what the reference walks where no Service lacks a local endpoint that it must have."""
    return sorted(rule for rule in walked("reference", case, row).rules if not added(rule))


def cells(case: str, row: tuple[str, str, str, int, str]) -> list[str]:
    walks = [walked(who, case, row) for who in WHO]
    return [row[0], *(f"{len(one.rules)} ({one.matches})" for one in walks)]


def page_table(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its first two lines."""
    body = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("row", CONNECTIONS, ids=lambda row: row[0])
@pytest.mark.parametrize("who", WHO)
def test_every_connection_ends_where_it_should(who: str, row: tuple[str, str, str, int, str]) -> None:
    assert walked(who, "iptables", row).end == row[-1]


@pytest.mark.parametrize("row", CONNECTIONS, ids=lambda row: row[0])
def test_the_reference_walks_what_1_20_2_walks(row: tuple[str, str, str, int, str]) -> None:
    assert usual("iptables", row) == sorted(walked(OLD, "iptables", row).rules)


@pytest.mark.parametrize("row", BY_SETS, ids=lambda row: row[0])
def test_the_reference_walks_what_1_20_2_walks_in_ipvs_mode(row: tuple[str, str, str, int, str]) -> None:
    assert usual("ipvs", row) == sorted(walked(OLD, "ipvs", row).rules)


def test_the_page_tells_the_walks() -> None:
    assert page_table("Rules that a new connection walks: iptables") == [cells("iptables", row) for row in CONNECTIONS]
    assert page_table("Rules that a new connection walks: IPVS") == [cells("ipvs", row) for row in BY_SETS]


@pytest.mark.parametrize(("who", "each"), list(zip(WHO, (2, 2, 1), strict=True)))
def test_one_more_service_is_so_many_more_rules_for_all_that_come_behind_it(who: str, each: int) -> None:
    rules = [rule for rule in tables(who, "iptables")["nat"].rules if rule.chain == "KUBE-SERVICES"]
    of_services = [rule for rule in rules if rule.comment.endswith("cluster IP")]
    assert len(of_services) == each * 10  # ten ports of nine Services; the one without endpoints has none


def shape(rule: Rule) -> str:
    """Return a rule without what names a Service: "chain: matches: target"."""
    header = [f"{'!' if one.negated else ''}{one.name.lstrip('-')}" for one in rule.header if one.name != "--protocol"]
    modules = [match.module for match in rule.matches if match.module not in {"comment", "tcp", "udp"}]
    chain, target = (re.sub(r"(KUBE-[A-Z]{3})-[A-Z2-7]{16}$", r"\1", name) for name in (rule.chain, rule.target))
    return f"{chain}: {' '.join([*header, *modules])}: {target}"


def shapes(who: str, case: str) -> set[str]:
    found = {shape(rule) for table in tables(who, case).values() for rule in table.rules}
    if case == "ipvs":
        found |= {name for name, members in sets(who).items() if members}
        found |= {f"{name} {one}" for name, members in sets(who).items() for one in members if name != ALL_ADDRESSES}
        # The reference's are those of 1.20.2 (test_ipvs_golden). The node's own addresses are other ones.
        servers = golden(OLD if who == "reference" else who, case, "ipvsadm").splitlines()
        lines = (re.sub(r"(10\.[12]\.0\.\d|198\.18\.\d\.\d+):", "NODE:", line.strip()) for line in servers)
        found |= {re.sub(r"(127\.0\.0\.1):.*", r"\1", line) for line in lines}
    return found


@pytest.mark.parametrize(
    ("case", "heading"), [("iptables", "Differences from 1.37.2: iptables"), ("ipvs", "Differences from 1.37.2: IPVS")]
)
def test_the_page_names_everything_that_one_of_them_lacks(case: str, heading: str) -> None:
    ours, theirs = (shapes(who, case) for who in ("reference", NEW))
    rows = page_table(heading)
    named = [set(re.findall("`([^`]+)`", "".join(row[side] for row in rows))) for side in (1, 2)]
    assert named == [ours - theirs, theirs - ours]
    assert all(row[0] for row in rows)


PLAIN = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A PREROUTING ! -s 10.244.0.0/16 -d 10.96.0.1/32 -m comment --comment "x" -j MARK --set-xmark 0x4000/0x4000
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -g A
-A PREROUTING -d 10.96.0.2/32 -j A
-A PREROUTING -j RETURN
-A A -m statistic --mode random --probability 0.5 -j B
-A A -s 10.244.0.9/32 -j RETURN
-A A -p tcp -j DNAT --to-destination 10.244.0.1:8080
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j A
-A POSTROUTING -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack ! --ctstate NEW -j DROP
-A FORWARD -d 10.96.0.3/32 -j REJECT
COMMIT
"""


@pytest.mark.parametrize(
    ("source", "destination", "rules", "end"),
    [
        ("192.0.2.1", "10.96.0.1", 11, "10.244.0.1:8080"),  # marked, by the goto, past the lot, and out again
        ("10.244.0.8", "10.96.0.1", 8, "10.244.0.1:8080"),  # not marked
        ("10.244.0.9", "10.96.0.1", 7, "10.96.0.1"),  # a goto that returns ends the chain it came from
        ("10.244.0.9", "10.96.0.2", 9, "10.96.0.2"),  # a jump that returns goes on behind itself
        ("192.0.2.1", "10.96.0.3", 6, ""),  # refused
    ],
)
def test_a_walk(source: str, destination: str, rules: int, end: str) -> None:
    found = walk(iptables_dump.parse(PLAIN), Packet(source, destination, "tcp", 80), FORWARDED)
    assert (len(found.rules), found.end) == (rules, end)


def test_what_a_walk_cannot_judge_is_refused() -> None:
    unknown = iptables_dump.parse("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m owner --uid-owner 0 -j ACCEPT\n")
    with pytest.raises(NotImplementedError, match=r"^owner: Option\(name='--uid-owner'"):
        walk(unknown, Packet(POD, OUTSIDE, "tcp", 80), FORWARDED[:1])


def test_the_cluster_cidr_is_the_same_everywhere() -> None:
    assert all(f"! -s {CIDR}" in golden(who, "iptables", "iptables-save.nat") for who in (OLD, NEW))
