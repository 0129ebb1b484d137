"""What IPVS mode wants for the golden objects equals what kube-proxy 1.20.2 programmed for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refproxy import ipvs_rules
from refproxy.fixed_tables import frame, missing_base
from refproxy.iptables_found import NOTHING
from refproxy.ipvs_plan import NODE_PORT, NODE_PORT_LOCAL, SETS
from refproxy.ipvs_plane import SYSCTLS
from tests import iptables_dump
from tests.unit.refproxy import builds
from tests.unit.refproxy.builds import ADDED_CHAINS, CIDR, added

if TYPE_CHECKING:
    from refproxy.ipvs_plan import Plan
    from tests.iptables_dump import Table

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-proxy-1.20.2"
BITMAPS = {*NODE_PORT.values(), *NODE_PORT_LOCAL.values()}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return builds.ipvs_plan()


def golden(name: str) -> list[str]:
    return (GOLDEN / name).read_text().splitlines()


def test_virtual_and_real_servers(plan: Plan) -> None:
    lines = []
    for (protocol, address, port), server in plan.state.servers.items():
        name = f"-{protocol[0]} {address}:{port}"
        lines.append(f"-A {name} -s {server.scheduler}" + (f" -p {server.persistence}" if server.persistence else ""))
        lines += [f"-a {name} -r {real.address}:{real.port} -m -w {real.weight}" for real in server.reals]
    assert sorted(lines) == sorted(line.strip() for line in golden("ipvs.ipvsadm"))


def test_addresses(plan: Plan) -> None:
    words = golden("ipvs.addr")[0].split()
    assert words[:2] == ["kube-ipvs0", "DOWN"]
    assert sorted(f"{address}/32" for address in plan.state.addresses) == sorted(words[2:])


def test_sets(plan: Plan) -> None:
    made = {tuple(line.split()[1:3]) for line in golden("ipvs.ipset") if line.startswith("create ")}
    assert set(SETS.items()) == made


def test_members(plan: Plan) -> None:
    lines = []
    for name, protocol, address, port, source in plan.state.members:
        end = f",{source}" if source else ""
        lines.append(f"add {name} {port}" if name in BITMAPS else f"add {name} {address},{protocol}:{port}{end}")
    assert sorted(lines) == sorted(line for line in golden("ipvs.ipset") if line.startswith("add "))


@pytest.fixture(scope="module")
def built(plan: Plan) -> dict[str, Table]:
    return builds.ipvs_tables(plan)


@pytest.mark.parametrize("name", ["nat", "filter"])
def test_rules_and_their_order(built: dict[str, Table], name: str) -> None:
    theirs = iptables_dump.parse((GOLDEN / f"ipvs.iptables-save.{name}").read_text())[name]
    assert set(built[name].own_chains) - ADDED_CHAINS == set(theirs.own_chains)
    for chain in {rule.chain for rule in [*theirs.rules, *built[name].rules]}:
        ours = [rule for rule in built[name].rules if rule.chain == chain and not added(rule)]
        assert ours == [rule for rule in theirs.rules if rule.chain == chain]


def test_without_anything_to_drop_filter_is_1_20_2s() -> None:
    text = frame(ipvs_rules.FILTER, missing_base(ipvs_rules.FILTER, NOTHING) + ipvs_rules.filter_lines()).decode()
    ours, theirs = (
        iptables_dump.parse(saved)["filter"] for saved in (text, (GOLDEN / "ipvs.iptables-save.filter").read_text())
    )
    assert ours.own_chains == theirs.own_chains
    assert sorted(map(iptables_dump.write_rule, ours.rules)) == sorted(map(iptables_dump.write_rule, theirs.rules))


def test_sysctls() -> None:
    values = dict(line.replace(" ", "").split("=") for line in golden("ipvs.sysctl"))
    assert values.pop("net.ipv4.conf.all.arp_announce") == "0"  # the kernel's own values: no strictARP, left alone
    assert values.pop("net.ipv4.conf.all.arp_ignore") == "0"
    assert {name: str(value) for name, value in SYSCTLS.items()} == values


def test_rules_ask_only_sets_with_members() -> None:
    text = ipvs_rules.nat_lines(frozenset(), CIDR).decode()
    assert "--match-set" not in text
    assert "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT" in text


def test_without_a_cluster_cidr_only_a_services_own_traffic_is_masqueraded() -> None:
    text = ipvs_rules.nat_lines(frozenset({"KUBE-CLUSTER-IP"}), "").decode()
    assert "-m set --match-set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ" in text
    assert "! -s" not in text
