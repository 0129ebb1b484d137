"""The pages say what the committed summaries say; a run condenses to what its tables need, and reads again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.calibration import KINDS, calibration
from benchmarks.condensed import FOLDER, Condensed, Number, _read, _row, load, save
from benchmarks.pages import committed, findings, pages, readme, shown
from proxybench.model import Mode, Subject
from proxybench.report.words import DASH

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, (("iptables", "legacy"),))
NFTABLES = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES)
LIMIT = 200_000


def number(metric: str, median: float, subject: Subject = LEGACY, **changes: object) -> Number:
    scenario = "steady" if metric.startswith("forwarding.") else "cold-start"
    position = "last" if metric == "forwarding.connect" else "none"
    made = Number(subject, (100, 2), scenario, position, metric, "ns", "wall", 3, median, None, None, bounded=False)
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


RUN = Condensed(
    name="native",
    run="20260101T000000Z-abcdef",
    created="2026-01-01",
    state="complete",
    proxybench="0.1.0",
    command="proxybench run experiments/native.yaml",
    description="A run.",
    machine="2 processors",
    labs=("wall clock, network namespaces on Linux 6.18", "instruction clock, an emulated VM of Linux 6.1"),
    missing=("kube-proxy v1.37.2 ipvs at 100 Services: no ip_vs",),
    numbers=(
        number("sync.end_to_end", 2e9, bounded=True),
        number("forwarding.connect", 20_000.0),
        number("forwarding.bare", 10_000.0),
        number("forwarding.connect", 12_000.0, NFTABLES),
        number("forwarding.connect", 90_000.0, clock="instructions"),
        number("forwarding.bare", 50_000.0, clock="instructions"),
    ),
)


@pytest.mark.parametrize("path", [*pages(committed())], ids=lambda path: path.name)
def test_pages_say_what_the_committed_summaries_say(path: Path) -> None:
    assert path.read_text("utf-8") == pages(committed())[path], "run: make findings"


def test_what_is_committed_is_small_and_of_whole_runs() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) <= LIMIT
    assert {name: run.state for name, run in committed().items()} == dict.fromkeys(committed(), "complete")


def test_what_is_committed_reads_again(tmp_path: Path) -> None:
    assert load(save(RUN, tmp_path)) == RUN


def test_real_time_comes_first_and_work_has_no_seconds() -> None:
    text = findings({"native": RUN})
    time, work = text.split("### kube-proxy v1.37.2 on Linux 6.1: work, in counted instructions")
    assert time.startswith("### kube-proxy v1.37.2 on Linux 6.18: time\n")
    assert f"| 100 | cold start, until all probed Services answer | > 2 s | {DASH} |" in time
    assert "|  | new connection to the last rule, connect() | 20 µs | 12 µs |" in time
    assert "- a new connection through the last rule: 20 µs (iptables), 12 µs (nftables)" in time
    assert "- kube-proxy v1.37.2 ipvs at 100 Services: no ip_vs" in time
    assert "| 100 | new connection to the last rule, connect(), instructions | 90 k |" in work
    assert "µs" not in work


def test_no_two_sections_have_one_title() -> None:
    titles = [line for line in findings(committed()).splitlines() if line.startswith("### ")]
    assert len(titles) == len(set(titles))
    assert "### kube-proxy v1.37.2 on Linux 6.12: work, in counted instructions" in titles


def test_of_several_releases_each_mode_has_a_table_of_its_own() -> None:
    older = replace(LEGACY, version="v1.30.14")
    numbers = (*RUN.numbers[1:4], number("forwarding.connect", 19_000.0, older))
    text = findings({"kube-proxy": replace(RUN, numbers=numbers)})
    assert "| Services |  | kube-proxy v1.30.14 iptables | kube-proxy v1.37.2 iptables |" in text
    assert "| 100 | new connection to the last rule, connect() | 19 µs | 20 µs |" in text
    assert "| Services |  | kube-proxy v1.37.2 nftables |" in text
    assert "At 100 Services:" not in text


def test_a_change_that_was_in_force_before_it_was_acknowledged_took_no_0_ns() -> None:
    assert number("sync.end_to_end", 0.0).text() == "at once"
    assert number("cpu.control_loop", 0.0).text() == "< 1 µs"
    assert replace(number("sync.end_to_end", 0.0), uncertainty=1_200_000.0).text() == "≤ 1.2 ms"
    assert replace(number("sync.end_to_end", 5e6), uncertainty=1_200_000.0).text() == "5 ms"


def test_what_a_number_is_uncertain_by_is_committed_with_it() -> None:
    known = replace(number("sync.end_to_end", 5e6), uncertainty=1_200_000.0)
    assert [_read(json.loads(json.dumps(_row(each)))) for each in (known, RUN.numbers[0])] == [known, RUN.numbers[0]]
    assert len(_row(known)) == len(_row(RUN.numbers[0])) + 1


def test_the_front_page_says_where_its_numbers_are_from() -> None:
    assert readme(RUN).startswith(
        "By the wall clock, network namespaces on Linux 6.18; 2 processors; 2026-01-01; 2 endpoints per Service, "
        "medians of 3 repetitions, so small differences are not to be read from it.\n\n| Services |"
    )


def test_one_repetition_is_no_median() -> None:
    once = replace(RUN, numbers=tuple(replace(each, repetitions=1) for each in RUN.numbers))
    assert "endpoints per Service, one repetition, so small differences" in readme(once)


def test_a_calibration_has_both_clocks_and_their_ratio() -> None:
    lines = calibration(RUN).splitlines()
    assert "| a connect without rules | iptables | 100 | 10 µs | 50 k | 5 |" in lines
    assert "| the walk along n Services' rules | iptables | 100 | 10 µs | 40 k | 4 |" in lines
    assert not [line for line in lines if "walk" in line and "nftables" in line]
    assert "| a connect to the last Service | iptables | 100 | 20 µs | 90 k | 4.5 |" in lines
    assert f"|  | nftables | 100 | 12 µs | {DASH} | {DASH} |" in lines


def test_a_calibration_keeps_what_its_table_needs_and_others_what_theirs_do() -> None:
    assert {(kind.metric, kind.scenario) for kind in KINDS} <= shown("calibrate")
    assert ("sync.end_to_end", "new-service") in shown("native")
    assert ("sync.end_to_end", "new-service") not in shown("calibrate")
