from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.ab.bisect import Number, Search, as_json, bisect, number
from proxybench.ab.experiment import Plan
from proxybench.errors import ExitCode, ResultsError, UsageError
from proxybench.gate.outcome import Comparison, Outcome, Verdict
from proxybench.model import Mode, Position, Scenario
from proxybench.testing.model import make_key

KEY = make_key(metric="cpu.control_loop", scenario="add-one", path="none", position="none")
NAMES = ("v1.30.14", "v1.31.9", "v1.32.13", "v1.33.13", "v1.34.2", "v1.35.4", "v1.36.3", "v1.37.2")


def item(relative: float, verdict: Verdict | None = None) -> Comparison:
    found = Verdict.REGRESSED if relative > 0.01 else Verdict.IMPROVED if relative < -0.01 else Verdict.SAME
    return Comparison(
        KEY,
        verdict or found,
        judged=True,
        threshold=0.01,
        base=1e7,
        new=1e7 * (1 + relative),
        relative=relative,
        low=relative - 0.005,
        high=relative + 0.005,
    )


def searched(levels: list[float], unclear: frozenset[int] = frozenset()) -> tuple[Search, list[str]]:
    lines: list[str] = []

    def measure(old: int, new: int) -> Comparison:
        verdict = Verdict.INCONCLUSIVE if new in unclear else None
        return item(levels[new] / levels[old] - 1, verdict)

    return bisect(NAMES[: len(levels)], measure, lines.append), lines


def test_it_walks_by_halves_and_compares_the_neighbours_last() -> None:
    search, lines = searched([1.0] * 5 + [1.05] * 3)
    assert lines == [
        "v1.30.14 -> v1.37.2: regressed, 10 M instructions -> 10.5 M instructions, +5.00 % (+4.50 % to +5.50 %)",
        "v1.30.14 -> v1.33.13: same, 10 M instructions -> 10 M instructions, +0.00 % (-0.50 % to +0.50 %)",
        "v1.30.14 -> v1.35.4: regressed, 10 M instructions -> 10.5 M instructions, +5.00 % (+4.50 % to +5.50 %)",
        "v1.30.14 -> v1.34.2: same, 10 M instructions -> 10 M instructions, +0.00 % (-0.50 % to +0.50 %)",
        "v1.34.2 -> v1.35.4: regressed, 10 M instructions -> 10.5 M instructions, +5.00 % (+4.50 % to +5.50 %)",
    ]
    assert search.text == (
        "between v1.34.2 and v1.35.4: regressed, 10 M instructions -> 10.5 M instructions, +5.00 % (+4.50 % to +5.50 "
        "%) (assumes that the number changed once and stayed so)"
    )
    assert search.exit_code is ExitCode.REGRESSION


def test_an_improvement_is_found_and_passes() -> None:
    search, lines = searched([1.0, 0.9, 0.9, 0.9])
    assert search.change is not None
    assert (search.change.old, search.change.new, len(lines)) == (0, 1, 2)
    assert (search.verdict, search.exit_code) == (Verdict.IMPROVED, ExitCode.PASS)


def test_no_change_ends_after_one_step() -> None:
    search, lines = searched([1.0] * 8)
    assert (len(lines), search.text, search.change) == (1, "no change between v1.30.14 and v1.37.2", None)
    assert search.exit_code is ExitCode.PASS


def test_what_is_undecided_ends_the_search() -> None:
    search, _ = searched([1.0, 1.0, 1.05, 1.05, 1.05], frozenset({2}))
    assert search.text == (
        "undecided between v1.30.14 and v1.34.2: v1.30.14 -> v1.32.13 is inconclusive; more repetitions may tell"
    )
    assert (search.exit_code, search.change) == (ExitCode.INCONCLUSIVE, None)
    assert searched([1.0, 1.05], frozenset({1}))[0].exit_code is ExitCode.INCONCLUSIVE


def test_a_way_that_goes_down_and_up_is_not_assumed_away() -> None:
    search, _ = searched([1.0, 1.0, 0.9, 1.05, 1.05])
    assert search.text.startswith("undecided between v1.30.14 and v1.34.2: v1.30.14 -> v1.32.13 is improved;")
    assert search.exit_code is ExitCode.INCONCLUSIVE


def test_small_steps_add_up_and_no_single_one_is_blamed() -> None:
    search, lines = searched([1.0, 1.004, 1.008, 1.012, 1.016])
    assert lines[-1].startswith("v1.32.13 -> v1.33.13: same,")
    assert search.text.startswith("undecided between v1.32.13 and v1.33.13: v1.32.13 -> v1.33.13 is same")


@given(st.integers(2, 60), st.data(), st.sampled_from([0.9, 1.02]))
def test_one_change_is_always_found_in_few_steps(count: int, data: st.DataObject, level: float) -> None:
    at = data.draw(st.integers(1, count - 1))
    steps: list[str] = []

    def measure(old: int, new: int) -> Comparison:
        return item((level if new >= at else 1.0) / (level if old >= at else 1.0) - 1)

    search = bisect([str(i) for i in range(count)], measure, steps.append)
    assert search.change is not None
    assert (search.change.old, search.change.new) == (at - 1, at)
    assert len(steps) <= 2 + (count - 1).bit_length()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cpu.control_loop/add-one", Number("cpu.control_loop", Scenario.ADD_ONE)),
        ("forwarding.connect/steady/last", Number("forwarding.connect", Scenario.STEADY, Position.LAST)),
    ],
)
def test_numbers_are_written_and_read(text: str, found: Number) -> None:
    assert number(text) == found
    assert str(found) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sync.full/add-one", '"sync.full" is no metric that counted instructions can judge; write cpu.control_loop'),
        ("cpu", '"cpu" is no metric that counted instructions can judge; write cpu.control_loop'),
        (
            "cpu.control_loop",
            '"cpu.control_loop" names no number; write METRIC/SCENARIO, such as cpu.control_loop/add-one',
        ),
        (
            "cpu.control_loop/add-one/top",
            '"cpu.control_loop/add-one/top" names no number; write METRIC/SCENARIO, such as cpu.control_loop/add-one',
        ),
    ],
)
def test_what_names_no_number(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        number(text)
    assert str(error.value) == message


def test_no_more_is_measured_than_the_number_needs() -> None:
    plan = Plan((Mode.IPTABLES,))
    assert number("cpu.control_loop/add-one").narrow(plan) == Plan(
        (Mode.IPTABLES,), scenarios=(Scenario.ADD_ONE,), forwarding=False
    )
    assert number("cpu.control_loop/idle").narrow(plan).scenarios == (Scenario.COLD_START,)
    assert number("forwarding.connect/steady/last").narrow(plan).forwarding


def test_a_number_is_picked_or_its_absence_is_an_error() -> None:
    outcome = Outcome("v1", "v2", "instructions", 0.01, (item(0.0),))
    assert number("cpu.control_loop/add-one").pick(outcome) == item(0.0)
    with pytest.raises(ResultsError, match=r"^cpu.control_loop/idle was not measured: v1 -> v2$"):
        number("cpu.control_loop/idle").pick(outcome)
    twice = Outcome("v1", "v2", "instructions", 0.01, (item(0.0), item(0.0)))
    with pytest.raises(ResultsError, match=r"^cpu.control_loop/add-one means several numbers: v1 -> v2$"):
        number("cpu.control_loop/add-one").pick(twice)


def test_json() -> None:
    found = as_json(searched([1.0, 1.05])[0])
    assert (found["verdict"], found["exit_code"], len(found["steps"])) == ("regressed", 1, 1)
    assert (found["change"]["old"], found["change"]["new"]) == ("v1.30.14", "v1.31.9")
    assert found["change"]["metric"] == "cpu.control_loop"
