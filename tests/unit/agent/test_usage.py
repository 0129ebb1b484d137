from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.agent.fields import OpError
from proxybench.agent.usage import (
    parse_bytes,
    parse_cpu_stat,
    parse_resident_peak,
    parse_stat,
)

CPU_STAT = """usage_usec 1234567
user_usec 1000000
system_usec 234567
nice_usec 0
nr_periods 0
nr_throttled 0
throttled_usec 0
"""
STAT = """cpu  67196 3 19171 388915 13470 7 957 2459 0 0
cpu0 33598 0 9585 194457 6735 0 478 1229 0 0
intr 123
"""


def test_cpu_stat_is_read_in_nanoseconds() -> None:
    assert parse_cpu_stat(CPU_STAT) == {
        "usage_ns": 1_234_567_000,
        "user_ns": 1_000_000_000,
        "system_ns": 234_567_000,
    }


def test_stat_is_read_in_nanoseconds() -> None:
    assert parse_stat(STAT, 100) == {"busy_ns": 873_340_000_000, "softirq_ns": 9_570_000_000}


@pytest.mark.parametrize(("text", "value"), [("4096\n", 4096), ("max\n", None), (None, None), ("-1", None)])
def test_memory_is_bytes_or_nothing(text: str | None, value: int | None) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("usage_usec 1\nuser_usec 1\n", "cpu.stat has no system_usec"),
        ("usage_usec x\n", "cpu.stat has a line that is not a name and a number"),
    ],
)
def test_a_strange_cpu_stat_is_named(text: str, message: str) -> None:
    with pytest.raises(OpError, match=rf"^{re.escape(message)}$"):
        parse_cpu_stat(text)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3 4 5 6 7 -8"])
def test_a_strange_stat_is_named(text: str) -> None:
    with pytest.raises(OpError, match=r"^/proc/stat does not begin with a line of CPU times$"):
        parse_stat(text, 100)


counts = st.integers(min_value=0, max_value=2**62)


@given(counts, counts, counts)
def test_cpu_stat_round_trips(usage: int, user: int, system: int) -> None:
    text = f"usage_usec {usage}\nuser_usec {user}\nsystem_usec {system}\n"
    assert parse_cpu_stat(text) == {"usage_ns": usage * 1000, "user_ns": user * 1000, "system_ns": system * 1000}


@given(st.lists(counts, min_size=8, max_size=10), st.sampled_from([100, 250, 1000]))
def test_stat_round_trips(ticks: list[int], clk_tck: int) -> None:
    figures = parse_stat("cpu  " + " ".join(str(tick) for tick in ticks) + "\ncpu0 1\n", clk_tck)
    user, nice, system, _idle, _iowait, irq, softirq, *_ = ticks
    busy = user + nice + system + irq + softirq
    assert figures == {"busy_ns": busy * 10**9 // clk_tck, "softirq_ns": softirq * 10**9 // clk_tck}


@given(st.text())
def test_no_text_does_more_than_raise_the_right_error(text: str) -> None:
    for parse in (parse_cpu_stat, lambda given: parse_stat(given, 100)):
        with contextlib.suppress(OpError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "peak"),
    [
        ("Name:\tkube-proxy\nVmPeak:\t  1289012 kB\nVmHWM:\t   59012 kB\nVmRSS:\t   58000 kB\n", 59012 * 1024),
        ("Name:\tkworker/0:1\nThreads:\t1\n", 0),
        ("VmHWM:\t-1 kB\n", 0),
        ("", 0),
    ],
)
def test_the_largest_resident_set_is_read_in_bytes(text: str, peak: int) -> None:
    assert parse_resident_peak(text) == peak
