from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.clocks import ClockDomain, Clocks, Instant, Offset, Ping, Span, estimate, hull, ping
from proxybench.errors import MeasurementError

NS = st.integers(min_value=0, max_value=10**18)
DELAY = st.integers(min_value=0, max_value=10**10)
TRUE = st.integers(min_value=-(10**18), max_value=10**18)
WAYS = st.lists(st.tuples(NS, DELAY, DELAY), min_size=1, max_size=20)


def pings(true: int, ways: list[tuple[int, int, int]]) -> list[Ping]:
    return [Ping(sent, sent + out + true, sent + out + back) for sent, out, back in ways]


@given(TRUE, WAYS)
def test_the_truth_lies_within_the_bound(true: int, ways: list[tuple[int, int, int]]) -> None:
    offset = estimate(pings(true, ways))
    assert abs(offset.value - true) <= offset.bound


@given(TRUE, WAYS)
def test_the_bound_is_half_the_shortest_round_trip(true: int, ways: list[tuple[int, int, int]]) -> None:
    shortest = min(out + back for _, out, back in ways)
    assert estimate(pings(true, ways)).bound == (shortest + 1) // 2


@given(TRUE, NS, DELAY)
def test_equal_ways_give_the_exact_offset(true: int, sent: int, way: int) -> None:
    assert estimate(pings(true, [(sent, way, way)])) == Offset(true, way)


def test_no_ping_is_no_estimate() -> None:
    with pytest.raises(MeasurementError, match=r"^no clock reading came back from the node$"):
        estimate([])


def test_a_local_clock_that_went_back_is_not_used() -> None:
    assert estimate([Ping(10, 0, 5), Ping(10, 1015, 20)]) == Offset(1000, 5)


def test_times_are_translated() -> None:
    offset = Offset(1000, 50)
    assert offset.to_local(1500) == 500


class Ticks:
    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        self.now += 10
        return self.now

    def utc_ns(self) -> int:
        raise AssertionError

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def test_pings_are_taken_one_by_one() -> None:
    answers = iter([500, 520])
    assert ping(lambda: next(answers), Ticks(), count=2) == (Ping(10, 500, 20), Ping(30, 520, 40))


@given(TRUE, DELAY, TRUE, DELAY)
def test_what_lies_between_two_offsets_is_within_their_hull(first: int, bound: int, second: int, other: int) -> None:
    whole = hull(Offset(first, bound), Offset(second, other))
    for value in (first - bound, first + bound, second - other, second + other, (first + second) // 2):
        assert abs(value - whole.value) <= whole.bound
    widest = max(first + bound, second + other) - min(first - bound, second - other)
    assert whole.bound <= (widest + 1) // 2


def test_an_offset_is_measured_again_when_it_matters() -> None:
    near, far = ClockDomain("near"), ClockDomain("far")
    later = {near: Offset(0, 10), far: Offset(1020, 10)}
    clocks = Clocks({near: Offset(0, 10), far: Offset(1000, 10)}, lambda domain: later[domain])
    assert clocks.between(Instant(100, near), Instant(1610, far)) == Span(500, 30)
    assert clocks.between(Instant(100, near), Instant(150, near)) == Span(50, 0)
