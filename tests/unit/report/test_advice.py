from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from proxybench.errors import UsageError
from proxybench.model import ClockKind, Mode, Subject
from proxybench.report.advice import advise, find_subject
from proxybench.report.data import ReportData, gather
from proxybench.results.manifest import manifest_from_dict
from tests.unit.report.synthetic import synthetic_frame, synthetic_manifest

if TYPE_CHECKING:
    from proxybench.report.advice import Advice, Change

IPTABLES, IPVS, USERSPACE = (
    Subject("kube-proxy", "v1.37.2", mode) for mode in (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)
)
NFT = replace(IPTABLES, settings=(("iptables", "nft"),))


@pytest.fixture(scope="module")
def wall() -> ReportData:
    return gather(frame(), manifest_from_dict(synthetic_manifest("wall"), "synthetic"))


def frame(**changes: Any) -> pd.DataFrame:
    return synthetic_frame(connects=5, clock="wall", **changes)


def told(data: ReportData, services: int, endpoints: int | None = None) -> Advice:
    (found,) = advise(data, IPTABLES, IPVS, services, endpoints)
    return found


def change(advice: Advice, title: str) -> Change:
    return next(each for each in advice.changes if each.title == title)


@pytest.mark.parametrize("name", ["ipvs", "IPVS", "kube-proxy v1.37.2 ipvs"])
def test_a_subject_is_named_by_its_mode_or_its_label(name: str) -> None:
    assert find_subject(name, [IPTABLES, IPVS]) == IPVS


def test_of_two_of_one_mode_the_label_decides() -> None:
    assert find_subject("kube-proxy v1.37.2 iptables (iptables=nft)", [IPTABLES, NFT, IPVS]) == NFT
    with pytest.raises(UsageError) as caught:
        find_subject("iptables", [IPTABLES, NFT, IPVS])
    assert str(caught.value) == (
        'iptables: 2 subjects of this run are of that mode; name one of "kube-proxy v1.37.2 iptables" and '
        '"kube-proxy v1.37.2 iptables (iptables=nft)"'
    )


def test_a_subject_that_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(UsageError) as caught:
        find_subject("iptable", [IPTABLES, IPVS])
    assert str(caught.value) == (
        "iptable: no subject of this run (did you mean iptables?); it has "
        '"kube-proxy v1.37.2 iptables" and "kube-proxy v1.37.2 ipvs"'
    )


def test_a_measured_size_is_told_as_measured(wall: ReportData) -> None:
    found = told(wall, 1000)
    assert (found.between, found.services, found.endpoints) == (None, 1000, 2)
    added = change(found, "One Service added")
    assert added.ratio is not None
    # 28 ms + 95 µs per Service against 41 ms + 12 µs, by the truth that the samples were made from
    assert added.ratio[0] == pytest.approx(53 / 123, rel=0.05)
    assert found.not_measured == ()


def test_a_size_between_two_is_read_off_with_an_interval_over_both(wall: ReportData) -> None:
    found = told(wall, 3000)
    assert found.between == (1000, 10_000)
    low, middle, high = (change(told(wall, size), "One Service added") for size in (1000, 3000, 10_000))
    assert low.ratio is not None
    assert high.ratio is not None
    assert middle.ratio is not None
    assert high.ratio[0] < middle.ratio[0] < low.ratio[0]
    assert middle.ratio[1] is not None
    assert low.ratio[0] in middle.ratio[1]
    assert high.ratio[0] in middle.ratio[1]


def test_what_does_not_grow_with_size_is_not_read_off() -> None:
    samples = frame(sizes=(100, 1000))
    waits = (samples["metric"] == "sync.end_to_end") & (samples["scenario"] == "add-one")
    samples.loc[waits, "value"] = np.where(samples.loc[waits, "services"] == 100, 10**9, 10**7)
    found = told(gather(samples, manifest_from_dict(synthetic_manifest("wall"), "synthetic")), 300)
    added = change(found, "One Service added")
    assert (added.base, added.ratio) == (None, None)
    assert added.missing == "no line: it waits, or works in another way, at one of the two sizes"


@pytest.mark.parametrize(("services", "nearest"), [(20_000, "10,000"), (5, "10")])
def test_nothing_is_said_beyond_what_was_measured(wall: ReportData, services: int, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        told(wall, services)
    assert str(caught.value) == (
        f"{services:,} Services with 2 endpoints each: both subjects were measured at 10, 100, 1,000 and 10,000, and "
        f"nothing is said beyond these; the nearest is {nearest}"
    )


def test_no_line_is_drawn_over_more_than_a_factor_of_ten() -> None:
    data = gather(frame(sizes=(10, 1000)), manifest_from_dict(synthetic_manifest("wall"), "synthetic"))
    with pytest.raises(
        UsageError, match=r"the nearest measured sizes are 10 and 1,000, too far apart \(over 10 times\)"
    ):
        told(data, 100)


def test_other_endpoints_than_measured_are_refused(wall: ReportData) -> None:
    with pytest.raises(UsageError) as caught:
        told(wall, 1000, endpoints=7)
    assert str(caught.value) == "no size with 7 endpoints per Service was measured for both subjects"


def test_a_control_that_moved_is_told() -> None:
    samples = frame(sizes=(100,))
    bare = (samples["metric"] == "forwarding.bare") & (samples["mode"] == "ipvs")
    samples.loc[bare, "value"] = samples.loc[bare, "value"] * 2
    found = told(gather(samples, manifest_from_dict(synthetic_manifest("wall"), "synthetic")), 100)
    assert found.notes[-1].startswith(
        "the control (new connection, no rules) should be \N{MULTIPLICATION SIGN}1 and is"
    )


def test_counted_instructions_are_told_as_work(data: ReportData) -> None:
    (found,) = advise(data, IPTABLES, IPVS, 1000, None)
    assert found.notes[0].startswith("Counted instructions are work, not time")


def test_of_a_mode_without_real_time_work_alone_is_told() -> None:
    both = [frame(sizes=(100,), modes=("iptables",)), synthetic_frame(connects=5, sizes=(100,))]
    samples = pd.concat([each.astype({"clock": str, "mode": str}) for each in both], ignore_index=True)
    (found,) = advise(gather(samples, manifest_from_dict(synthetic_manifest(), "synthetic")), IPTABLES, IPVS, 100, None)
    assert found.clock is ClockKind.INSTRUCTIONS
    assert found.not_measured[-1] == "by the wall clock: kube-proxy v1.37.2 ipvs: not measured"


def test_both_sides_must_differ(wall: ReportData) -> None:
    with pytest.raises(UsageError, match="both sides are the same"):
        advise(wall, IPVS, IPVS, 1000, None)


def test_what_was_not_measured_of_the_pair_at_that_size_is_told(wall: ReportData) -> None:
    assert told(wall, 10_000).not_measured == (
        "kube-proxy v1.37.2 iptables at 10,000 Services, repetition 3: the canary <b>did not</b> answer within 20 s",
    )


def test_that_no_cpu_is_told_is_a_note(wall: ReportData) -> None:
    subjects = tuple(replace(each, no_cpu="it shares its cgroup") for each in wall.manifest.subjects[:1])
    manifest = replace(wall.manifest, subjects=(*subjects, *wall.manifest.subjects[1:]))
    note = f"{subjects[0].subject.label}: CPU and memory of its control loop are left out: it shares its cgroup"
    assert note in told(replace(wall, manifest=manifest), 1_000).notes
    assert not [line for line in told(wall, 1_000).notes if "left out" in line]
