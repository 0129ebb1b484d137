from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import ExitCode, ResultsError
from proxybench.gate.baseline import dump, load
from proxybench.gate.compare import Comparison, Verdict, _summed, compare, is_judged
from proxybench.gate.noise import RunNoise, run_noise
from proxybench.gate.outputs import ANNOTATIONS, to_annotations, to_markdown
from proxybench.gate.side import FIELDS, Replicates, Side, differences
from proxybench.stats.series import Series, SeriesKey

PRINT = dict.fromkeys(FIELDS, "x") | {"clock": "instructions"}


def key(services: int = 10, metric: str = "forwarding.connect") -> SeriesKey:
    return SeriesKey("ipvs", "reference", services, 2, "steady", "tcp-clusterip", "last", metric, "ns", "instructions")


def side(series: dict[SeriesKey, list[float]], *, late: set[SeriesKey] | None = None) -> Side:
    late = late or set()
    return Side(
        "run",
        PRINT,
        {
            name: Replicates(np.array(values, dtype=float), np.full(len(values), name in late))
            for name, values in series.items()
        },
    )


def only(base: list[float], new: list[float], **how: float) -> Comparison:
    (item,) = compare(side({key(): base}), side({key(): new}), **how).comparisons  # type: ignore[arg-type] # a float is all that is passed
    return item


def test_numbers_without_noise_decide_by_the_noise_between_runs() -> None:
    item = only([1000.0] * 3, [1020.0] * 3)
    assert item.verdict is Verdict.REGRESSED
    assert item.shift == 20.0
    assert item.relative == pytest.approx(0.02)
    assert only([1000.0] * 3, [1000.0] * 3).verdict is Verdict.SAME
    assert only([1000.0] * 3, [980.0] * 3).verdict is Verdict.IMPROVED


def test_sure_but_small_is_the_same_and_large_but_unsure_is_not_decided() -> None:
    assert only([1000.0] * 3, [1008.0] * 3).verdict is Verdict.SAME
    unsure = only([1000.0, 1050.0, 950.0], [1030.0, 1080.0, 990.0])
    assert unsure.verdict is Verdict.INCONCLUSIVE
    assert unsure.reason.startswith("too noisy to show 1 %: the interval is ±")


def test_one_wild_repetition_is_no_regression() -> None:
    base = {key(n): [1000.0, 1000.5, 999.5] for n in range(1, 21)}
    new = base | {key(5): [1000.0, 1000.5, 1500.0]}
    assert compare(side(base), side(new)).counts()[Verdict.REGRESSED] == 0


def test_zero_everywhere_is_the_same_and_zero_somewhere_has_no_ratio() -> None:
    assert only([0.0, 0.0], [0.0, 0.0]).verdict is Verdict.SAME
    found = only([0.0, 1e7], [5e7, 5e7])
    assert (found.verdict, found.reason) == (
        Verdict.INCONCLUSIVE,
        "0 in some repetitions: no ratio can be taken",
    )


def test_one_repetition_tells_nothing() -> None:
    found = only([1000.0], [2000.0])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "one repetition on either side: nothing tells how they vary"


def test_new_time_outs_are_a_regression_and_old_ones_only_an_improvement() -> None:
    fast, slow = {key(): [1000.0] * 3}, {key(): [9000.0] * 3}
    (item,) = compare(side(fast), side(slow, late={key()})).comparisons
    assert (item.verdict, item.reason) == (
        Verdict.REGRESSED,
        "time-outs in the new run: worse by at least this",
    )
    (item,) = compare(side(slow, late={key()}), side(fast)).comparisons
    assert item.verdict is Verdict.IMPROVED
    (item,) = compare(side(slow, late={key()}), side(slow, late={key()})).comparisons
    assert (item.verdict, item.reason) == (
        Verdict.INCONCLUSIVE,
        "medians are time-outs: only a lower bound is known",
    )


def test_what_one_side_lacks_cannot_be_passed_over() -> None:
    both = {key(1): [1000.0] * 3, key(2): [1000.0] * 3}
    outcome = compare(side(both), side({key(1): [1000.0] * 3}))
    assert outcome.exit_code is ExitCode.INCONCLUSIVE
    assert outcome.comparisons[0].reason == "not measured in the new run"
    assert compare(side({}), side(both)).comparisons[0].reason == "not measured in the base"
    assert compare(side({}), side({})).sentence().startswith("nothing to judge")


@pytest.mark.parametrize(
    ("new", "verdict"),
    [([0.0, 9e5, 9e5], Verdict.SAME), ([9e5, 9e5, 1e6], Verdict.INCONCLUSIVE), ([5e6, 6e6, 5e6], Verdict.INCONCLUSIVE)],
)
def test_next_to_nothing_is_the_same_and_more_than_that_is_not(new: list[float], verdict: Verdict) -> None:
    assert only([0.0, 9e4, 9e4], new).verdict is verdict


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("clock", "accelerator", "cpu")])
def test_each_field_that_differs_is_named(name: str) -> None:
    other = PRINT | {name: "y"}
    assert differences(PRINT, other) == (f"{name}: x -> y",)
    assert differences(PRINT, other, across=[name]) == ()


@pytest.mark.parametrize("name", ["accelerator", "cpu"])
def test_the_machine_matters_to_the_wall_clock_only(name: str) -> None:
    wall = PRINT | {"clock": "wall"}
    assert differences(PRINT, PRINT | {name: "y"}) == ()
    assert differences(wall, wall | {name: "y"}) == (f"{name}: x -> y",)
    assert differences(PRINT, wall) == ("clock: instructions -> wall",)


@pytest.mark.parametrize(
    ("metric", "instructions", "wall"),
    [
        ("sync.control_loop", False, True),
        ("forwarding.load", True, True),
        ("sync.end_to_end", False, True),
        ("sync.network_programming", False, True),
        ("memory.control_loop", False, True),
        ("cpu.agent", False, False),
        ("cpu.window", False, False),
    ],
)
def test_which_metrics_decide(metric: str, instructions: bool, wall: bool) -> None:
    assert is_judged(metric, "instructions") is instructions
    assert is_judged(metric, "wall") is wall
    assert not is_judged(metric, "wall", only=["other"])


def test_a_few_noisy_points_do_not_make_a_metric_undecided_unless_asked() -> None:
    def noisy(count: int) -> dict[SeriesKey, list[float]]:
        return {key(n): [1000.0, 1100.0, 900.0] if n < count else [1000.0, 1000.1, 999.9] for n in range(8)}

    for count, strict, code in ((2, False, 0), (3, False, 4), (1, True, 4), (0, True, 0)):
        outcome = compare(side(noisy(count)), side(noisy(count)), threshold=0.02, strict=strict)
        assert outcome.counts()[Verdict.INCONCLUSIVE] == count
        assert outcome.exit_code == code
        assert outcome.undecided_metrics() == (("forwarding.connect",) if code else ())


def test_a_baseline_is_read_as_it_was_written() -> None:
    whole = side({key(1): [1000.0, 1001.0], key(2): [5.0, 6.0]}, late={key(2)})
    whole = replace(whole, noise={key(1): RunNoise(0.0125, 9.5)})
    data = dump(whole)
    assert data.count(b"\n    {") == 2
    back = load(data, "b.json")
    assert back.noise == whole.noise
    assert dump(back) == data
    assert back.series[key(2)].bounded.tolist() == [True, True]
    assert back.series[key(1)].values.tolist() == [1000.0, 1001.0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "b.json: not valid JSON"),
        (b"{}", "b.json: not a baseline"),
        (b'{"baseline_schema": 9}', "b.json: baseline schema 9, this program reads 2: save the baseline anew"),
        (b'{"baseline_schema": 2}', "b.json: name: Field required"),
    ],
)
def test_a_damaged_baseline_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ResultsError) as raised:
        load(data, "b.json")
    assert str(raised.value).startswith(message)


def measured(levels: list[list[float]]) -> list[Series]:
    flags = np.zeros(len(levels[0]), dtype=np.bool_)
    return [Series(key(1), (), np.array(values), flags, 1, 0, 0.0, 0.0) for values in levels]


def test_noise_between_runs_is_what_repetitions_do_not_explain() -> None:
    even = [[1000.0, 1002.0, 998.0], [1001.0, 999.0, 1000.0], [1000.0, 1001.0, 999.0]]
    moved = [[value * factor for value in values] for values, factor in zip(even, (1.0, 1.02, 0.98), strict=True)]
    noisy = [[900.0, 1000.0, 1100.0]] * 3
    found = {name: run_noise({key(1): measured(runs)}) for name, runs in (("moved", moved), ("noisy", noisy))}
    assert found["moved"][key(1)].share == pytest.approx(0.02, rel=0.02)
    assert found["moved"][key(1)].degrees == 2
    assert found["noisy"][key(1)].share == 0
    assert run_noise({key(1): measured(moved[:2])}) == {}


def test_a_noisy_point_does_not_blind_the_gate_to_a_quiet_one() -> None:
    rng = np.random.default_rng(1)
    spreads = {key(n): 0.05 if n == 0 else 0.0005 for n in range(8)}
    runs = {
        name: measured([list(1000 * np.exp(spread * (rng.normal() + 0.2 * rng.normal(size=5)))) for _ in range(10)])
        for name, spread in spreads.items()
    }
    noise = run_noise(runs)
    base = side({name: list(np.concatenate([run.values for run in found])) for name, found in runs.items()})
    base = replace(base, runs=10, noise=noise)
    slower = side({name: [1020.0, 1020.5, 1019.5, 1020.2, 1019.8] for name in spreads})
    verdicts = {item.key: item.verdict for item in compare(base, slower).comparisons}
    assert verdicts.pop(key(0)) is Verdict.INCONCLUSIVE
    assert set(verdicts.values()) == {Verdict.REGRESSED}


@given(st.lists(st.tuples(st.floats(1e-8, 1.0), st.floats(1, 50)), min_size=1, max_size=3))
def test_a_sum_of_variances_is_known_no_better_than_all_and_no_worse_than_its_worst(
    parts: list[tuple[float, float]],
) -> None:
    error = _summed(*parts)
    assert error.size == pytest.approx(math.sqrt(sum(variance for variance, _ in parts)))
    degrees = [freedom for _, freedom in parts]
    assert min(degrees) * 0.999 <= error.degrees <= sum(degrees) * 1.001


def test_markdown_keeps_to_its_size_and_says_what_is_missing() -> None:
    names = [key(n) for n in range(1, 201)]
    outcome = compare(side({n: [1000.0] * 3 for n in names}), side({n: [1100.0] * 3 for n in names}))
    whole = to_markdown([outcome])
    assert whole.count("\n| forwarding.connect") == 200
    short = to_markdown([outcome], limit=8_000)
    assert len(short.encode()) <= 8_000
    left = 200 - short.count("\n| forwarding.connect")
    assert short.endswith(f"\n{left} more rows do not fit here; the JSON output has all of them.\n")
    assert len(to_annotations([outcome])) == ANNOTATIONS
