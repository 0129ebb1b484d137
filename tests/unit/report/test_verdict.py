from __future__ import annotations

from dataclasses import replace

from proxybench.model import Scenario
from proxybench.report.data import ReportData, gather
from proxybench.report.verdict import QUESTIONS, USERSPACE_NOTE, verdict
from proxybench.results.manifest import manifest_from_dict
from tests.unit.report.conftest import make_record
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest


def test_the_answer_in_words(data: ReportData) -> None:
    assert verdict(data).lines == (
        "Syncs fastest (one Service added): iptables at 10 to 100; IPVS at 1,000 to 10,000 Services.",
        "Starts fastest (cold start with N Services): iptables at every size measured (10 to 10,000).",
        (
            "Costs least CPU (control loop, one Service added): no clear winner between iptables and IPVS at 10;"
            " IPVS at 100 to 10,000 Services."
        ),
        "Adds least latency (connect(), last rule): IPVS at every size measured (10 to 10,000).",
        "Answers soonest (first byte, last rule): IPVS at every size measured (10 to 10,000).",
    )


def test_the_crossover_holds_the_truth(data: ReportData) -> None:
    title, lines = verdict(data).crossings[0]
    assert title == "Syncs fastest (one Service added)"
    # The synthetic lines meet at (41 - 28) ms / (95 - 12) µs = 157 Services; log-log lines between sizes bend that.
    assert lines[0].startswith("IPVS overtakes iptables at about 1")
    assert lines[-1] == "No crossing: iptables is below userspace at every size up to 10,000"


def test_userspace_never_wins_connect(data: ReportData) -> None:
    result = verdict(data)
    assert result.table is not None
    assert {row[4].mode for row in result.table.rows} == {"ipvs"}
    assert result.notes == (USERSPACE_NOTE,)


def cells(*records: object) -> list[tuple[str, str]]:
    empty = gather(synthetic_frame(connects=1).iloc[:0], manifest_from_dict(synthetic_manifest(), "synthetic"))
    table = verdict(replace(empty, records=records)).table  # type: ignore[arg-type]  # records of one test
    assert table is not None
    return [(row[1].text, row[1].detail) for row in table.rows]


FAST = make_record(mode="ipvs", median=50e6, ci_low=48e6, ci_high=52e6)


def test_beside_the_winner_stands_the_next_and_how_far_above_it_is() -> None:
    assert cells(FAST, make_record()) == [("IPVS", "50 ms\nnext iptables 100 ms (2.0\N{MULTIPLICATION SIGN})")]
    near = make_record(median=60e6, ci_low=58e6, ci_high=62e6)
    assert cells(FAST, near) == [("IPVS", "50 ms\nnext iptables 60 ms (+20\N{NO-BREAK SPACE}%)")]
    far = make_record(median=2e9, ci_low=2e9, ci_high=2e9)
    assert cells(FAST, far) == [("IPVS", "50 ms\nnext iptables 2 s (40\N{MULTIPLICATION SIGN})")]


def test_added_latencies_are_told_apart_by_their_difference() -> None:
    added = {"metric": "forwarding.added", "scenario": "steady"}
    first = make_record(median=15_100.0, ci_low=15_000.0, ci_high=15_200.0, **added)
    second = make_record(mode="ipvs", median=24_900.0, ci_low=24_800.0, ci_high=25_000.0, **added)
    assert cells(first, second) == [
        ("iptables", "+15.1 µs\nnext IPVS +24.9 µs (9.8\N{NO-BREAK SPACE}µs\N{NO-BREAK SPACE}more)")
    ]


def test_nothing_is_a_multiple_of_zero() -> None:
    at_once = make_record(mode="ipvs", median=0.0, ci_low=0.0, ci_high=0.0)
    assert cells(at_once, make_record()) == [("IPVS", "0 ns\nnext iptables 100 ms")]


def test_a_batch_is_ranked_in_no_question() -> None:
    assert {question.scenario for question in QUESTIONS} == {"add-one", "cold-start", "steady"}
    batch = [replace(record, scenario=Scenario.ADD_BATCH) for record in (FAST, make_record())]
    empty = gather(synthetic_frame(connects=1).iloc[:0], manifest_from_dict(synthetic_manifest(), "synthetic"))
    assert verdict(replace(empty, records=tuple(batch))).table is None


def test_overlapping_intervals_name_no_winner() -> None:
    near = make_record(median=51e6, ci_low=49e6, ci_high=53e6)
    assert cells(FAST, near) == [("IPVS ≈ iptables", "50 ms\nintervals overlap")]


def test_a_time_out_loses_by_at_least() -> None:
    late = make_record(median=1e9, ci_low=None, ci_high=None, censored=5)
    assert cells(FAST, late) == [
        ("IPVS", "50 ms\nnext iptables ≥ 1 s (at\N{NO-BREAK SPACE}least\N{NO-BREAK SPACE}20\N{MULTIPLICATION SIGN})")
    ]
    assert cells(late) == [("\N{EN DASH}", "time-outs only")]


def test_a_mode_alone_wins_nothing() -> None:
    assert cells(FAST) == [("IPVS", "50 ms\nnothing to compare with")]


def test_one_repetition_names_no_winner() -> None:
    once = [
        make_record(mode=mode, median=value, ci_low=None, ci_high=None, n=1, repetitions=1)
        for mode, value in (("ipvs", 50e6), ("iptables", 100e6))
    ]
    assert cells(*once) == [("\N{EN DASH}", "one repetition\nlowest: IPVS 50 ms")]
    empty = gather(synthetic_frame(connects=1).iloc[:0], manifest_from_dict(synthetic_manifest(), "synthetic"))
    assert verdict(replace(empty, records=tuple(once))).lines == (
        "Syncs fastest (one Service added): not known (one repetition) at 1,000 Services.",
    )


def test_without_records_there_is_no_table() -> None:
    empty = gather(synthetic_frame(connects=1).iloc[:0], manifest_from_dict(synthetic_manifest(), "synthetic"))
    result = verdict(empty)
    assert (result.lines, result.table, result.crossings, result.notes) == ((), None, (), ())
