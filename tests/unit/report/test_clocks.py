"""A run by two clocks: each chapter by one clock, and both side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from proxybench.model import ClockKind, Mode, Subject
from proxybench.report.clocks import by_clock, chapters_by_clock, side_by_side
from proxybench.report.data import gather
from proxybench.report.decision import decision
from proxybench.report.page import write_report
from proxybench.report.words import DASH, IDLE_COUNTS
from proxybench.results.manifest import manifest_from_dict
from tests.unit.report.made import SUBJECT, series
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path

IPVS = Subject("kube-proxy", "v1.37.2", Mode.IPVS)
HEADINGS = {
    "Time to connect": "Instructions to connect",
    "Time to the first byte": "Instructions to the first byte",
    "Memory of the control loop": "Memory of the control loop, where instructions were counted",
}
WAITING = {f"{name}-instructions" for name in ("waiting-and-work", "sync-end-to-end", "sync-control-loop")}
PAIR = [
    series("cpu.control_loop", "add-one", 10e6, 12e6, 14e6),
    series("cpu.control_loop", "add-one", 48e6, clock="instructions"),
    series("cpu.control_loop", "add-one", 230e6, subject=IPVS, clock="instructions"),
    series("memory.resident", "cold-start", 60e6, unit="bytes"),
]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.concat([synthetic_frame(connects=5, clock=clock, sizes=(10, 100)) for clock in ("wall", "instructions")])


def test_the_same_thing_stands_by_both_clocks_and_a_missing_mode_by_one() -> None:
    ((title, table),) = side_by_side(PAIR, [SUBJECT, IPVS])
    assert title == "At 100 Services with 2 endpoints each"
    assert [head.text for head in table.heads] == ["", "Subject", "Real time", "Work", "Instructions per ns"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["One Service added, CPU", "nftables", "12 ms", "48 M", "4"],
        ["One Service added, CPU", "IPVS", DASH, "230 M", DASH],
    ]


def test_a_latency_has_no_instructions_per_ns_since_it_waits() -> None:
    both = [series("sync.end_to_end", "add-one", 12e6, clock=clock, position="last") for clock in ClockKind]
    ((_, table),) = side_by_side(both, [SUBJECT])
    assert [[(cell.text, cell.title) for cell in row[2:]] for row in table.rows] == [
        [("12 ms", "12,000,000 ns"), ("12 M", "12,000,000 instructions"), (DASH, "waits are in it, which are no work")]
    ]


def test_one_clock_has_nothing_beside_it() -> None:
    assert side_by_side(PAIR[:1], [SUBJECT]) == []


def test_chapters_are_of_one_clock_and_those_of_work_say_so(frame: pd.DataFrame) -> None:
    data = gather(frame, manifest_from_dict(synthetic_manifest(), "synthetic"))
    assert [part.clocks for part in by_clock(data)] == [("wall",), ("instructions",)]
    chapters = {chapter.name: chapter for chapter in chapters_by_clock(data)}
    work = {name: chapter for name, chapter in chapters.items() if name.endswith("-instructions")}
    assert list(chapters)[-len(work) :] == list(work)
    for name, chapter in work.items():
        time = chapters[name.removesuffix("-instructions")]
        assert chapter.heading == HEADINGS.get(time.heading, f"{time.heading}, in instructions")
        assert "instruction" not in time.clock
        assert (IDLE_COUNTS in chapter.lead, IDLE_COUNTS in time.lead) == (name in WAITING, False)
        assert "wall" not in chapter.clock


def test_the_first_screen_says_which_of_its_tables_are_work(frame: pd.DataFrame) -> None:
    data = gather(frame, manifest_from_dict(synthetic_manifest(), "synthetic"))
    parts = decision(data.series, data.subjects, data.manifest).parts
    titles = [title for part in parts for title, _ in part.tables]
    assert titles == [
        f"From iptables to IPVS or userspace at {size} Services with 2 endpoints each on Linux 6.1.192-amd64, {by}"
        for by in ("by the wall clock", "in work (counted instructions)")
        for size in (100, 10)
    ]


def test_each_clock_has_its_own_kernel_and_a_mode_that_only_one_has_is_told(frame: pd.DataFrame) -> None:
    nodes = {f"node-1 ({clock})": {"kernel": kernel} for clock, kernel in (("wall", "6.18"), ("instructions", "6.1"))}
    native = {"kind": "netns", "clock": "wall", "accelerator": "none", "why": "w", "kernel": None}
    manifest = synthetic_manifest(fingerprint={"orchestrator": {}, "nodes": nodes}, other_labs=[native])
    natively = (frame["clock"] == "instructions") | (frame["mode"] != "ipvs")
    data = gather(frame[natively], manifest_from_dict(manifest, "synthetic"))
    found = decision(data.series, data.subjects, data.manifest)
    size = "at 100 Services with 2 endpoints each"
    assert [part.tables[0][0] for part in found.parts] == [
        f"From iptables to userspace {size} on Linux 6.18, by the wall clock",
        f"From iptables to IPVS or userspace {size} on Linux 6.1, in work (counted instructions)",
    ]
    assert found.parts[0].notes == ()
    assert found.parts[1].notes[1] == (
        "Of IPVS only work is known: the wall clock could not measure it here (see Not measured), so nothing tells how "
        "long it takes."
    )


def test_the_page_of_both_clocks_names_both_labs(tmp_path: Path, frame: pd.DataFrame) -> None:
    native = {"kind": "netns", "clock": str(ClockKind.WALL), "accelerator": "none", "why": "w", "kernel": None}
    folder = synthetic_run(tmp_path, frame, other_labs=[native])
    page = write_report(folder.path).read_text("utf-8")
    assert "<span>vm lab (tcg)</span>" in page
    assert "<span>netns lab</span>" in page
    assert "Both clocks, side by side" in page
    assert (folder.path / "figures/connect-instructions.png").is_file()
