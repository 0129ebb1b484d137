from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proxybench.model import Mode, Scenario
from proxybench.report.crossings import QUESTIONS, all_crossings, crossings
from proxybench.stats.series import Series, collect
from tests.unit.report.synthetic import synthetic_frame


def real(clock: str, kind: str = "kube-proxy") -> list[Series]:
    frame = synthetic_frame(connects=20, clock=clock)
    frame["kind"] = kind
    return collect(frame)


def test_the_crossover_holds_the_truth() -> None:
    title, lines = all_crossings(real("wall"))[0]
    assert title == "One Service added, until it answers"
    # The synthetic lines meet at (41 - 28) ms / (95 - 12) µs = 157 Services; log-log lines between sizes bend that.
    assert lines[0].startswith(
        "iptables and IPVS" if "told apart" in lines[0] else "IPVS overtakes iptables at about 1"
    )
    assert lines[-1] == "No crossing: iptables is below userspace at every size up to 10,000"


@pytest.mark.parametrize(("clock", "kind"), [("instructions", "kube-proxy"), ("wall", "reference")])
def test_neither_instructions_nor_the_reference_tell_of_crossings(clock: str, kind: str) -> None:
    assert all_crossings(real(clock, kind)) == ()


def test_userspace_takes_no_part_in_connect() -> None:
    question = next(each for each in QUESTIONS if each.without == (Mode.USERSPACE,))
    assert not any("userspace" in line for line in crossings(real("wall"), question))


def test_a_batch_is_asked_about_in_no_question() -> None:
    assert Scenario.ADD_BATCH not in {question.scenario for question in QUESTIONS}


def test_what_probes_do_not_resolve_is_no_lead() -> None:
    """The synthetic lines lie 13 ms apart at 10 Services, and 830 ms at 10,000."""
    found = [replace(each, uncertainty=60e6) for each in real("wall")]
    _, lines = all_crossings(found)[0]
    assert lines[0].startswith("No crossing: ")
    assert "IPVS is below iptables at 10,000, elsewhere not told apart" in " ".join(lines)
    (title, sharp), (again, wide) = (all_crossings(each)[0] for each in (real("wall"), _unsure(real("wall"), 4e6)))
    assert title == again
    assert _ends(wide[0])[0] < _ends(sharp[0])[0]
    assert _ends(wide[0])[1] > _ends(sharp[0])[1]


def _unsure(found: list[Series], uncertainty: float) -> list[Series]:
    return [replace(each, uncertainty=uncertainty) for each in found]


def _ends(line: str) -> tuple[int, int]:
    low, high = line.partition("(95 %: ")[2].rstrip(")").replace(",", "").split(" to ")
    return int(low), int(high)


def once(found: list[Series], size: int) -> list[Series]:
    """Return series of which one size has a single repetition."""
    return [
        replace(each, values=each.values[:1], labels=each.labels[:1], bounded=each.bounded[:1])
        if each.key.services == size
        else each
        for each in found
    ]


def test_one_repetition_of_a_size_tells_no_lead_and_is_told_of() -> None:
    """IPVS overtakes iptables, and "No crossing" stood there: the size behind it was measured once."""
    few, told = [each for each in real("wall") if each.key.services != 1000], "measured once"
    _, lines = all_crossings(once(few, 10_000))[0]
    assert lines[1:] == (
        f"Perhaps a crossing: iptables is below IPVS at every size up to 100 ({told}: IPVS lower at 10,000)",
        f"No crossing: iptables is below userspace at every size up to 100 ({told}: iptables lower at 10,000)",
    )
    alike = [replace(each, uncertainty=1e12) if each.key.services == 10_000 else each for each in once(few, 10_000)]
    _, lines = all_crossings(alike)[0]
    assert lines[-1].startswith(f"No crossing: iptables is below IPVS at every size up to 100 ({told}: both alike ")
    assert "(measured once: both alike at 10,000)" in lines[-1]


def test_one_repetition_in_the_middle_does_not_widen_a_crossing() -> None:
    _, lines = all_crossings(once(real("wall"), 100))[0]
    assert lines[0].startswith("IPVS overtakes iptables at about ")
    assert lines[0].endswith(" (measured once: iptables lower at 100)")
    low, high = (
        float(end) for end in lines[0].partition("(95 %: ")[2].partition(")")[0].replace(",", "").split(" to ")
    )
    assert 10 < low < high < 1000


def test_a_size_at_which_a_probe_tells_nothing_from_0_is_left_out_and_named() -> None:
    """A pair with a 0 anywhere was passed over without a word."""
    found = [
        replace(each, values=np.zeros(each.values.size))
        if each.key.services == 10 and each.key.mode == "ipvs"
        else each
        for each in real("wall")
    ]
    _, lines = all_crossings(found)[0]
    assert "IPVS overtakes iptables at about 1" in lines[0]
    assert lines[0].endswith(" (left out: 0 in some repetition at 10)")
    assert lines[-1] == (
        "No crossing: iptables is below userspace at every size up to 10,000; "
        "IPVS is below userspace at every size up to 10,000 (left out: 0 in some repetition at 10)"
    )
