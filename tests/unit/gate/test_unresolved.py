"""What probes cannot resolve is no change: in a verdict, a baseline, a trend, and at the prompt."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.ab.judge import sides_of
from proxybench.cli.main import cli
from proxybench.errors import ResultsError
from proxybench.gate import words
from proxybench.gate.baseline import dump, load
from proxybench.gate.compare import compare
from proxybench.gate.outcome import Verdict
from proxybench.gate.outputs import to_json
from proxybench.gate.side import FIELDS, Replicates, Side, replicates
from proxybench.gate.trend import _changes
from proxybench.model import ClockKind, Metric
from proxybench.stats.series import Series
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.gate.outcome import Comparison

PRINT = dict.fromkeys(FIELDS, "x") | {"clock": "instructions"}
KEY = make_key(metric="cpu.control_loop", scenario="add-one")
COMMITTED = Path(__file__).parents[3] / "results" / "baselines" / "gate.json"


def side(values: list[float], uncertainty: float) -> Side:
    found = Replicates(np.array(values), np.zeros(len(values), np.bool_), (len(values),), uncertainty)
    return Side("run", PRINT, {KEY: found})


def judged(base: list[float], new: list[float], *, unsure: tuple[float, float], threshold: float = 0.02) -> Comparison:
    (item,) = compare(side(base, unsure[0]), side(new, unsure[1]), threshold=threshold).comparisons
    return item


def test_a_change_within_the_resolution_of_its_probes_is_no_regression() -> None:
    """10 % more; the error by chance is 2.5 %."""
    base, new = [100e6] * 5, [110e6] * 5
    assert judged(base, new, unsure=(0, 0)).verdict is Verdict.REGRESSED
    assert judged(base, new, unsure=(1e6, 1e6)).verdict is Verdict.REGRESSED
    item = judged(base, new, unsure=(5e6, 5e6))
    reach = math.log(1.05) - math.log(1 - 5 / 110)
    assert item.verdict is Verdict.INCONCLUSIVE
    assert item.reason == (
        "its probes may explain all of the change: the ratio of two readings is within "
        f"±{100 * math.expm1(math.log(1 + 5 / 110) - math.log(0.95)):.3g} %"
    )
    plain = judged(base, new, unsure=(0, 0))
    assert plain.low is not None
    assert item.low == pytest.approx((1 + plain.low) * math.exp(-reach) - 1)
    assert item.relative == plain.relative
    assert item.detectable is not None
    assert plain.detectable is not None
    assert item.detectable > plain.detectable
    better = judged(new, base, unsure=(5e6, 5e6))
    assert better.verdict is Verdict.INCONCLUSIVE
    assert better.reason.startswith("its probes may explain all of the change: ")


def test_no_change_that_probes_cannot_show_is_not_called_the_same() -> None:
    assert judged([100e6] * 5, [100e6] * 5, unsure=(0, 0)).verdict is Verdict.SAME
    item = judged([100e6] * 5, [100e6] * 5, unsure=(20e6, 20e6))
    assert (item.verdict, item.reason) == (
        Verdict.INCONCLUSIVE,
        "its probes are too coarse to show 2 %: the ratio of two readings is within ±50 %",
    )
    assert judged([100e6] * 5, [100e6] * 5, unsure=(20e6, 20e6), threshold=1.0).verdict is Verdict.SAME


def test_what_is_no_larger_than_its_uncertainty_has_an_interval_without_an_upper_end() -> None:
    item = judged([1e6] * 5, [1.1e6] * 5, unsure=(2e6, 1e5))
    assert (item.verdict, item.high) == (Verdict.INCONCLUSIVE, math.inf)
    assert item.reason == "no larger than what its probes resolve: no ratio can be taken"
    assert words.line(item).endswith(f"(above {words.share(item.low)}): {item.reason}")
    assert judged([1e6] * 5, [1e9] * 5, unsure=(2e6, 1e5)).verdict is Verdict.REGRESSED  # what is far above it is
    neither = judged([1e6] * 5, [1.1e6] * 5, unsure=(2e6, 2e6))
    assert (neither.low, neither.detectable, words.cells(neither)[6]) == (-1.0, None, words.NOTHING)
    (outcome,) = json.loads(to_json([compare(side([1e6] * 5, 2e6), side([1.1e6] * 5, 2e6))]))
    assert outcome["comparisons"][0]["high"] is None


@pytest.mark.parametrize(("unsure", "verdict"), [(0.0, Verdict.REGRESSED), (5e6, Verdict.INCONCLUSIVE)])
def test_one_tick_more_than_none_is_no_regression(unsure: float, verdict: Verdict) -> None:
    item = judged([0.0] * 3, [10e6] * 3, unsure=(unsure, unsure))
    assert item.verdict is verdict
    if unsure:
        assert item.reason == "no further apart than readings are uncertain by: 10 M instructions"


@given(
    st.floats(1e6, 1e9),
    st.floats(0.0, 0.5),
    st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=2),
    st.floats(0.001, 0.2),
)
def test_readings_of_one_true_value_never_regress(true: float, share: float, errors: list[float], limit: float) -> None:
    old, new = ([true + error * share * true] * 5 for error in errors)
    unsure = share * true * (1 + 1e-9)
    assert judged(old, new, unsure=(unsure, unsure), threshold=limit).verdict not in {
        Verdict.REGRESSED,
        Verdict.IMPROVED,
    }


def test_a_baseline_keeps_what_its_numbers_are_uncertain_by() -> None:
    data = dump(side([100e6, 101e6], 1_250_000.4))
    assert b'"uncertainty":1250000' in data
    assert load(data, "b.json").series[KEY].uncertainty == 1_250_000
    assert b"uncertainty" not in dump(side([100e6, 101e6], 0.0))
    with pytest.raises(ResultsError, match=r"series\.0\.uncertainty: Input should be greater than or equal to 0"):
        load(data.replace(b'"uncertainty":1250000', b'"uncertainty":-1'), "b.json")


def test_the_committed_baseline_is_read_as_what_it_holds() -> None:
    found = load(COMMITTED.read_bytes(), "gate.json")
    assert {each.uncertainty for each in found.series.values()} == {0.0}
    assert dump(found) == COMMITTED.read_bytes()


def one(uncertainty: float, metric: str = "sync.end_to_end", name: str = "") -> Series:
    key = make_key(metric=metric, scenario="add-one", settings=f"name={name}" if name else "")
    return Series(key, (("r", 1),), np.array([5e6]), np.zeros(1, np.bool_), 1, 0, 5e6, 5e6, uncertainty)


def test_a_side_is_as_uncertain_as_the_worst_of_its_runs_and_not_by_the_step_of_reading() -> None:
    assert replicates([one(1e6), one(3e6)]).uncertainty == 3e6
    assert replicates([one(500.0, "forwarding.rtt")]).uncertainty == 0.0


def test_two_subjects_of_a_run_carry_theirs() -> None:
    old, new = sides_of([one(1e6, name="old"), one(2e6, name="new")], PRINT, ("a", "b"))
    assert [each.uncertainty for found in (old, new) for each in found.series.values()] == [1e6, 2e6]


def test_a_trend_marks_no_move_that_probes_may_explain() -> None:
    values = np.r_[np.full(6, 5e6), np.full(6, 6e6)] * (1 + 1e-4 * np.arange(12))
    assert [change.index for change in _changes(values, (), "ns", np.full(12, 4e5))] == [6]
    assert _changes(values, (), "ns", np.full(12, 6e5)) == ()


def test_the_gate_says_so(make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sync of 110 µs becomes 130 µs, read by a probe that resolves 20 µs; the same by one that resolves 1 µs."""
    slower = {(Metric.SYNC_END_TO_END, size): 1.2 for size in (10, 100, 1000)}
    for unsure, code, told in ((1_000, 1, "3 regressed"), (20_000, 4, "3 inconclusive")):
        how = {"clock": ClockKind.WALL, "noise": 0.0005, "unsure": unsure}
        base, new = make_run(1, **how), make_run(2, slower=slower, **how)
        saved = tmp_path / f"{unsure}.json"
        for arguments in (
            ["baseline", "save", str(base), "--out", str(saved)],
            ["gate", str(new), "--baseline", str(saved), "--only", "sync.end_to_end", "--threshold", "2%"],
        ):
            with pytest.raises(SystemExit) as ended:
                cli.main(arguments, prog_name="proxybench")
        assert ended.value.code == code
        assert told in capsys.readouterr().out


def test_values_and_uncertainty_make_a_share() -> None:
    found = side([100.0, 200.0, 300.0], 20.0).series[KEY]
    assert found.share == pytest.approx(0.1)
    assert replace(found, values=np.zeros(3)).share == math.inf
    assert replace(found, uncertainty=0.0, values=np.zeros(3)).share == 0.0
