"""The trial asks the kernel for everything that the modes know, and says what was refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refproxy import fixed_tables, iptables_rules, ipvs_rules, trial, userspace_rules
from refproxy.errors import ProxierError
from refproxy.iptables_found import NOTHING, base_input
from refproxy.iptables_rules import build_block, filter_table, nat_table
from refproxy.ipvs_plan import SETS, Plan

if TYPE_CHECKING:
    from types import ModuleType

CIDR, NODE = "10.244.0.0/16", "198.18.0.1"
PORTS = {port.key: port for port in trial.SERVICES}


def iptables() -> str:
    blocks = [build_block(port, CIDR, NODE, comments=True) for port in trial.SERVICES]
    return b"".join([base_input({}), *nat_table(blocks, blocks), *filter_table(blocks, CIDR)]).decode()


def ipvs() -> str:
    plan = Plan((NODE,))
    plan.replace(PORTS)
    tables = (ipvs_rules.NAT, ipvs_rules.FILTER)
    base = b"".join(fixed_tables.missing_base(table, NOTHING) for table in tables)
    return (base + ipvs_rules.nat_lines(plan.filled_sets, CIDR) + ipvs_rules.filter_lines()).decode()


def userspace() -> str:
    tables = (userspace_rules.NAT, userspace_rules.FILTER)
    lines = [jump for table in tables for jump in (*table.jumps, *table.last_jumps)]
    for port in trial.SERVICES:
        lines += [*userspace_rules.nat_rules(port, 4, NODE), *userspace_rules.filter_rules(port, 4)]
    return b"\n".join(lines).decode()


@pytest.mark.parametrize(
    ("module", "text"), [(iptables_rules, iptables()), (ipvs_rules, ipvs()), (userspace_rules, userspace())]
)
def test_every_match_and_option_of_a_modes_rules_is_tried(module: ModuleType, text: str) -> None:
    assert module.__file__
    source = Path(module.__file__).read_text()
    options = set(re.findall(r"(?<= )--[a-z-]+|-m [a-z]+", source))
    assert len(options) > 5
    assert options - set(re.findall(r"--[a-z-]+|-m [a-z]+", text)) == set()


def test_every_set_but_those_of_sctp_gets_a_member() -> None:
    plan = Plan((NODE,))
    plan.replace(PORTS)
    # Of UDP NodePorts that stay local, and external addresses too, there is no other kind of set.
    assert set(SETS) - set(plan.filled_sets) == {
        "KUBE-NODE-PORT-LOCAL-UDP",
        "KUBE-NODE-PORT-SCTP-HASH",
        "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    }


class Plane:
    def __init__(self, error: str = "") -> None:
        self.error = error
        self.events: list[str] = []

    def setup(self) -> None:
        self.events.append("setup")

    def sync(self, ports: object, changed: object) -> None:
        assert (ports, changed) == (PORTS, None)
        self.events.append("sync")
        if self.error:
            raise ProxierError(self.error)

    def cleanup(self) -> None:
        self.events.append("cleanup")


def test_a_refusal_is_the_last_line_and_all_is_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = Plane("device kube-ipvs0: Operation not supported")
    monkeypatch.setattr(trial, "make_plane", lambda config: plane)
    assert trial.main(["ipvs", "/multi"]) == 3
    assert capsys.readouterr().err == "device kube-ipvs0: Operation not supported\n"
    assert plane.events == ["setup", "sync", "cleanup"]


def test_success_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plane = Plane()
    monkeypatch.setattr(trial, "make_plane", lambda config: plane)
    assert trial.main(["iptables", "/multi"]) == 0
    assert capsys.readouterr().err == ""
    assert plane.events == ["setup", "sync", "cleanup"]
