"""The committed baseline judged by itself: each of its runs against the others, as a gate would have done."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
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


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Side, Side]]:
    """Nine runs and the tenth, ten times."""
    whole = open_side(Path(__file__).parents[3] / "tests/golden/gate-ten-runs.json")
    assert whole.runs == RUNS
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


def test_equal_runs_end_with_0_and_two_per_cent_are_found(pairs: list[tuple[Side, Side]]) -> None:
    found: Counter[Key] = Counter()
    for base, new in pairs:
        equal = compare(base, new)
        assert equal.exit_code is ExitCode.PASS, equal.sentence()
        assert equal.counts()[Verdict.REGRESSED] == 0
        assert equal.assumed_noise is None
        # The verdict on a number does not depend on the levels of others, so all can be slowed down at once.
        every = compare(base, slower(new, list(new.series)))
        found.update(item.key for item in every.comparisons if item.verdict is Verdict.REGRESSED)
    assert sum(count == RUNS for count in found.values()) >= 40


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
