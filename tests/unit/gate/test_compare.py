from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from proxybench.errors import ExitCode, ResultsError
from proxybench.gate.baseline import BASELINE_SCHEMA, dump, load
from proxybench.gate.compare import compare, is_judged
from proxybench.gate.error import Counts, Levels, by_assumption, by_measurement, shift_errors
from proxybench.gate.noise import ASSUMED, run_noise
from proxybench.gate.outcome import Comparison, Verdict
from proxybench.gate.outputs import ANNOTATIONS, to_annotations, to_markdown
from proxybench.gate.side import FIELDS, Replicates, Side, differences
from proxybench.model import Scenario
from proxybench.stats.moderate import Moderated
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from proxybench.model import Key

GOLDEN = Path(__file__).parents[2] / "golden"
PRINT = dict.fromkeys(FIELDS, "x") | {"clock": "instructions"}


def key(services: int = 10, metric: str = "forwarding.connect", scenario: str = "steady") -> Key:
    return make_key(mode="ipvs", services=services, scenario=scenario, metric=metric)


def side(series: dict[Key, list[float]], *, late: set[Key] | None = None, runs: int = 1) -> Side:
    late = late or set()
    return Side(
        "run",
        PRINT,
        {
            name: Replicates(
                np.array(values, dtype=float), np.full(len(values), name in late), (len(values) // runs,) * runs
            )
            for name, values in series.items()
        },
        runs,
    )


def only(base: list[float], new: list[float], **how: float) -> Comparison:
    (item,) = compare(side({key(): base}), side({key(): new}), **how).comparisons  # type: ignore[arg-type] # a float is all that is passed
    return item


@pytest.mark.parametrize(
    ("base", "new", "reason"),
    [
        ([1e5, 4e5], [2e5, 9e5], "too few repetitions (2 before, 2 now) to tell even a change of ten times"),
        (
            [1e4, 1e7, 1e5, 1e8, 1e6],
            [2e4, 1e7, 3e5, 1e8, 5e6],
            "repetitions too far apart (5 before, 5 now) to tell even a change of ten times",
        ),
    ],
)
def test_an_interval_that_says_nothing_is_said_in_words(base: list[float], new: list[float], reason: str) -> None:
    """It was "the interval is ±5e+23 %"."""
    item = only(base, new)
    assert (item.verdict, item.reason) == (Verdict.INCONCLUSIVE, reason)
    assert (item.low, item.high, item.detectable) == (None, None, None)
    assert item.relative is not None


def test_far_more_of_few_repetitions_has_no_upper_end() -> None:
    """It was "+1.4e+11 % at most"."""
    item = only([1e4, 2e4], [1e13, 2e13])
    assert (item.verdict, item.high, item.detectable) == (Verdict.REGRESSED, math.inf, None)
    assert item.low is not None
    assert 0 < item.low < 1e9 - 1
    less = only([1e13, 2e13], [1e4, 2e4])
    assert (less.verdict, less.detectable) == (Verdict.IMPROVED, None)
    assert less.high is not None
    assert less.high < 0


def test_numbers_without_noise_decide_by_the_noise_between_runs() -> None:
    item = only([1000.0] * 3, [1020.0] * 3)
    assert item.verdict is Verdict.REGRESSED
    assert item.shift == 20.0
    assert item.relative == pytest.approx(0.02)
    assert only([1000.0] * 3, [1000.0] * 3).verdict is Verdict.SAME
    assert only([1000.0] * 3, [980.0] * 3).verdict is Verdict.IMPROVED


def test_sure_but_small_is_the_same_and_large_but_unsure_is_not_decided() -> None:
    # One run a side cannot tell 1 % from the noise that is assumed; ten runs of the base can.
    sure = [only([1000.0] * 30, [1008.0] * 3)]
    sure += compare(side({key(): [1000.0] * 30}, runs=10), side({key(): [1008.0] * 3})).comparisons
    assert [item.verdict for item in sure] == [Verdict.INCONCLUSIVE, Verdict.SAME]
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
    [
        ([0.0, 9e5, 9e5], Verdict.SAME),
        ([9e5, 9e5, 1e6], Verdict.INCONCLUSIVE),
        # Was inconclusive: an idle loop that begins to burn 90 % of a core passed, since no ratio to 0 can be taken.
        ([5e6, 6e6, 5e6], Verdict.REGRESSED),
        ([9e8, 9e8, 9e8], Verdict.REGRESSED),
        ([9e8, 0.0, 9e8], Verdict.INCONCLUSIVE),
    ],
)
def test_next_to_nothing_is_the_same_and_far_more_is_a_regression(new: list[float], verdict: Verdict) -> None:
    base = [0.0, 9e4, 9e4]
    assert only(base, new).verdict is verdict
    mirrored = {Verdict.REGRESSED: Verdict.IMPROVED}.get(verdict, verdict)
    assert only(new, base).verdict is mirrored


@pytest.mark.parametrize(
    ("base", "new", "verdict", "reason"),
    [
        ([1e5, 1e5], [2e5, 1e5], Verdict.SAME, "next to nothing in all repetitions"),
        ([1e5, 1e5], [5e6, 5e6], Verdict.REGRESSED, "far more in every repetition than in any before"),
        ([1e5, 1e5], [9e5, 5e6], Verdict.INCONCLUSIVE, "next to nothing on one side: no ratio can be taken"),
        ([6e5, 1e5], [1.1e6, 1.1e6], Verdict.INCONCLUSIVE, "next to nothing on one side: no ratio can be taken"),
        # A blip in the base: 10 times the greatest.
        ([0.0, 5e6], [4.9e7, 6e7], Verdict.INCONCLUSIVE, "0 in some repetitions: no ratio can be taken"),
        ([0.0, 5e6], [5e7, 6e7], Verdict.REGRESSED, "far more in every repetition than in any before"),
        ([0.0], [9e8], Verdict.INCONCLUSIVE, "0 in some repetitions: no ratio can be taken"),
    ],
)
def test_an_idle_loop_is_judged_by_absolute_size(
    base: list[float], new: list[float], verdict: Verdict, reason: str
) -> None:
    idle = key(metric="cpu.control_loop", scenario="idle")
    (item,) = compare(side({idle: base}), side({idle: new})).comparisons
    assert (item.verdict, item.reason) == (verdict, reason)


def test_only_times_can_be_negligible() -> None:
    memory = replace(key(), unit="bytes")
    (item,) = compare(side({memory: [0.0, 9e4, 9e4]}), side({memory: [5e6, 6e6, 5e6]})).comparisons
    assert (item.verdict, item.reason) == (Verdict.INCONCLUSIVE, "0 in some repetitions: no ratio can be taken")


@pytest.mark.parametrize(
    ("new", "verdict", "reason"),
    [
        ([0.0, 0.0], Verdict.SAME, "0 in every repetition"),
        ([0.0, 900.0], Verdict.SAME, "0 in some repetitions, and next to nothing in all"),
        ([2_000.0, 900.0], Verdict.INCONCLUSIVE, "0 in some repetitions: no ratio can be taken"),
        ([2_000.0, 3_000.0], Verdict.REGRESSED, "far more in every repetition than in any before"),
    ],
)
def test_connections_that_begin_to_fail_are_a_regression(new: list[float], verdict: Verdict, reason: str) -> None:
    """They could not be judged, since no ratio to 0 can be taken."""
    rate = replace(key(), metric="load.failure_rate", scenario=Scenario.LOAD, unit="ppm")
    outcome = compare(side({rate: [0.0, 0.0]}), side({rate: new}))
    (item,) = outcome.comparisons
    assert (item.verdict, item.reason, item.judged) == (verdict, reason, True)
    assert outcome.exit_code == {Verdict.SAME: 0, Verdict.REGRESSED: 1}.get(verdict, 4)


def test_what_rose_from_nothing_comes_before_what_rose_by_a_share() -> None:
    base = {key(n): [1000.0] * 3 for n in range(12)} | {key(50): [0.0] * 3}
    new = {key(n): [1100.0 + n] * 3 for n in range(12)} | {key(50): [9e8] * 3}
    outcome = compare(side(base), side(new))
    assert outcome.comparisons[0].key == key(50)
    assert "10x2" not in to_annotations([outcome])[0]
    assert "50x2" in to_annotations([outcome])[0]


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
    def noisy(count: int) -> dict[Key, list[float]]:
        return {key(n): [1000.0, 1100.0, 900.0] if n < count else [1000.0, 1000.1, 999.9] for n in range(8)}

    for count, strict, code in ((2, False, 0), (3, False, 4), (1, True, 4), (0, True, 0)):
        outcome = compare(side(noisy(count)), side(noisy(count)), threshold=0.02, strict=strict)
        assert outcome.counts()[Verdict.INCONCLUSIVE] == count
        assert outcome.exit_code == code
        assert outcome.undecided_metrics() == (("forwarding.connect",) if code else ())


def test_python_is_compared_by_its_minor_version() -> None:
    old, patch, other = (PRINT | {"python": version} for version in ("3.11.7", "3.11.2, 3.11.9", "3.12.7"))
    assert differences(old, patch) == ()
    assert differences(old, other) == ("python: 3.11.7 -> 3.12.7",)


def test_a_baseline_is_read_as_it_was_written() -> None:
    whole = side({key(1): [1000.0, 1001.0, 1002.0, 1003.0], key(2): [5.0, 6.0]}, late={key(2)}, runs=2)
    whole = replace(whole, settings={"experiment.warmup": "on"})
    data = dump(whole)
    assert data.count(b"\n    {") == 2
    assert b'"values":[[1000,1001],[1002,1003]]' in data
    back = load(data, "b.json")
    assert dump(back) == data
    assert back.settings == whole.settings
    assert back.series[key(2)].bounded.tolist() == [True, True]
    assert [run.tolist() for run in back.series[key(1)].runs] == [[1000.0, 1001.0], [1002.0, 1003.0]]


@pytest.mark.parametrize("version", range(1, BASELINE_SCHEMA))
def test_baselines_of_older_schemas_are_migrated(version: int) -> None:
    """Each file holds the same two numbers of three runs of two repetitions, one of which failed in one of them."""
    data = (GOLDEN / f"baseline-v{version}.json").read_bytes()
    found = load(data, "old.json")
    assert (found.runs, found.settings, len(found.series)) == (3, None, 2)
    connect, build = sorted(found.series.values(), key=lambda replicates: replicates.values[0])
    assert [run.tolist() for run in connect.runs] == [[167000, 167100], [167200, 167050], [166900, 167010]]
    assert build.lengths == (5,)  # nothing tells whose these five are
    at = {"settings": "iptables=legacy", "services": 400}  # the backend stood in the fingerprint
    assert sorted(found.series) == [
        make_key(**at, scenario="add-one", path="none", position="none", metric="sync.build"),
        make_key(**at),
    ]
    (noise,) = found.noise.values()
    assert noise.runs == 3
    assert compare(found, replace(found, settings={"experiment.warmup": "on"})).differing == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "b.json: not valid JSON"),
        (
            b'{\n "name": "\xff"}',
            "b.json: not valid JSON (no UTF-8 text: line 2 column 11); the file is damaged or was cut short",
        ),
        (b"{}", "b.json: not a baseline"),
        (b'{"baseline_schema": 9}', "b.json: baseline schema 9, this program reads up to 4: update proxybench"),
        (b'{"baseline_schema": 0}', "b.json: baseline schema 0, this program reads up to 4: update proxybench"),
        (b'{"baseline_schema": 2, "runs": 1, "series": [3, {"values": 4}]}', "b.json: name: Field required"),
        (b'{"baseline_schema": 2}', "b.json: name: Field required"),
    ],
)
def test_a_damaged_baseline_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ResultsError) as raised:
        load(data, "b.json")
    assert str(raised.value).startswith(message)


def test_noise_between_runs_is_that_of_their_levels() -> None:
    even = [[1000.0, 1002.0, 998.0], [1001.0, 999.0, 1000.0], [1000.0, 1001.0, 999.0]]
    moved = [[value * factor for value in values] for values, factor in zip(even, (1.0, 1.02, 0.98), strict=True)]
    found = {
        name: run_noise({key(1): [np.array(run) for run in runs]}) for name, runs in (("even", even), ("moved", moved))
    }
    assert found["moved"][key(1)].share == pytest.approx(0.02, rel=0.02)
    assert (found["moved"][key(1)].degrees, found["moved"][key(1)].runs) == (2, 3)
    assert found["moved"][key(1)].repetitions == pytest.approx(3)
    assert found["even"][key(1)].share < 1e-4
    assert run_noise({key(1): [np.array(run) for run in moved[:2]]}) == {}


def test_a_wild_repetition_is_no_noise_between_runs() -> None:
    runs = [np.array([1000.0, 1001.0, 999.0, 1000.5, 999.5]) for _ in range(5)]
    runs[2] = np.array([1000.0, 1001.0, 999.0, 1000.5, 3000.0])
    assert run_noise({key(1): runs})[key(1)].share < 0.001


def test_a_noisy_point_does_not_blind_the_gate_to_a_quiet_one() -> None:
    rng = np.random.default_rng(1)
    spreads = {key(n): 0.05 if n == 0 else 0.0005 for n in range(8)}
    runs = {
        name: np.concatenate([1000 * np.exp(spread * (rng.normal() + 0.2 * rng.normal(size=5))) for _ in range(10)])
        for name, spread in spreads.items()
    }
    base = side({name: list(found) for name, found in runs.items()}, runs=10)
    slower = side({name: [1020.0, 1020.5, 1019.5, 1020.2, 1019.8] for name in spreads})
    verdicts = {item.key: item.verdict for item in compare(base, slower).comparisons}
    assert verdicts.pop(key(0)) is Verdict.INCONCLUSIVE
    assert set(verdicts.values()) == {Verdict.REGRESSED}


def levels(runs: int, step: float) -> list[float]:
    """Return three equal repetitions for each run, whose levels lie a share of ``step`` apart."""
    return [1000 * (1 + step * (run % 5 - 2)) for run in range(runs) for _ in range(3)]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (1, "; run-to-run noise assumed 0.3 %: one run a side (5 runs of one side would measure it)"),
        (3, "; run-to-run noise assumed 0.3 %: 3 against 1 (it takes 5 runs of one side to measure it)"),
        (5, ""),
    ],
)
def test_what_is_assumed_is_said(runs: int, words: str) -> None:
    numbers = {key(n): [1000.0] * 3 * runs for n in range(4)}
    outcome = compare(side(numbers, runs=runs), side({name: [1000.0] * 3 for name in numbers}))
    assert outcome.sentence() == "4 judged at 1 % of the base: 4 same" + words
    assert (outcome.assumed_noise, outcome.family) == (0.003 if words else None, 4)


def test_few_runs_may_show_more_noise_than_assumed_but_not_less() -> None:
    def width(runs: int, step: float) -> float:
        series = {key(n): levels(runs, step) for n in range(8)}
        found = compare(side(series, runs=runs), side({name: [1000.0] * 3 for name in series})).comparisons[0]
        assert found.high is not None
        assert found.relative is not None
        return found.high - found.relative

    assert width(3, 0.0) == pytest.approx(width(3, 0.0005), rel=0.01)
    assert width(3, 0.05) > 5 * width(3, 0.0)
    assert width(5, 0.0) < 0.5 * width(3, 0.0)


def spread(variance: float, degrees: float) -> Moderated:
    return Moderated(np.array(variance), np.array(degrees))


@given(st.floats(1e-8, 1.0), st.floats(1, 50))
def test_an_assumption_lends_no_doubt_and_takes_none_away(within: float, degrees: float) -> None:
    counts = Counts(1, 1, 4, 4)
    error = by_assumption(spread(within, degrees), 0.003, counts)
    assert float(error.size) == pytest.approx(math.sqrt(1.12 * within / 2 + 2 * 0.003**2))
    assert float(error.degrees) >= degrees * 0.999
    assert np.isinf(by_assumption(spread(0.0, degrees), 0.003, counts).degrees)


def test_a_run_with_fewer_repetitions_than_the_base_had_adds_their_scatter() -> None:
    levels, within = Levels(spread(4e-6, 9.0), 10, 6), spread(6e-6, 50.0)
    alike = by_measurement(levels, within, Counts(10, 1, 60, 6))
    assert float(alike.size) == pytest.approx(math.sqrt(1.12 * 4e-6 * 1.1))
    fewer = by_measurement(levels, within, Counts(10, 1, 60, 3))
    assert float(fewer.size) == pytest.approx(math.sqrt(1.12 * (4e-6 * 1.1 + 6e-6 / 6)))
    more = by_measurement(levels, within, Counts(10, 1, 60, 12))
    assert float(more.size) == pytest.approx(float(alike.size))
    assert float(more.degrees) == 9.0


def test_the_wider_of_two_intervals_decides() -> None:
    counts, within = Counts(10, 1, 60, 6), spread(6e-6, 50.0)
    few, sure = Levels(spread(1e-6, 4.0), 10, 6), Levels(spread(1e-6, 1000.0), 10, 6)
    by_repetitions = by_assumption(within, 0.001, counts)
    # An error that is smaller, but known with four degrees of freedom only, makes the wider interval.
    assert float(by_measurement(few, within, counts).size) < float(by_repetitions.size)
    assert float(shift_errors(within, few, counts, "instructions", 1e-4).degrees) == 4
    assert shift_errors(within, sure, counts, "instructions", 1e-4) == by_repetitions
    assert float(by_repetitions.width(0.05)) == pytest.approx(
        float(by_repetitions.size) * stats.t.ppf(0.975, float(by_repetitions.degrees))
    )


def test_every_clock_has_its_assumption() -> None:
    assert ASSUMED == {"instructions": 0.003, "wall": 0.03}


def test_markdown_shows_words_as_they_are() -> None:
    base = replace(side({key(): [1000.0] * 3}), name="a`b")
    new = replace(side({key(): [1100.0] * 3}), name="@team `x`")
    assert "\n``a`b`` → `` @team `x` ``, by the instruction clock\n" in to_markdown([compare(base, new)])
    odd = replace(base, fingerprint=PRINT | {"kernel": "*6*|<b> @me [a](http://x) #1\n_y_ z_z"})
    first, *_ = to_markdown([compare(base, odd)]).splitlines()
    assert first == (
        "### proxybench: not comparable: kernel: x -&gt; \\*6\\*\\|&lt;b&gt; @&#8203;me "
        "\\[a\\](http:&#8203;//x) #&#8203;1 \\_y\\_ z_z"
    )


def test_an_interval_says_with_what_confidence_it_holds() -> None:
    numbers = {key(n): [1000.0] * 3 for n in range(50)}
    page = to_markdown([compare(side(numbers), side(numbers))])
    assert "| Change | Interval (99.85 %, all 50 at once) | Detects |" in page
    assert page.endswith(
        "\nThe intervals of all 50 judged numbers hold at once with 99.85 % confidence: each is one of 99.997 % "
        "(Bonferroni). Times are counts of executed instructions (k, M, G): work, no seconds.\n\n"
    )


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
