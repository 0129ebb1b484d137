from __future__ import annotations

import pytest

from proxybench.units import human, scale


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
    ],
)
def test_every_unit_has_its_words(value: float, unit: str, words: str) -> None:
    assert human(value, unit) == words


def test_an_axis_has_the_unit_a_person_would_choose() -> None:
    assert scale(167_000, "ns") == (1_000, "µs")
    assert scale(2**21, "bytes") == (2**20, "MiB")
    assert scale(3, "ns") == (1, "ns")
    assert scale(0.0, "ns") == (1, "ns")
    assert scale(5.0, "connections") == (1, "connections")
