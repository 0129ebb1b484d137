from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console

from proxybench.cli.headline import few_repetitions, headline_table

if TYPE_CHECKING:
    from collections.abc import Sequence


def record(mode: str, metric: str, scenario: str, position: str, median: float, **changes: Any) -> dict[str, object]:
    return {
        "kind": "kube-proxy",
        "version": "v1.37.2",
        "mode": mode,
        "settings": "",
        "metric": metric,
        "scenario": scenario,
        "position": position,
        "median": median,
        "services": 10_000,
        "endpoints_per_service": 2,
        "unit": "ns",
        "clock": "instructions",
        **changes,
    }


def lines(records: Sequence[dict[str, object]]) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100).print(headline_table(records))
    return [line.rstrip() for line in out.getvalue().splitlines()]


RECORDS = [
    each
    for mode in ("iptables", "ipvs", "userspace", "nftables")
    for each in (
        record(mode, "sync.end_to_end", "cold-start", "last", 7.07e9),
        record(mode, "sync.end_to_end", "add-one", "last", 382_000),
        record(mode, "cpu.control_loop", "cold-start", "none", 988e6),
        record(mode, "forwarding.connect", "steady", "first", 70_300),
        record(mode, "forwarding.connect", "steady", "last", 590_000),
    )
]


def test_each_row_names_its_scenario_and_four_modes_fit_into_100_columns() -> None:
    assert lines(RECORDS) == [
        "Services  endpoints  median (instructions)                iptables   IPVS  userspace  nftables",
        "   10000          2  sync, add-one                           382 k  382 k      382 k     382 k",
        "   10000          2  CPU of the control loop, cold-start     988 M  988 M      988 M     988 M",
        "   10000          2  new connection, last position           590 k  590 k      590 k     590 k",
    ]


def test_two_clocks_are_told_apart_in_each_row() -> None:
    mixed = [*RECORDS[:2], record("iptables", "forwarding.connect", "steady", "last", 1000, clock="wall")]
    assert [line[21:57].rstrip() for line in lines(mixed)] == [
        "median",
        "new connection, last position (wall)",
        "sync, add-one (instructions)",
    ]


def test_few_repetitions_are_counted() -> None:
    few, enough = (record("ipvs", "forwarding.connect", "steady", "last", 1.0, repetitions=each) for each in (4, 5))
    assert few_repetitions([enough]) == ()
    assert few_repetitions([few, enough]) == ("1 of 2 numbers rest on fewer than 5 repetitions",)


def test_a_time_out_is_a_bound() -> None:
    def value(samples: int, late: int) -> str:
        how = {"clock": "wall", "n": samples, "censored": late}
        return lines([record("ipvs", "sync.end_to_end", "add-one", "last", 20e9, **how)])[1].split("  ")[-1].strip()

    assert [value(5, late) for late in (0, 2, 3, 5)] == ["20 s", "20 s", "> 20 s", "> 20 s"]


def test_a_cold_start_that_has_answered_and_is_not_all_written_shows_both() -> None:
    answered = record("ipvs", "sync.end_to_end", "cold-start", "last", 22.5e9, n=1, censored=0)
    late = record("ipvs", "sync.programmed", "cold-start", "none", 38.2e9, n=1, censored=1)
    assert [" ".join(line.split()) for line in lines([answered, late])[1:]] == [
        "10000 2 sync, cold-start 22.5 G",
        "10000 2 all written, cold-start > 38.2 G",
    ]


def test_what_is_not_resolved_is_told_as_what_it_is_less_than() -> None:
    row = lines([record("ipvs", "sync.end_to_end", "add-one", "last", 0.0, clock="wall", uncertainty=1_200_000.0)])[1]
    assert row.split("  ")[-1].strip() == "≤ 1.2 ms"
    row = lines([record("ipvs", "cpu.control_loop", "idle", "none", 0.0)])[1]
    assert row.endswith("< 1 k")
