from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxybench.model import ClockKind, Mode, Subject
from proxybench.report.criteria import Figure, ratio
from proxybench.report.decision import JSON_NOTE, bound_text, decision, ratio_text, value_text
from proxybench.report.words import subject_names
from proxybench.results.manifest import manifest_from_dict
from proxybench.stats.intervals import Interval
from proxybench.stats.series import collect
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest

if TYPE_CHECKING:
    from proxybench.report.data import ReportData

TIMES = "\N{MULTIPLICATION SIGN}"
MODES = (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)
SUBJECTS = [Subject("kube-proxy", "v1.37.2", mode) for mode in MODES]
KUBE_PROXY = SUBJECTS[0]
MANIFEST = manifest_from_dict(synthetic_manifest(), "synthetic")


MS = 1e6


def figure(*values: float, bounded: bool = False) -> Figure:
    return Figure({("run", number): value for number, value in enumerate(values)}, "ns", bounded)


def test_the_largest_size_stands_first_and_the_first_subject_is_the_measure(data: ReportData) -> None:
    (title, table), *others = decision(data.series, SUBJECTS, MANIFEST).parts[0].tables
    assert title == (
        "From iptables to IPVS or userspace at 10,000 Services with 2 endpoints each on Linux 6.1.192-amd64, in work "
        "(counted instructions)"
    )
    assert len(others) == 3
    assert [head.text for head in table.heads] == ["", "iptables", "IPVS", "userspace"]
    row = next(row for row in table.rows if row[0].text == "One Service added")
    assert row[1].detail == ""
    # 28 ms + 95 µs per Service against 41 ms + 12 µs: 0.165 times, by the truth that the samples were made from.
    assert row[2].detail.startswith(f"{TIMES}0.16")


def test_every_concern_of_a_reader_is_a_row(data: ReportData) -> None:
    _, table = decision(data.series, SUBJECTS, MANIFEST).parts[0].tables[0]
    assert [row[0].text for row in table.rows][:3] == ["Cold start", "Cold start, CPU", "One Service added"]


def test_instructions_and_the_reference_are_called_what_they_are() -> None:
    frame = synthetic_frame(connects=5, sizes=(10,))
    frame["kind"], frame["version"] = "reference", "0.1.0"
    subjects = [Subject("reference", "0.1.0", mode) for mode in MODES]
    found = decision(collect(frame), subjects, MANIFEST)
    assert [head.text for head in found.parts[0].tables[0][1].heads][1:] == [
        "reference iptables",
        "reference IPVS",
        "reference userspace",
    ]
    assert found.parts[0].notes[0].startswith("Counted instructions are work, not time")
    assert found.notes[0].startswith("The reference proxier is proxybench's own self-test")


def test_nobody_can_move_to_the_reference() -> None:
    """It stood there as 0.001 times a real proxy's cost."""
    frame = synthetic_frame(connects=5, clock="wall", sizes=(10,), modes=("iptables", "ipvs", "userspace"))
    frame["kind"] = frame["kind"].cat.add_categories("reference")
    frame.loc[frame["mode"] == "userspace", "kind"] = "reference"
    reference = Subject("reference", "v1.37.2", Mode.USERSPACE)
    ((title, table),) = decision(collect(frame), [*SUBJECTS[:2], reference], MANIFEST).parts[0].tables
    assert title.startswith("From iptables to IPVS at 10 Services")
    row = next(row for row in table.rows if row[0].text == "Cold start")
    assert row[2].detail.startswith(TIMES)
    assert (row[3].detail, row[3].text[-3:]) == ("", " ms")
    ((title, _),) = decision(collect(frame), [SUBJECTS[0], reference], MANIFEST).parts[0].tables
    assert title.startswith("iptables at 10 Services")


def test_real_time_of_a_real_proxy_holds_json_and_no_more() -> None:
    found = decision(collect(synthetic_frame(connects=5, clock="wall", sizes=(10,))), SUBJECTS, MANIFEST)
    assert found.notes == (JSON_NOTE,)


def test_real_time_stands_before_instructions() -> None:
    both = [
        *collect(synthetic_frame(connects=5, clock="instructions", sizes=(10,))),
        *collect(synthetic_frame(connects=5, clock="wall", sizes=(10,))),
    ]
    parts = decision(both, SUBJECTS, MANIFEST).parts
    captions = [table.caption for part in parts for _, table in part.tables]
    assert [part.heading for part in parts] == ["Time", "Work, in counted instructions"]
    assert ["wall clock" in caption for caption in captions] == [True, False]
    assert {each.key.clock for each in both} == {ClockKind.WALL, ClockKind.INSTRUCTIONS}


def test_a_ratio_is_taken_within_each_repetition() -> None:
    found = ratio(figure(100, 200, 400), figure(150, 300, 600))
    assert found is not None
    middle, interval = found
    assert middle == pytest.approx(1.5)
    assert interval is not None
    assert interval.low == pytest.approx(1.5)
    assert interval.high == pytest.approx(1.5)


@pytest.mark.parametrize(
    "other", [figure(0, 1), figure(1, 2, bounded=True), Figure({("other", 0): 1.0}, "ns", bounded=False)]
)
def test_nothing_is_a_multiple_of_what_is_not_known(other: Figure) -> None:
    assert ratio(figure(1, 2), other) is None


def test_an_interval_between_two_sizes_may_be_wide() -> None:
    wide = (0.1, Interval(0.05, 0.2))
    assert ratio_text(wide, figure(*range(5))) == f"{TIMES}0.1 (too unsteady to tell)"
    assert ratio_text(wide, figure(*range(5)), read_off=True) == f"{TIMES}0.1 (0.05 to 0.2)"


def test_one_repetition_has_no_interval() -> None:
    assert ratio(figure(10), figure(30)) == (3.0, None)


def test_few_and_unsteady_repetitions_are_told_in_words() -> None:
    frame = synthetic_frame(connects=5, repetitions=2, sizes=(10,), modes=("iptables", "ipvs"))
    rows = (frame["metric"] == "sync.end_to_end") & (frame["mode"] == "ipvs") & (frame["scenario"] == "add-one")
    frame.loc[rows, "value"] = np.where(frame.loc[rows, "repetition"] == 0, 10**6, 10**9)
    _, table = decision(collect(frame), SUBJECTS, MANIFEST).parts[0].tables[0]
    row = next(row for row in table.rows if row[0].text == "One Service added")
    assert row[2].detail.endswith("(too unsteady to tell, 2 repetitions)")


def test_a_time_out_bounds_the_ratio_on_one_side() -> None:
    assert bound_text(figure(180e9, bounded=True), figure(15.3e9)) == f"at most {TIMES}0.085 (one repetition)"
    assert bound_text(figure(10, 10), figure(30, 30, bounded=True)) == f"at least {TIMES}3 (2 repetitions)"
    assert bound_text(figure(10, bounded=True), figure(30, bounded=True)) == ""
    assert bound_text(figure(0), figure(*[3e6] * 5, bounded=True)) == f"at least {TIMES}3,000"


def test_what_is_not_resolved_bounds_the_ratio_too() -> None:
    clear, faint = figure(10 * MS), replace(figure(0.5 * MS), uncertainty=1.5 * MS)
    assert (value_text(clear), value_text(faint), value_text(figure(0))) == ("10 ms", "≤ 2 ms", "< 1 µs")
    assert (ratio(clear, faint), ratio(faint, clear), ratio(faint, faint)) == (None, None, None)
    assert bound_text(clear, faint) == f"at most {TIMES}0.2 (one repetition)"
    assert bound_text(faint, clear) == f"at least {TIMES}5 (one repetition)"
    assert bound_text(faint, faint) == ""
    assert bound_text(figure(0), figure(2 * MS)) == f"at least {TIMES}2,000 (one repetition)"
    assert bound_text(figure(2 * MS), figure(0)) == f"at most {TIMES}1/2,000 (one repetition)"
    assert bound_text(faint, figure(4 * MS, bounded=True)) == f"at least {TIMES}2 (one repetition)"


def test_a_control_that_moved_is_told_below_the_tables() -> None:
    frame = synthetic_frame(connects=5, clock="wall", sizes=(10,), modes=("iptables", "ipvs"))
    rows = (frame["metric"] == "forwarding.bare") & (frame["mode"] == "ipvs")
    frame.loc[rows, "value"] = frame.loc[rows, "value"] * 2
    assert decision(collect(frame), SUBJECTS, MANIFEST).notes[-1] == (
        f"The control (new connection, no rules, at 10 services with 2 endpoints each) should be {TIMES}1 and is "
        f"{TIMES}2: the machine was unsteady, so read nothing into the ratios of other connections that are no further "
        "from 1"
    )


def test_that_no_cpu_is_told_stands_below_the_tables_and_its_rows_are_left_out() -> None:
    frame = synthetic_frame(connects=5, clock="wall", sizes=(10,), modes=("iptables", "ipvs"))
    told = ~frame["metric"].str.match(r"cpu\.control_loop|memory\.") | (frame["mode"] == "ipvs")
    (first, *others) = MANIFEST.subjects
    manifest = replace(MANIFEST, subjects=(replace(first, no_cpu="kube-proxy runs inside k3s-server"), *others))
    found = decision(collect(frame[told]), SUBJECTS, manifest)
    assert found.notes[-1] == (
        f"{first.subject.label}: CPU and memory of its control loop are left out: kube-proxy runs inside k3s-server"
    )
    ((_, table),) = found.parts[0].tables
    row = next(row for row in table.rows if row[0].text == "One Service added, CPU")
    assert (row[1].text, row[1].title) == ("\N{EN DASH}", "not measured")
    none = decision(collect(frame[~frame["metric"].str.match(r"cpu\.control_loop|memory\.")]), SUBJECTS, manifest)
    ((_, bare),) = none.parts[0].tables
    assert not [row for row in bare.rows if "CPU" in row[0].text]


def test_names_hold_what_tells_subjects_apart_and_no_more() -> None:
    nft = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, (("iptables", "nft"),))
    legacy = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, (("iptables", "legacy"),))
    nftables = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES)
    older = Subject("kube-proxy", "v1.33.13", Mode.NFTABLES)
    userspace = Subject("reference", "0.1.0", Mode.USERSPACE)
    assert list(subject_names([KUBE_PROXY, nftables, userspace]).values()) == [
        "iptables",
        "nftables",
        "reference userspace",
    ]
    assert list(subject_names([nft, legacy, nftables]).values()) == [
        "iptables (nft)",
        "iptables (legacy)",
        "nftables",
    ]
    assert list(subject_names([nftables, older]).values()) == [
        "kube-proxy v1.37.2 nftables",
        "kube-proxy v1.33.13 nftables",
    ]
    oldest = Subject("kube-proxy", "v1.25.0", Mode.USERSPACE)
    assert list(subject_names([nft, legacy, nftables, oldest]).values()) == [
        "iptables (nft)",
        "iptables (legacy)",
        "nftables",
        "userspace (kube-proxy v1.25.0)",
    ]
    command = Subject("command", "v1", Mode.USERSPACE)
    for alike, names in {
        (nftables, oldest): ["kube-proxy v1.37.2 nftables", "kube-proxy v1.25.0 userspace"],
        (legacy, nftables, command): [
            "kube-proxy v1.37.2 iptables",
            "kube-proxy v1.37.2 nftables",
            "command v1 userspace",
        ],
    }.items():
        assert list(subject_names(alike).values()) == names


def test_the_size_of_a_replay_is_told_to_be_a_profile_s() -> None:
    frame = synthetic_frame(connects=2, sizes=(10,))
    frame["profile"] = frame["profile"].cat.rename_categories({"": "e5ff12106824"})
    (title, _), *_ = decision(collect(frame), SUBJECTS, MANIFEST).parts[0].tables
    assert (
        " at 10 Services with 2 endpoints each on the average, in the shape of profile e5ff12106824 on Linux" in title
    )


def test_what_fell_into_a_single_window_tells_no_bound() -> None:
    none, some = (Figure({("run", 0): ns}, "ns", bounded=False, uncertainty=1_000) for ns in (0.0, 5_000_000.0))
    assert bound_text(none, some) == f"at least {TIMES}5,000 (one repetition)"
    assert bound_text(replace(none, watched=True), some) == ""
