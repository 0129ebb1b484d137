"""What the pages say in sentences is what the committed summaries hold, and only busy time is called work."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from benchmarks.calibration import KINDS, _value
from benchmarks.condensed import HOME
from benchmarks.pages import WORK_ROWS, committed, shown
from proxybench.model import Metric, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.condensed import Condensed, Number

NEW, OLD, BACKENDS = "v1.37.2", "v1.30.14", ("legacy", "nft")
RELEASES = (OLD, "v1.33.13", "v1.36.3", NEW)
COLD, ADDED = ("cpu.control_loop", "cold-start"), ("cpu.control_loop", "add-one")
READY, ADDING, LATE = (("sync.end_to_end", scenario) for scenario in ("cold-start", "add-one", "new-service"))
CONNECT, DIRECT = (("forwarding.connect", "steady"), ("forwarding.direct", "steady"))
RESIDENT = ("memory.resident", "cold-start")
MODES = {"legacy": (Mode.IPTABLES, "legacy"), "nft": (Mode.IPTABLES, "nft")}
MODES |= {"ipvs": (Mode.IPVS, ""), "nftables": (Mode.NFTABLES, "")}


@cache
def summaries() -> dict[str, Condensed]:
    return committed()


def text(name: str) -> str:
    return " ".join((HOME / name).read_text("utf-8").replace("\n#", "\n").split())


def median(run: str, what: tuple[str, str], services: int, mode: str, version: str = NEW) -> float:
    """Return the one number of that place, by the clock that the run has."""
    wanted, backend = MODES[mode]
    (found,) = {
        each.median
        for each in summaries()[run].numbers
        if (each.metric, each.scenario) == what and (each.size[0], each.subject.version) == (services, version)
        if each.subject.mode is wanted and backend in {"", dict(each.subject.settings).get("iptables")}
        if each.position in {"last", "none"} and not each.bounded
    }
    return found


def apart(pairs: Iterable[tuple[float, float]]) -> float:
    """Return by how much the members of these pairs differ at most."""
    return max(max(pair) / min(pair) - 1 for pair in pairs)


@pytest.mark.parametrize("name", [*committed()])
def test_what_is_committed_is_shown(name: str) -> None:
    """A sync's parts by the log, of v1.30.14 those of its idle family, are shown of no run, and kept of none."""
    numbers: Sequence[Number] = summaries()[name].numbers
    assert {(each.metric, each.scenario) for each in numbers} <= shown(name)
    assert not {each.metric for each in numbers} & {"sync.before", "sync.making", "sync.applying", "sync.control_loop"}


@pytest.mark.parametrize("metric", sorted({row[1] for row in WORK_ROWS} | {kind.metric for kind in KINDS}))
def test_what_is_called_work_waits_for_nothing(metric: str) -> None:
    (about,) = (each.about for each in Metric if each == metric)
    assert about.busy or about.unit == "bytes"


@pytest.mark.parametrize("name", ["docs/decisions.md", "experiments/native.yaml"])
def test_how_far_the_backends_of_iptables_are_apart(name: str) -> None:
    legacy, nft = (median("native", READY, 10_000, backend) for backend in BACKENDS)
    assert f"a factor of {nft / legacy:.0f}" in text(name)
    assert f"({nft / legacy:.0f} times)" in text("docs/findings.md")
    assert legacy < median("native", READY, 10_000, "nftables") < nft


def test_one_added_service_in_nftables_mode() -> None:
    times = [median("releases", ADDING, 1_000, "nftables", version) for version in RELEASES]
    work = [float(f"{median('kube-proxy', ADDED, 1_000, 'nftables', version):.3g}") for version in RELEASES]
    page = text("docs/findings.md")
    assert f"A Service is added {times[0] / times[-1]:.0f} times quicker in nftables mode" in page
    assert f"({', '.join(f'{each / 1e6:.0f}' for each in times[:-1])}, then {times[-1] / 1e6:.0f} ms" in page
    assert f"by CPU {', '.join(f'{each / 1e6:,.0f}' for each in work[:-1])}, then {work[-1] / 1e6:.0f} million" in page
    legacy = {f"{median('releases', ADDING, 1_000, 'legacy', version) / 1e6:.0f}" for version in RELEASES}
    assert legacy == {"34"}


def test_a_new_service_waits_from_1_36_on() -> None:
    modes = (*BACKENDS, "nftables")
    before, after = (
        sorted(median("releases", LATE, 100, mode, version) / 1e6 for mode in modes for version in versions)
        for versions in (RELEASES[:2], RELEASES[2:])
    )
    assert f"after {before[0]:.0f} to {before[-1]:.0f} ms at 100 Services" in text("docs/findings.md")
    assert 1_000 <= after[0] <= after[-1] < 1_100


def test_ipvs_against_the_other_modes() -> None:
    page = text("docs/findings.md")
    cold, added = (
        [median("scale", what, 1_000, mode) for mode in ("ipvs", "nftables", "legacy")] for what in (COLD, ADDED)
    )
    words = "is {:.1f} billion instructions, {:.1f} in nftables mode and {:.1f} in iptables mode"
    assert words.format(*(each / 1e9 for each in cold)) in page
    assert "a Service added {:.0f} million ({:.0f}, {:.0f})".format(*(each / 1e6 for each in added)) in page
    for size in (10, 100, 1_000):
        pair = {
            what: [median("scale", what, size, mode) for mode in ("ipvs", "nftables")]
            for what in (COLD, ADDED, CONNECT, DIRECT, RESIDENT)
        }
        assert all(pair[what][0] > pair[what][1] for what in (COLD, ADDED, CONNECT))
        assert pair[DIRECT][1] / pair[DIRECT][0] < 1.01
        assert pair[RESIDENT][1] / pair[RESIDENT][0] < 1.04
    for what in (COLD, ADDED):
        every = [median("kube-proxy", what, 1_000, "ipvs", version) for version in RELEASES]
        assert max(every) / min(every) < 1.1


def test_two_kernels_and_two_runs() -> None:
    whats, modes = (COLD, ADDED, CONNECT), ("legacy", "ipvs", "nftables")
    here = {(what, mode): median("linux-6-12", what, 1_000, mode) for what in whats for mode in modes}
    assert apart((value, median("kube-proxy", what, 1_000, mode)) for (what, mode), value in here.items()) < 0.03
    last = [median("scale", ADDED, 1_000, "legacy"), here[ADDED, "legacy"]]
    assert f"by {100 * apart([(last[0], last[1])]):.0f} % (a Service added, iptables)" in text("docs/findings.md")
    assert apart([(last[0], median("kube-proxy", ADDED, 1_000, "legacy"))]) >= apart([(last[0], last[1])])
    legacy, nft = (median("linux-6-12", CONNECT, 1_000, backend) / 1e3 for backend in BACKENDS)
    assert f"({nft:.0f} against {legacy:.0f} thousand instructions)" in text("docs/findings.md")
    assert nft > 2 * legacy


def test_how_many_instructions_a_nanosecond_held() -> None:
    run = summaries()["calibrate"]
    subjects, sizes = {each.subject for each in run.numbers}, {each.size for each in run.numbers}
    held = {}
    for kind in KINDS:
        values = [
            work / wall
            for subject in subjects
            for size in sizes
            for wall, work in [[_value(kind, run.by(clock), subject, size) for clock in ("wall", "instructions")]]
            if wall and work
        ]
        held[kind.title] = f"{min(values):.2g} to {max(values):.2g}"
    walk, sync, cold = (
        held[title] for title in ("the walk along n Services' rules", "a sync of one Service, CPU", "a cold start, CPU")
    )
    said = (
        f"held {walk} instructions of a walk along rules, {sync} of the CPU of a sync of one Service and {cold} of that"
    )
    assert f"{said} of a cold start." in text("docs/calibration.md")
    least, most = walk.split(" to ")
    assert f"held from {least} instructions of a walk along iptables' rules to {most}" in text("docs/findings.md")


def test_how_long_a_calibration_takes() -> None:
    (minutes,) = re.findall(r"by both clocks \((\d+) minutes\)", (HOME / "Makefile").read_text("utf-8"))
    assert f"in about {minutes} minutes" in text("docs/calibration.md")
