from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.report.quality import conformance_table, drift_table, noise_table, observer_table
from proxybench.report.words import TIMES
from proxybench.results.manifest import Conformance
from tests.unit.report.conftest import make_record
from tests.unit.report.made import SUBJECT, series

if TYPE_CHECKING:
    from proxybench.report.data import ReportData


def test_noise_is_half_an_interval_of_the_median() -> None:
    table = noise_table([make_record(), make_record(services=10, ci_low=99e6, ci_high=101e6)], "caption")
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["sync.end_to_end", "2", "3 %", "5 %", "iptables, 1,000 Services, add-one"]
    ]
    assert noise_table([make_record(ci_low=None, ci_high=None)], "caption") is None
    both = [
        make_record(settings=f"iptables={backend}", ci_high=high) for backend, high in (("legacy", 2e8), ("nft", 3e8))
    ]
    told = noise_table(both, "caption")
    assert told is not None
    assert told.rows[0][4].text == "iptables (nft), 1,000 Services, add-one"


@pytest.mark.parametrize(
    ("half", "text"),
    [(0.0012, "0.12 %"), (0.99, "99 %"), (1.68, "168 %"), (9.9, "990 %"), (59.3, "59{x}"), (100.0, "over 100{x}")],
)
def test_noise_is_written_for_people(half: float, text: str) -> None:
    table = noise_table([make_record(median=1e6, ci_low=0.0, ci_high=2e6 * half)], "caption")
    assert table is not None
    assert table.rows[0][3].text == text.format(x=TIMES)


def test_what_no_rules_touch_tells_how_the_machine_moved() -> None:
    subjects = (SUBJECT, replace(SUBJECT, mode=Mode.IPVS))
    made = [
        *(
            series("forwarding.bare", "steady", 100.0, 130.0, 110.0 + 4 * n, subject=one)
            for n, one in enumerate(subjects)
        ),
        series("forwarding.established", "steady", 50.0, 49.0, position="none", path="cluster_ip"),
        series("forwarding.established", "steady", 50.0, 90.0, position="last", path="cluster_ip"),
        series("forwarding.bare", "steady", 50.0, services=10),
    ]
    table = drift_table(made, "caption")
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Time to connect, without rules", "3", "+12 %", "27 %"],
        ["Round trip on an established connection", "2", "\N{MINUS SIGN}2 %", "2 %"],
    ]
    assert table.rows[0][0].detail == "100 Services, 2 endpoints each"
    assert drift_table([], "caption") is None


def test_the_observer_is_held_to_two_per_cent(data: ReportData) -> None:
    agent = make_record(metric="cpu.agent", median=3e6, scenario="idle")
    window = replace(agent, metric="cpu.window", median=100e6)
    table = observer_table(replace(data, records=(agent, window)), "caption")
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == [
        "Idle",
        "3 ms",
        "3 %",
        "above the limit of 2 % of a core (iptables, 1,000 Services)",
    ]
    assert table.rows[0][3].state == "fail"
    unknown = observer_table(replace(data, records=(agent,)), "caption")
    assert unknown is not None
    assert unknown.rows[0][3].text == "not known: the run holds no cpu.window"


def test_a_failed_check_says_where_and_why() -> None:
    checks = [
        Conformance(Mode.IPVS, 10, "VIP answers", passed=True),
        Conformance(Mode.IPVS, 100, "VIP answers", passed=False, detail="timed out"),
        Conformance(Mode.IPTABLES, 10, "VIP answers", passed=True),
    ]
    table = conformance_table(checks)
    assert table is not None
    assert [(cell.text, cell.detail) for cell in table.rows[0][1:]] == [
        ("✓ passed", "at 10 Services"),
        ("✗ failed", "at 100 Services: timed out"),
    ]
    assert conformance_table([]) is None
