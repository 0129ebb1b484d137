"""Round robin, affinity and its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from refproxy.relay_balance import Balancer
from refproxy.relay_wire import (
    Answer,
    Batch,
    Port,
    Reader,
    decode_answer,
    decode_batch,
    encode,
    encode_answer,
)

A, B, C = ("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80)


def balancer(*endpoints: tuple[str, int], affinity: int = 0) -> Balancer:
    made = Balancer()
    made.update(endpoints, affinity)
    return made


def test_round_robin_over_all_clients() -> None:
    chosen = balancer(A, B, C)
    assert [chosen.choose(f"1.1.1.{i}", 0.0) for i in range(5)] == [A, B, C, A, B]


def test_no_endpoints() -> None:
    assert balancer().choose("1.1.1.1", 0.0) is None


def test_affinity_counts_from_the_last_connection_and_ends() -> None:
    chosen = balancer(A, B, affinity=10)
    assert chosen.choose("1.1.1.1", 0.0) == A
    assert chosen.choose("1.1.1.2", 0.0) == B
    assert chosen.choose("1.1.1.3", 0.0) == A
    assert chosen.choose("1.1.1.1", 9.0) == A
    assert chosen.choose("1.1.1.1", 18.0) == A
    assert chosen.choose("1.1.1.2", 18.0) == B
    assert chosen.choose("1.1.1.1", 28.0) == A  # expired: round robin goes on where it was
    assert chosen.choose("1.1.1.3", 28.0) == B


def test_forgetting_gives_the_next_endpoint_and_stays_there() -> None:
    chosen = balancer(A, B, affinity=10)
    assert chosen.choose("1.1.1.1", 0.0) == A
    assert chosen.choose("1.1.1.1", 1.0, forget=True) == B
    assert chosen.choose("1.1.1.1", 2.0) == B


def test_affinity_survives_an_update_only_to_endpoints_that_stay() -> None:
    chosen = balancer(A, B, affinity=10)
    assert [chosen.choose("1.1.1.1", 0.0), chosen.choose("1.1.1.2", 0.0)] == [A, B]
    chosen.update([C, B], 10)
    assert chosen.choose("1.1.1.2", 1.0) == B
    assert chosen.choose("1.1.1.1", 1.0) == C


def test_expired_clients_are_dropped() -> None:
    chosen = balancer(A, affinity=10)
    for number in range(9_999):
        chosen.choose(str(number), 0.0)
    chosen.choose("late", 20.0)
    assert list(chosen._clients) == ["late"]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_messages_come_through_any_cut(cuts: list[int]) -> None:
    batch = Batch(7, ["gone"], [Port("ns/a:http tcp", "tcp", [A, B], 30080, 60), Port("ns/b udp", "udp", [])])
    answer = Answer(7, {"ns/a:http tcp": 40001}, {"ns/b udp": "udp port any: Address already in use"})
    stream, reader, bodies = encode(batch) + encode_answer(answer, lambda: 12_345), Reader(), []
    at = 0
    for cut in [*cuts, len(stream)]:
        bodies += list(reader.feed(stream[at : at + cut]))
        at += cut
    assert decode_batch(bodies[0]) == batch
    assert decode_answer(bodies[1]) == answer._replace(followed_ns=12_345)
