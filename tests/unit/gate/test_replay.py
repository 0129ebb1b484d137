"""The committed baseline judged by itself: each of its runs against the others, as a gate would have done.

What docs/statistics.md says of it is computed here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxybench.errors import ExitCode
from proxybench.gate.baseline import open_side
from proxybench.gate.compare import compare
from proxybench.gate.outcome import Verdict
from proxybench.gate.side import Replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.gate.side import Side
    from proxybench.model import Key

RUNS = 10
HOME = Path(__file__).parents[3]
PAGE = " ".join((HOME / "docs/statistics.md").read_text("utf-8").split())
EXCEPTION = {
    ("iptables", "add-one", "cpu.control_loop"): "iptables (CPU, {})",
    ("userspace", "add-one", "sync.build"): "to userspace (build, {})",
    ("ipvs", "add-one", "cpu.control_loop"): "to IPVS (CPU, {})",
}


@pytest.fixture(scope="module")
def whole() -> Side:
    side = open_side(HOME / "results/baselines/gate.json")
    assert side.runs == RUNS
    return side


@pytest.fixture(scope="module")
def pairs(whole: Side) -> list[tuple[Side, Side]]:
    """Nine runs and the tenth, ten times."""
    return [(part(whole, [j for j in range(RUNS) if j != i]), part(whole, [i])) for i in range(RUNS)]


def part(whole: Side, places: Sequence[int]) -> Side:
    series = {}
    for key, replicates in whole.series.items():
        runs = [replicates.runs[place] for place in places]
        values = np.concatenate(runs)
        series[key] = Replicates(values, np.zeros(values.size, dtype=np.bool_), tuple(run.size for run in runs))
    return replace(whole, series=series, runs=len(places))


def slower(side: Side, keys: Sequence[Key]) -> Side:
    rows = {key: replace(side.series[key], values=1.02 * side.series[key].values) for key in keys}
    return replace(side, series={**side.series, **rows})


def told(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def test_equal_runs_end_with_0_and_two_per_cent_are_found(pairs: list[tuple[Side, Side]]) -> None:
    found: Counter[Key] = Counter()
    unclear: Counter[tuple[str, str, str]] = Counter()
    for base, new in pairs:
        equal = compare(base, new)
        unclear.update(named(item.key) for item in equal.comparisons if item.verdict is Verdict.INCONCLUSIVE)
        assert equal.exit_code is ExitCode.PASS, equal.sentence()
        assert equal.counts()[Verdict.REGRESSED] == 0
        assert equal.assumed_noise is None
        # The verdict on a number does not depend on the levels of others, so all can be slowed down at once.
        every = compare(base, slower(new, list(new.series)))
        found.update(item.key for item in every.comparisons if item.verdict is Verdict.REGRESSED)
    every_time = sum(count == RUNS for count in found.values())
    assert every_time >= 40
    assert unclear == {("iptables", "add-one", "cpu.control_loop"): RUNS}
    assert "ended with 0, with one of 51 numbers inconclusive (CPU of adding one Service to iptables" in PAGE
    assert f"a rise by 2 % was found in every one of the ten runs in {every_time}." in PAGE


def named(key: Key) -> tuple[str, str, str]:
    return str(key.subject.mode), str(key.scenario), str(key.metric)


def test_the_page_says_what_the_tenth_run_against_the_nine_others_states(pairs: list[tuple[Side, Side]]) -> None:
    states = {item.key: item.detectable for item in compare(*pairs[-1]).comparisons if item.detectable}
    large = {key: share for key, share in states.items() if share > 0.02}
    words = [EXCEPTION[named(key)].format(told(large[key])) for key in sorted(large, key=lambda key: -large[key])]
    assert f"Of the {len(states)} numbers that have a ratio" in PAGE
    assert f"states 2 % or less, with 90 % power, for {len(states) - len(large)}." in PAGE
    assert f"The exceptions: adding one Service to {', '.join(words)}." in PAGE


def test_the_page_says_how_single_runs_end(whole: Side) -> None:
    runs = [part(whole, [place]) for place in range(RUNS)]
    ends = Counter(compare(one, other).exit_code for one, other in permutations(runs, 2))
    at_two = Counter(compare(one, other, threshold=0.02).exit_code for one, other in permutations(runs, 2))
    passed, unclear = ends.pop(ExitCode.PASS), ends.pop(ExitCode.INCONCLUSIVE)
    assert not ends
    assert at_two == {ExitCode.PASS: 90}
    said = f"Of 90 pairs of single runs none raised an alarm, {passed} ended with 0 and {unclear} with 4; at "
    assert f"{said}`--threshold 2%` all ended with 0." in PAGE


def test_the_page_says_how_medians_differ_from_run_to_run(whole: Side) -> None:
    spreads: dict[str, float] = {}
    for key, replicates in whole.series.items():
        medians = np.array([np.median(run) for run in replicates.runs])
        kind = "forwarding" if key.metric.startswith("forwarding.") else f"{key.metric} {key.scenario}"
        kind = str(key.metric) if key.metric == "forwarding.rtt" else kind
        if middle := float(np.median(medians)):
            spreads[kind] = max(spreads.get(kind, 0.0), float(np.ptp(medians)) / middle)
    forwarding, rtt = told(spreads["forwarding"], 2), told(spreads["forwarding.rtt"], 2)
    cold = told(spreads["cpu.control_loop cold-start"], 2)
    assert (
        f"`forwarding.*` stayed within {forwarding} (`forwarding.rtt`: {rtt}), the CPU of cold starts within {cold}."
        in PAGE
    )


def test_one_number_that_rises_by_two_per_cent_ends_with_1_and_is_the_one_named(
    pairs: list[tuple[Side, Side]],
) -> None:
    key = next(key for key in sorted(pairs[0][0].series) if key.metric == "forwarding.established")
    for base, new in pairs:
        outcome = compare(base, slower(new, [key]))
        assert outcome.exit_code is ExitCode.REGRESSION
        assert [item.key for item in outcome.comparisons if item.verdict is Verdict.REGRESSED] == [key]


def test_a_loop_that_burns_a_core_while_it_should_wait_is_found_in_every_run(
    pairs: list[tuple[Side, Side]],
) -> None:
    key = next(key for key in sorted(pairs[0][0].series) if key.scenario == "idle")
    for base, new in pairs:
        burning = replace(new.series[key], values=np.full(new.series[key].values.size, 9e8))
        outcome = compare(base, replace(new, series={**new.series, key: burning}))
        assert [item.key for item in outcome.comparisons if item.verdict is Verdict.REGRESSED] == [key]
