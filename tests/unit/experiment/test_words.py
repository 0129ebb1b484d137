from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.words import (
    Batch,
    distinct,
    format_duration,
    parse_batch,
    parse_duration,
    show,
    suggest,
    switch,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1s", 1.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0s", 0.0), ("1ms", 0.001)],
)
def test_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (1.0, "1s"), (90.0, "90s"), (120.0, "2m"), (7200.0, "2h"), (0.0, "0s"), (0.0005, "0.0005s")],
)
def test_duration_is_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**9), st.sampled_from([1, 10, 1000]))
def test_duration_survives_writing_and_reading(ticks: int, per_second: int) -> None:
    seconds = ticks / per_second
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "5 has no unit; write a duration such as 5s or 5ms"),
        (1.5, "1.5 has no unit; write a duration such as 1.5s or 1.5ms"),
        ("5 s", '"5 s" is not a duration; write a number and ms, s, m or h, such as 500ms'),
        ("-1s", '"-1s" is not a duration; write a number and ms, s, m or h, such as 500ms'),
        (True, "true is not a duration; write a number and ms, s, m or h, such as 500ms"),
        (None, "null is not a duration; write a number and ms, s, m or h, such as 500ms"),
        ([], "a list is not a duration; write a number and ms, s, m or h, such as 500ms"),
    ],
)
def test_what_is_no_duration_is_refused(value: object, message: str) -> None:
    assert _refusal(parse_duration, value) == message


def test_within_includes_both_ends_and_nothing_beyond() -> None:
    check = within("1s", "1m")
    assert (check(1.0), check(60.0)) == (1.0, 60.0)
    assert _refusal(check, 0.999) == "999ms is out of range; write 1s to 1m"
    assert _refusal(check, 60.001) == "60001ms is out of range; write 1s to 1m"


@pytest.mark.parametrize(
    ("value", "services", "added"),
    [("10%", 1000, 100), ("10%", 10, 1), ("10%", 1, 1), ("0.5%", 1000, 5), ("100%", 7, 7), (20, 5, 20)],
)
def test_batch_is_a_count_or_a_share(value: object, services: int, added: int) -> None:
    assert parse_batch(value).of(services) == added


@given(st.one_of(st.integers(1, 10**6).map(str), st.integers(1, 1000).map(lambda tenths: f"{tenths / 10:g}%")))
def test_batch_survives_writing_and_reading(text: str) -> None:
    batch = parse_batch(int(text) if text.isdigit() else text)
    assert str(batch) == text
    assert parse_batch(batch) is batch


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "0 is too small for a batch; write a count such as 20 or a share such as 10%"),
        (True, "true is not a batch; write a count such as 20 or a share such as 10%"),
        ("ten", '"ten" is not a batch; write a count such as 20 or a share such as 10%'),
        (1.5, "1.5 is not a batch; write a count such as 20 or a share such as 10%"),
        ("0%", "0% is out of range; write more than 0% and at most 100%"),
        ("101%", "101% is out of range; write more than 0% and at most 100%"),
    ],
)
def test_what_is_no_batch_is_refused(value: object, message: str) -> None:
    assert _refusal(parse_batch, value) == message


def test_an_empty_batch_still_adds_one() -> None:
    assert Batch(share=0.001).of(10) == 1


def test_switch_reads_off_on_and_settings() -> None:
    assert switch(value=False) is None
    assert switch(value=True) == {}
    assert switch({"idle": "5s"}) == {"idle": "5s"}
    assert _refusal(switch, None) == "nothing is written here; write true, false or the settings"
    assert _refusal(switch, "yes") == '"yes" is no switch; write true, false or the settings'


def test_distinct_names_what_is_twice() -> None:
    assert distinct((1, 2)) == (1, 2)
    assert _refusal(distinct, (1, 2, 2, 1, 3)) == "1, 2 is named twice; name it once"


def test_suggest_prefers_a_near_word() -> None:
    assert suggest("iptable", ["ipvs", "iptables"], "one of") == 'did you mean "iptables"?'
    assert suggest("xyz", ["ipvs", "iptables"], "one of") == "one of: ipvs, iptables"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        (False, "false"),
        ({}, "a mapping"),
        ((1,), "a list"),
        (3, "3"),
        ("x\x1b[31m", '"x\\x1b[31m"'),
        ("y" * 100, '"' + "y" * 59 + "…"),
    ],
)
def test_show_is_one_printable_short_line(value: object, text: str) -> None:
    assert show(value) == text


def _refusal(call: Callable[..., object], value: object) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call(value)
    return str(caught.value)
