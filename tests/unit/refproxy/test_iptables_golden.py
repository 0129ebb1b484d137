"""The rules built for the golden objects equal what kube-proxy 1.20.2 programmed for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import iptables_dump
from tests.unit.refproxy import builds
from tests.unit.refproxy.builds import added

if TYPE_CHECKING:
    from refproxy.iptables_save import Rule
    from tests.iptables_dump import Table

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-proxy-1.20.2"


@pytest.fixture(scope="module")
def built() -> dict[str, Table]:
    return builds.iptables_tables()


@pytest.fixture(scope="module")
def golden() -> dict[str, Table]:
    return {
        table: iptables_dump.parse((GOLDEN / f"iptables.iptables-save.{table}").read_text())[table]
        for table in ("nat", "filter", "mangle")
    }


@pytest.mark.parametrize("table", ["nat", "filter", "mangle"])
def test_chains_are_kube_proxys(built: dict[str, Table], golden: dict[str, Table], table: str) -> None:
    assert built[table].own_chains == golden[table].own_chains


@pytest.mark.parametrize("table", ["nat", "filter", "mangle"])
def test_rules_are_kube_proxys(built: dict[str, Table], golden: dict[str, Table], table: str) -> None:
    ours, theirs = [rule for rule in built[table].rules if not added(rule)], golden[table].rules
    assert set(ours) == set(theirs)
    assert len(ours) == len(theirs)


def test_what_is_added_is_what_1_37_2_has_for_it(built: dict[str, Table]) -> None:
    (rule,) = [rule for table in built.values() for rule in table.rules if added(rule)]
    today = (GOLDEN.parent / "kube-proxy-1.37.2" / "iptables.iptables-save.filter").read_text().splitlines()
    assert iptables_dump.write_rule(rule) in [iptables_dump.write_rule(one) for one in _rules(today)]


def _rules(lines: list[str]) -> list[Rule]:
    return iptables_dump.parse("\n".join(lines) + "\n")["filter"].rules


@pytest.mark.parametrize("table", ["nat", "filter"])
def test_order_within_each_chain_but_the_random_ones_is_kube_proxys(
    built: dict[str, Table], golden: dict[str, Table], table: str
) -> None:
    random = {"KUBE-SERVICES", "KUBE-NODEPORTS"}
    for chain in {rule.chain for rule in golden[table].rules} - random:
        ours = [rule for rule in built[table].rules if rule.chain == chain and not added(rule)]
        theirs = [rule for rule in golden[table].rules if rule.chain == chain]
        assert ours == theirs


def test_services_stand_in_the_order_of_their_creation_and_node_ports_last(built: dict[str, Table]) -> None:
    rules = [rule for rule in built["nat"].rules if rule.chain == "KUBE-SERVICES"]
    seen = list(dict.fromkeys(rule.comment.split(" ")[0] for rule in rules))
    names = ("one:http", "three:http", "notready:http", "sticky:http", "dns:dns", "dns:dns-tcp")
    more = ("np:http", "np-local:http", "np-local-none:http", "extip:http")
    assert seen == [f"bench/{name}" for name in (*names, *more)] + ["kubernetes"]
    assert rules[-1].target == "KUBE-NODEPORTS"
