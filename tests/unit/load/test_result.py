from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import MeasurementError
from proxybench.load.result import LoadResult, parse

HEAD = {
    "format": 1,
    "begun": True,
    "users": 2,
    "slots": 4,
    "period_ns": 1000,
    "duration_ns": 2_000_000_000,
    "timeout_ns": 5000,
}


def text(rows: list[str], records: int | None = None, **head: Any) -> str:
    foot = {"records": len(rows) if records is None else records}
    return "\n".join([json.dumps(HEAD | head), *rows, json.dumps(foot)]) + "\n"


def values(result: LoadResult) -> dict[str, list[int]]:
    return {name: getattr(result, name).tolist() for name in ("intended_ns", "connect_ns", "first_byte_ns", "lag_ns")}


def test_times_are_taken_from_both_starts() -> None:
    result = parse(text(["1,500,600,650,700,", "0,0,10,30,60,", "2,1000,1000,1010,1030,", "3,1500,1500,1510,1530,"]))
    assert values(result) == {
        "intended_ns": [60, 200, 30, 30],
        "connect_ns": [20, 50, 10, 10],
        "first_byte_ns": [50, 100, 30, 30],
        "lag_ns": [10, 100, 0, 0],
    }
    assert result.connect_ns.dtype == np.int64
    assert (result.failed, result.failures, result.slots, result.timeout_ns) == (0, {}, 4, 5000)
    assert (result.offered, result.achieved) == (2.0, 2.0)


def test_the_records_of_two_clients_are_one_load() -> None:
    first, second = text(["0,0,10,30,60,", "2,1000,1000,0,0,refused"], slots=2), text(["1,500,600,650,700,"], slots=2)
    result = parse(first, second)
    assert values(result)["first_byte_ns"] == [50, 100]
    assert result.failures == {"refused": 1, "unserved": 1}
    assert result.slots == 4
    assert (result.offered, result.achieved) == (2.0, 1.0)


@pytest.mark.parametrize("second", [text(["0,0,10,30,60,"]), text(["1,0,10,30,60,"], timeout_ns=6000)])
def test_records_of_two_loads(second: str) -> None:
    with pytest.raises(MeasurementError, match=r"^the clients' records are not of one load$"):
        parse(text(["0,0,10,30,60,"]), second)


def test_failures_are_counted_not_dropped() -> None:
    result = parse(text(["0,0,10,30,60,", "1,500,600,0,0,refused", "2,1000,1000,1010,0,timeout"]))
    assert values(result)["connect_ns"] == [20]
    assert result.failures == {"refused": 1, "timeout": 1, "unserved": 1}
    assert result.failed == 3
    assert (result.offered, result.achieved) == (2.0, 0.5)


def test_late_answers_lower_the_achieved_rate() -> None:
    rows = [f"{slot},0,0,1,{(slot + 1) * 2_000_000_000}," for slot in range(4)]
    assert parse(text(rows)).achieved == 0.5


def test_nothing_was_answered() -> None:
    result = parse(text([]))
    assert values(result) == {"intended_ns": [], "connect_ns": [], "first_byte_ns": [], "lag_ns": []}
    assert result.failures == {"unserved": 4}
    assert result.achieved == 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "the load's records are not whole"),
        (text(["0,0,10,30,60,"])[:-5], "the load's records are not whole"),
        (text(["0,0,10,30,60,"], records=2), "the load's records are not whole"),
        (text(["0,0,10,30,60,"] * 2), "the load's records are not whole"),
        (text([f"{slot},0,10,30,60," for slot in range(5)]), "the load's records are not whole"),
        (text([], format=2), "the load's records are of another format"),
        ("[]\n[]\n", "the load's records are of another format"),
        (text([], begun=False), "the load ended before all its users were there"),
        (text(["0,0,10"]), r"the load's records cannot be read: not enough values to unpack \(expected 6, got 3\)"),
        (text(["0,0,x,30,60,"]), r"the load's records cannot be read: invalid literal for int\(\) with base 10: 'x'"),
        (text([], slots=None), r"the load's records cannot be read: int\(\) argument must be .*"),
    ],
)
def test_broken_records(broken: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=f"^{message}$"):
        parse(broken)


@given(st.text(alphabet='{}[]":,0123456789\n formatrecds', max_size=80))
def test_no_text_makes_it_crash(anything: str) -> None:
    with pytest.raises(MeasurementError):
        parse(anything)


@given(st.integers(min_value=0, max_value=200))
def test_a_file_that_was_cut_is_never_taken_for_whole(length: int) -> None:
    whole = text(["0,0,10,30,60,", "1,500,600,650,700,"])
    if length < len(whole) - 1:
        with pytest.raises(MeasurementError):
            parse(whole[:length])
