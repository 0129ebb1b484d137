from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proxybench.cli.progress import LiveProgress, PlainProgress, Tally, describe, open_progress
from proxybench.cli.remaining import CostModel, first_guess
from proxybench.cli.terminal import human_seconds
from proxybench.experiment.matrix import Step
from proxybench.experiment.spec import Experiment
from proxybench.model import Cell, Mode
from proxybench.testing.clock import FakeClock
from proxybench.testing.model import make_cell

PLAIN = Experiment.model_validate(
    {"version": 1, "name": "p", "modes": ["ipvs"], "scale": {"services": [10]}, "measure": {"cpu": {"idle": "20s"}}}
)


def guess(cell: Cell) -> float:
    return first_guess(PLAIN, cell)


def made(clock: FakeClock, processors: int = 2) -> Tally:
    return Tally(clock, PLAIN, processors)


def step(index: int, mode: Mode = Mode.IPTABLES, services: int = 10, repetition: int = 1) -> Step:
    return Step(index, repetition, make_cell(mode, services, 2))


CELLS = st.builds(make_cell, st.sampled_from(Mode), st.integers(1, 16000), st.integers(1, 4))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599, "59 min 59 s"),
        (4200, "1 h 10 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_spans_of_time_read_as_people_say_them(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_cells_are_named_for_people() -> None:
    assert describe(make_cell(Mode.IPVS, 1000, 2)) == "reference 0.1.0 ipvs, 1000 Services x 2 endpoints"
    assert describe(make_cell(Mode.IPVS, 1, 1)) == "reference 0.1.0 ipvs, 1 Service x 1 endpoint"


def test_cost_model_trusts_the_same_cell_then_the_same_mode_then_all() -> None:
    model = CostModel(guess)
    ipvs, larger_ipvs = make_cell(Mode.IPVS, 10, 2), make_cell(Mode.IPVS, 1000, 2)
    iptables = make_cell(Mode.IPTABLES, 10, 2)
    assert model.expect(ipvs) == guess(ipvs)
    model.learn(ipvs, 2 * guess(ipvs))
    assert model.expect(ipvs) == 2 * guess(ipvs)
    assert model.expect(larger_ipvs) == pytest.approx(2 * guess(larger_ipvs))
    assert model.expect(iptables) == pytest.approx(2 * guess(iptables))
    model.learn(iptables, guess(iptables) / 2)
    assert model.expect(larger_ipvs) == pytest.approx(2 * guess(larger_ipvs))
    assert model.expect(iptables) == guess(iptables) / 2
    model.learn(ipvs, 4 * guess(ipvs))
    assert model.expect(ipvs) == 3 * guess(ipvs)


@given(st.lists(CELLS, max_size=6), CELLS, st.floats(0.1, 50))
def test_a_machine_that_is_slower_by_a_factor_is_expected_to_be_so(seen: list[Cell], cell: Cell, factor: float) -> None:
    model = CostModel(guess)
    for each in seen:
        model.learn(each, factor * guess(each))
    assert model.expect(cell) == pytest.approx((factor if seen else 1.0) * guess(cell))


def test_remaining_time_falls_as_time_passes_and_never_below_what_is_left() -> None:
    clock = FakeClock()
    tally = made(clock)
    steps = [step(1), step(2, repetition=2), step(3, repetition=3)]
    tally.plan(steps, 1)
    each = guess(steps[0].cell)
    assert tally.remaining() == pytest.approx(3 * each)
    tally.start(steps[0])
    clock.sleep(5)
    assert tally.remaining() == pytest.approx(3 * each - 5)
    clock.sleep(100)
    assert tally.remaining() == pytest.approx(2 * each)
    tally.finish(steps[0], 105.0, None)
    assert tally.remaining() == pytest.approx(210)
    tally.start(steps[1])
    tally.finish(steps[1], 1.0, "no answer")
    assert tally.remaining() == pytest.approx(105)


def test_plain_lines_tell_start_end_and_times() -> None:
    clock, lines = FakeClock(), list[str]()
    progress = PlainProgress(lines.append, made(clock))
    steps = [step(1), step(2, Mode.IPVS)]
    progress.stage("build the lab")
    clock.sleep(20)
    progress.plan(steps, 1)
    progress.step_started(steps[0])
    progress.step_activity(steps[0], "cold start")
    clock.sleep(30)
    progress.step_finished(steps[0], 30, None)
    progress.step_started(steps[1])
    clock.sleep(4)
    progress.step_finished(steps[1], 4, "VIPs do not answer")
    progress.note("the clock is instructions")
    progress.stage("write the report")
    progress.close()
    progress.close()
    assert lines == [
        "build the lab (0 s elapsed)",
        "2 steps to do, about 50 s by a rough first guess",
        "[1/2] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1 (20 s elapsed, about 50 s left)",
        (
            "[1/2] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1: done in 30 s"
            " (50 s elapsed, about 30 s left)"
        ),
        "[2/2] reference 0.1.0 ipvs, 10 Services x 2 endpoints, repetition 1 (50 s elapsed, about 30 s left)",
        (
            "[2/2] reference 0.1.0 ipvs, 10 Services x 2 endpoints, repetition 1: failed after 4 s: VIPs do not answer"
            " (54 s elapsed, about 0 s left)"
        ),
        "the clock is instructions",
        "write the report (54 s elapsed, about 0 s left)",
    ]


def test_a_resumed_run_plans_what_is_left() -> None:
    lines = list[str]()
    progress = PlainProgress(lines.append, made(FakeClock()))
    progress.plan([step(33)], 1)
    progress.step_started(step(33))
    assert lines == [
        "1 step to do, about 25 s by a rough first guess",
        "[1/1] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1 (0 s elapsed, about 25 s left)",
    ]


def test_steps_side_by_side_share_the_time_from_the_beginning() -> None:
    clock = FakeClock()
    tally = made(clock)
    steps = [step(index) for index in range(1, 5)]
    tally.plan(steps, 2)
    each = guess(steps[0].cell)
    assert tally.remaining() == pytest.approx(4 * each / 2)
    tally.start(steps[0])
    assert tally.remaining() == pytest.approx(4 * each / 2)
    tally.start(steps[1])
    clock.sleep(10)
    tally.finish(steps[1], 10, None)
    assert tally.current == (steps[0],)
    assert tally.remaining() == pytest.approx((0 + 2 * 10) / 2)  # the first is as old as a finished one


def test_a_step_keeps_its_number() -> None:
    tally = made(FakeClock())
    steps = [step(index) for index in range(1, 5)]
    tally.plan(steps, 2)
    tally.start(steps[2])
    tally.start(steps[0])
    tally.finish(steps[0], 10, None)
    tally.start(steps[1])
    assert [tally.place(one) for one in (steps[2], steps[0], steps[1])] == [
        "[1/4] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1",
        "[2/4] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1",
        "[3/4] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1",
    ]


def drawn(progress: LiveProgress) -> list[str]:
    page = Console(file=io.StringIO(), width=100, color_system=None)
    with page.capture() as capture:
        page.print(progress.draw())
    return [line.rstrip() for line in capture.get().splitlines()]


def test_live_progress_shows_cell_activity_share_of_time_and_times() -> None:
    clock, stream = FakeClock(), io.StringIO()
    progress = LiveProgress(
        Console(file=stream, width=100, force_terminal=True, highlight=False, color_system="standard", no_color=False),
        made(clock),
        refresh=False,
    )
    try:
        progress.stage("build the lab")
        assert drawn(progress)[0] == "build the lab"
        assert drawn(progress)[1].endswith(" 0 s elapsed")
        steps = [step(1), step(2, Mode.IPVS)]
        progress.plan(steps, 1)
        progress.step_started(steps[0])
        progress.step_activity(steps[0], "cold start [1]")
        clock.sleep(12)
        text, line = drawn(progress)
        assert text == "[1/2] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1: cold start [1] (12 s)"
        assert line == f"{'━' * 9}╸{' ' * 30} 12 s elapsed, about 38 s left"
        progress.step_finished(steps[0], 12, None)
        progress.step_started(steps[1])
        progress.step_finished(steps[1], 1, "no [answer]")
        assert drawn(progress)[0] == "between steps"
    finally:
        progress.close()
        progress.close()
    written = stream.getvalue()
    assert "[1/2] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1: done in 12 s" in written
    assert (
        "[2/2] reference 0.1.0 ipvs, 10 Services x 2 endpoints, repetition 1: failed after 1 s: no [answer]" in written
    )
    assert (
        "\x1b[32m[1/2] reference 0.1.0 iptables, 10 Services x 2 endpoints, repetition 1: done in 12 s\x1b[0m"
        in written
    )
    assert written.count("\x1b[32m") == 1  # what is drawn below is not coloured with it
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveProgress), (False, PlainProgress)])
def test_what_standard_error_is_decides_the_kind(
    terminal: bool, kind: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    progress = open_progress(PLAIN)
    progress.close()
    assert isinstance(progress, kind)
