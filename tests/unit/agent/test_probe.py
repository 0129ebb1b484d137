from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from proxybench.agent.fields import Fields
from proxybench.agent.probe import Target as WireTarget
from proxybench.agent.probe import interleaved
from proxybench.errors import AgentError
from proxybench.nodes.requests import Connect, Established, Target

from .pythons import both_pythons
from .talker import Talker, free_port

if TYPE_CHECKING:
    from proxybench.nodes.client import AgentClient

    from .conftest import RunningBackend


@both_pythons
def test_new_connections_are_measured_per_target(agent: AgentClient, backend: RunningBackend) -> None:
    seen = agent.call(
        Connect(
            (
                Target("right", "127.0.5.1", backend.port, ("127.0.5.1",)),
                Target("wrong", "127.0.5.2", backend.port, ("127.0.5.1",)),
                Target("any", "127.0.5.3", backend.port),
            ),
            rounds=4,
            block=10,
            warmup=5,
        )
    )
    assert seen.complete
    assert list(seen.targets) == ["right", "wrong", "any"]
    for figures, host, wrong in zip(
        seen.targets.values(), ("127.0.5.1", "127.0.5.2", "127.0.5.3"), (0, 40, 0), strict=True
    ):
        assert len(figures.connect_ns) == len(figures.first_byte_ns) == len(figures.rtt_us) == 40
        assert all(0 < one < two for one, two in zip(figures.connect_ns, figures.first_byte_ns, strict=True))
        assert all(0 < rtt < 1_000_000 for rtt in figures.rtt_us)
        assert (figures.answers, figures.wrong) == ({host: 40}, wrong)
        assert (figures.errors, figures.timeouts) == ({}, 0)
        assert figures.connect_censored_ns == figures.first_byte_censored_ns == ()


@both_pythons
def test_who_answered_is_told_in_order_when_it_is_asked(agent: AgentClient, backend: RunningBackend) -> None:
    target = Target("a", "127.0.5.7", backend.port)
    seen = agent.call(Connect((target,), rounds=1, block=3, ordered=1)).targets["a"]
    assert (seen.order, len(seen.first_byte_ns)) == (("127.0.5.7",) * 3, 3)
    assert agent.call(Connect((target,), rounds=1, block=3)).targets["a"].order == ()


@both_pythons
def test_requests_over_udp_are_answered_and_judged(agent: AgentClient, backend: RunningBackend) -> None:
    right = Target("right", "127.0.5.1", backend.port, ("127.0.5.1",), protocol="udp")
    wrong = Target("wrong", "127.0.5.2", backend.port, ("127.0.5.1",), protocol="udp")
    seen = agent.call(Connect((right, wrong), rounds=2, block=5, warmup=2, ordered=1))
    assert seen.complete
    for figures, host, strangers in zip(seen.targets.values(), ("127.0.5.1", "127.0.5.2"), (0, 10), strict=True):
        assert (len(figures.first_byte_ns), figures.connect_ns, figures.rtt_us) == (10, (), ())
        assert all(value > 0 for value in figures.first_byte_ns)
        assert (figures.answers, figures.wrong, figures.order) == ({host: 10}, strangers, (host,) * 10)
        assert (figures.errors, figures.timeouts) == ({}, 0)


def test_udp_that_nobody_takes_is_refused_and_that_nobody_answers_times_out(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        silent = Target("silent", "127.0.0.1", deaf.getsockname()[1], protocol="udp")
        refused = Target("refused", "127.0.0.1", free_port(), protocol="udp")
        seen = agent.call(Connect((silent, refused), rounds=1, block=2, timeout_ms=40)).targets
    assert (seen["silent"].first_byte_censored_ns, seen["silent"].timeouts) == ((40_000_000, 40_000_000), 2)
    assert (seen["refused"].errors, seen["refused"].timeouts) == ({"ECONNREFUSED": 2}, 0)


def test_another_protocol_is_refused(agent: AgentClient) -> None:
    odd = Target("a", "127.0.0.1", 80, protocol="sctp")  # type: ignore[arg-type]
    with pytest.raises(AgentError, match="protocol must be tcp or udp"):
        agent.call(Connect((odd,), rounds=1, block=1))


def test_refusals_are_counted_by_name(agent: AgentClient) -> None:
    seen = agent.call(Connect((Target("a", "127.0.0.1", free_port()),), rounds=2, block=3)).targets["a"]
    assert (seen.errors, seen.connect_ns, seen.timeouts) == ({"ECONNREFUSED": 6}, (), 0)


@both_pythons
def test_time_outs_are_censored_at_their_limit(agent: AgentClient) -> None:
    talker = Talker("")
    try:
        request = Connect((Target("a", "127.0.0.1", talker.port),), rounds=1, block=2, timeout_ms=40)
        seen = agent.call(request).targets["a"]
    finally:
        talker.close()
    assert len(seen.connect_ns) == 2  # the kernel completed the handshakes, so these are values
    assert (seen.first_byte_ns, seen.connect_censored_ns) == ((), ())
    assert (seen.first_byte_censored_ns, seen.timeouts, seen.errors) == ((40_000_000, 40_000_000), 2, {})


@both_pythons
def test_a_handshake_that_times_out_censors_both_latencies(agent: AgentClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        port = deaf.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the one that the queue has room for
            request = Connect((Target("a", "127.0.0.1", port),), rounds=1, block=2, timeout_ms=40)
            seen = agent.call(request).targets["a"]
    assert seen.connect_censored_ns == seen.first_byte_censored_ns == (40_000_000, 40_000_000)
    assert (seen.connect_ns, seen.timeouts, seen.errors) == ((), 2, {})


def test_the_time_limit_of_all_is_kept_and_told(agent: AgentClient) -> None:
    talker = Talker("")
    try:
        request = Connect((Target("a", "127.0.0.1", talker.port),), rounds=50, block=2, timeout_ms=50, limit=0.2)
        seen = agent.call(request)
    finally:
        talker.close()
    assert not seen.complete
    assert 3 <= seen.targets["a"].timeouts <= 5


def test_a_closed_connection_is_no_answer(agent: AgentClient) -> None:
    talker = Talker("")
    talker.hang_up = True
    try:
        seen = agent.call(Connect((Target("a", "127.0.0.1", talker.port),), rounds=1, block=3)).targets["a"]
    finally:
        talker.close()
    assert (seen.errors, seen.answers, len(seen.connect_ns)) == ({"NOLINE": 3}, {}, 3)


@both_pythons
def test_established_round_trips(agent: AgentClient, backend: RunningBackend) -> None:
    port = free_port()
    seen = agent.call(
        Established((Target("a", "127.0.6.1", backend.port), Target("b", "127.0.0.1", port)), count=20, warmup=3)
    )
    assert seen.complete
    assert len(seen.targets["a"].rtt_ns) == 20
    assert all(rtt > 0 for rtt in seen.targets["a"].rtt_ns)
    assert (seen.targets["a"].errors, seen.targets["a"].timeouts) == ({}, 0)
    assert (seen.targets["b"].rtt_ns, seen.targets["b"].errors) == ((), {"ECONNREFUSED": 1})


def test_an_established_time_out_is_censored_once(agent: AgentClient) -> None:
    talker = Talker("")
    try:
        request = Established((Target("a", "127.0.0.1", talker.port),), count=5, timeout_ms=30)
        seen = agent.call(request).targets["a"]
    finally:
        talker.close()
    assert (seen.rtt_ns, seen.timeouts, seen.censored_ns, seen.errors) == ((), 1, (30_000_000,), {})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Connect((), 1, 1), "targets must be a list of objects that is not empty"),
        (Connect((Target("a", "1.2.3.4", 1),) * 2, 1, 1), "targets must have different labels"),
        (Connect((Target("a", "localhost", 1),), 1, 1), "localhost is not an IPv4 address"),
        (Connect((Target("a", "1.2.3.4", 0),), 1, 1), "port must be a whole number from 1 to 65535"),
        (Connect((Target("a", "1.2.3.4", 1),), 1, 257), "block must be a whole number from 1 to 256"),
    ],
)
def test_wrong_fields_are_named(agent: AgentClient, request_: Connect, message: str) -> None:
    with pytest.raises(AgentError) as caught:
        agent.call(request_)
    assert str(caught.value) == f"node1: connect: {message}"


def test_the_first_target_is_rotated_by_round() -> None:
    targets = [WireTarget(Fields({"label": label, "host": "127.0.0.1", "port": 1})) for label in "abc"]
    assert "".join(target.label for target in interleaved(targets, 4)) == "abcbcacababc"
