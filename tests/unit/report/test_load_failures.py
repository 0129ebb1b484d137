"""What became of a load's connections, a row per point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxybench.model import Mode, Subject
from proxybench.report.load_failures import failure_table
from proxybench.report.words import DASH
from tests.unit.report.made import SUBJECT, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.stats.series import Series

IPTABLES = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES)
UNITS = {"offered": "connections/s", "achieved": "connections/s", "failure_rate": "ppm"}


def load(subject: Subject, counts: Mapping[str, tuple[float, ...]], **changes: Any) -> list[Series]:
    return [
        series(f"load.{name}", "load", *values, subject=subject, unit=UNITS.get(name, "connections"), **changes)
        for name, values in counts.items()
    ]


GOOD = {
    "offered": (100.0, 100.0, 100.0),
    "achieved": (99.8, 100.0, 100.0),
    "failure_rate": (0.0, 300.0, 500.0),
    "failed": (0.0, 3.0, 5.0),
    "wrong_endpoint": (0.0, 0.0, 0.0),
    "refused": (0.0, 2.0, 4.0),
    "unanswered": (0.0, 0.0, 0.0),
    "unserved": (0.0, 0.0, 0.0),
}
BROKEN = {**GOOD, "failure_rate": (20_000.0, 10_000.0, 120_000.0), "unserved": (200.0, 100.0, 1200.0)}


def test_a_point_tells_what_was_offered_achieved_and_failed_by_kind() -> None:
    table = failure_table([*load(SUBJECT, GOOD), *load(IPTABLES, BROKEN)])
    assert table is not None
    assert [head.text for head in table.heads] == [
        *("Services", "Subject", "Offered", "Achieved", "Failed", "Wrong endpoint", "Refused"),
        *("Unanswered", "Unserved", "Other", "Point"),
    ]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["100", "iptables", "100", "100", "2 %", "0", "2", "0", "200", "0", "broken"],
        ["100", "nftables", "100", "100", "0.03 %", "0", "2", "0", "0", "1", "measured"],
    ]
    assert table.rows[0][-1].detail == "in 2 of 3 repetitions"
    assert table.rows[0][-1].state == "fail"


def test_widths_have_a_column_where_there_are_several() -> None:
    table = failure_table([*load(SUBJECT, GOOD), *load(SUBJECT, GOOD, endpoints_per_service=16)])
    assert table is not None
    assert table.keys == 3
    assert [[cell.text for cell in row][:3] for row in table.rows] == [
        ["100", "2", "nftables"],
        ["100", "16", "nftables"],
    ]


def test_what_an_older_program_did_not_tell_apart_is_not_known() -> None:
    assert failure_table(load(SUBJECT, {"offered": (1.0,), "achieved": (1.0,), "failed": (0.0,)})) is None
    table = failure_table(load(SUBJECT, {"failure_rate": (0.0,)}))
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == ["100", "nftables", DASH, DASH, "0 %", *[DASH] * 5, "measured"]
