from __future__ import annotations

from dataclasses import dataclass, field, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.columns import TEXT, build, columns_of, flat, names_of
from proxybench.model import Family, Key, Mode, Point, Position, Sample, Scenario, Subject

REAL = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES, (("iptables", "nft"),))
POINT = Point(REAL, 1000, 2, Scenario.STEADY, "cluster_ip", Family.IPV6, Position.LAST)


@dataclass(frozen=True, order=True, kw_only=True)
class Wider(Key):
    """A key with one dimension more: this line is all that it takes."""

    protocol: str = "tcp"


def test_columns_are_the_fields_with_the_subject_spread_out() -> None:
    subject = tuple(each.name for each in fields(Subject))
    assert names_of(Key) == (*subject, *(each.name for each in fields(Key) if each.name != "subject"))
    point = names_of(Point)
    assert names_of(Sample) == ("run", *point, *(each.name for each in fields(Sample)[2:]))


def test_a_new_dimension_is_a_new_column() -> None:
    key = Wider(**vars(POINT), metric="m", unit="ns", clock="wall")  # type: ignore[arg-type] # a word, as in a file
    assert names_of(Wider) == (*names_of(Key), "protocol")
    assert build(Wider, flat(key) | {"protocol": "udp"}).protocol == "udp"
    assert build(Wider, flat(key) | {"more": 1}) == key


def test_a_point_in_plain_words_and_numbers() -> None:
    assert flat(POINT) == {
        "kind": "kube-proxy",
        "version": "v1.37.2",
        "mode": "nftables",
        "settings": "iptables=nft",
        "services": 1000,
        "endpoints_per_service": 2,
        "scenario": "steady",
        "path": "cluster_ip",
        "family": "ipv6",
        "position": "last",
        "profile": "",
    }
    assert {type(value) for value in flat(POINT).values()} == {str, int}
    assert build(Point, flat(POINT)) == POINT


def test_none_stays_none_and_its_column_is_of_numbers() -> None:
    (rank,) = (column for column in columns_of(Sample) if column.name == "rank")
    assert (rank.kind, rank.parse(None), rank.parse("3"), rank.default) == (int, None, 3, None)


def test_what_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(KeyError, match="services"):
        build(Point, {name: value for name, value in flat(POINT).items() if name != "services"})
    with pytest.raises(ValueError, match="'repair' is not a valid Scenario"):
        build(Point, flat(POINT) | {"scenario": "repair"})


@dataclass(frozen=True)
class Twice:
    subject: Subject
    mode: str


@dataclass(frozen=True)
class Odd:
    pairs: tuple[int, ...]


@dataclass(frozen=True)
class Written:
    pairs: tuple[int, ...] = field(metadata={TEXT: (lambda pairs: f"{len(pairs)}", lambda text: (0,) * int(text))})


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="Twice: two of its columns have one name"):
        columns_of(Twice)


def test_a_field_that_is_no_word_and_no_number_must_say_how_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"pairs: .* is neither word nor number"):
        columns_of(Odd)
    assert flat(Written((1, 2))) == {"pairs": "2"}
    assert build(Written, {"pairs": "2"}) == Written((0, 0))


@given(st.builds(Subject, st.text(), st.text(), st.sampled_from(Mode), st.just((("b", "x y"), ("c", "'=\"")))))
def test_any_subject_comes_back(subject: Subject) -> None:
    assert build(Subject, flat(subject)) == subject
