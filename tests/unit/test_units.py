from __future__ import annotations

import pytest

from proxybench.units import human, least, resolved, scale, short, shown_unit


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (999.6, "1 µs"),
        (1_234, "1.23 µs"),
        (999_400, "999 µs"),
        (999_600_000, "1 s"),
        (-999_600_000, "-1 s"),
        (12_345_678_900, "12.3 s"),
        (4_321_000_000_000, "4321 s"),
    ],
)
def test_three_digits_and_never_a_thousand_of_a_unit_that_has_a_greater_one(value: float, words: str) -> None:
    assert human(value, "ns") == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1_234, "ns", "1.23 µs"),
        (1023, "bytes", "1023 bytes"),
        (1024, "bytes", "1 KiB"),
        (1000 * 1024**2, "bytes", "1000 MiB"),
        (-1.5 * 1024**3, "bytes", "-1.5 GiB"),
        (0.1234, "connections", "0.123 connections"),
        (2_004.4, "connections/s", "2004 connections/s"),
        (0, "ppm", "0 %"),
        (300, "ppm", "0.03 %"),
        (123_456, "ppm", "12.3 %"),
    ],
)
def test_every_unit_has_its_words(value: float, unit: str, words: str) -> None:
    assert human(value, unit) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0.0, "0 instructions"),
        (999.4, "999 instructions"),
        (999.6, "1 k instructions"),
        (12_345.0, "12.3 k instructions"),
        (999_600.0, "1 M instructions"),
        (12_345_678.0, "12.3 M instructions"),
        (1.66e9, "1.66 G instructions"),
        (-12_345.0, "-12.3 k instructions"),
    ],
)
def test_counted_instructions_are_no_seconds(count: float, words: str) -> None:
    unit = shown_unit("ns", "instructions")
    assert human(count, unit) == words
    assert short(count, unit) == words.removesuffix(" instructions")


@pytest.mark.parametrize(("unit", "clock"), [("ns", "wall"), ("bytes", "instructions"), ("connections", "wall")])
def test_other_numbers_are_told_in_the_unit_they_are_stored_in(unit: str, clock: str) -> None:
    assert shown_unit(unit, clock) == unit


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1_234, "ns", "1.23 µs"),
        (2_048, "bytes", "2 KiB"),
        (2_004.4, "connections", "2,004"),
        (25_344, "connections", "25,344"),
    ],
)
def test_a_mere_count_may_lack_its_noun(value: float, unit: str, words: str) -> None:
    assert short(value, unit) == words


@pytest.mark.parametrize(
    ("value", "unit", "uncertainty", "words"),
    [
        (0.0, "ns", 0.0, "< 1 µs"),
        (0.0, "ns", 5e6, "≤ 5 ms"),
        (4e6, "ns", 5e6, "≤ 9 ms"),
        (5e6, "ns", 5e6, "≤ 10 ms"),
        (6e6, "ns", 5e6, "6 ms"),
        (300.0, "ns", 0.0, "300 ns"),
        (0.0, "instructions", 0.0, "< 1 k instructions"),
        (0.0, "bytes", 0.0, "0 bytes"),
        (0.0, "syncs", 0.0, "0 syncs"),
        (-3.0, "ns", 5e6, "-3 ns"),
    ],
)
def test_what_is_not_resolved_is_told_as_what_it_is_less_than(
    value: float, unit: str, uncertainty: float, words: str
) -> None:
    assert resolved(value, unit, uncertainty) == words
    assert resolved(value, unit, uncertainty, short) == words.removesuffix(" instructions").removesuffix(" syncs")
    bound = least(value, unit, uncertainty)
    assert (bound is None) is (words[0] not in "<≤")


def test_an_axis_has_the_unit_a_person_would_choose() -> None:
    assert scale(167_000, "ns") == (1_000, "µs")
    assert scale(2**21, "bytes") == (2**20, "MiB")
    assert scale(3, "ns") == (1, "ns")
    assert scale(0.0, "ns") == (1, "ns")
    assert scale(5.0, "connections") == (1, "connections")
