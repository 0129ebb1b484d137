"""What the reference proxier writes for the golden objects, and the node that the dumps of 1.20.2 were made on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from refproxy import iptables_found, ipvs_rules
from refproxy.fixed_tables import frame, missing_base
from refproxy.iptables_found import NOTHING
from refproxy.iptables_rules import build_block, filter_table, nat_table
from refproxy.ipvs_plan import Plan
from refproxy.state import ServiceState
from tests import iptables_dump
from tests.golden.cases import OBJECTS

if TYPE_CHECKING:
    from refproxy.iptables_save import Rule
    from tests.iptables_dump import Table

CIDR = "10.244.0.0/16"
ADDED_CHAINS = {"KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"}
ADDRESSES = ("10.1.0.1", "10.2.0.2")


def objects() -> list[dict[str, Any]]:
    return [dict(item) for item in YAML(typ="safe").load_all(OBJECTS.read_text())]


def state() -> ServiceState:
    """Return what the control loop knows once it has seen all objects."""
    found = ServiceState("node")
    for obj in objects():
        (found.apply_service if obj["kind"] == "Service" else found.apply_slice)("ADDED", obj)
    found.take()
    return found


def iptables_tables() -> dict[str, Table]:
    blocks = [build_block(port, CIDR, comments=True) for port in state().ports.values()]
    pieces = [iptables_found.base_input({}), *nat_table(blocks, blocks), *filter_table(blocks, CIDR)]
    return iptables_dump.parse(b"".join(pieces).decode())


def added(rule: Rule) -> bool:
    """Tell whether a rule is one of those that 1.20.2 has not: they drop what it leaves to the kubelet."""
    return (rule.target == "DROP" and "local endpoints" in rule.comment) or bool(
        {rule.chain, rule.target} & ADDED_CHAINS
    )


def ipvs_plan() -> Plan:
    made = Plan(ADDRESSES)
    made.replace(state().ports)
    return made


def ipvs_tables(plan: Plan) -> dict[str, Table]:
    nat = missing_base(ipvs_rules.NAT, NOTHING) + ipvs_rules.nat_lines(plan.filled_sets, CIDR)
    guarded = ipvs_rules.GUARDED_FILTER
    other = missing_base(guarded, NOTHING) + ipvs_rules.guarded_lines(plan.filled_sets, plan.dropped)
    text = frame(ipvs_rules.NAT, nat) + frame(guarded, other)
    return iptables_dump.parse(text.decode())
