from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import AgentError
from proxybench.nodes.exchange import Exchange, HangUp, Heard, Ping, Said, Talk

from .pythons import both_pythons
from .talker import Talker, free_port

if TYPE_CHECKING:
    from proxybench.nodes.client import AgentClient
    from proxybench.nodes.requests import Request

    from .conftest import RunningBackend


@both_pythons
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_who_answers_and_whom_it_sees(agent: AgentClient, backend: RunningBackend, protocol: str) -> None:
    asked = Exchange("127.0.7.1", backend.port, 5, protocol, source="127.0.9.9")  # type: ignore[arg-type] # a parameter
    seen = agent.call(asked)
    assert seen.answers == (Heard("127.0.7.1", "127.0.9.9", 5),)
    assert (seen.errors, seen.timeouts, seen.made, seen.slowest_error_ns) == ({}, 0, 5, 0)
    assert (seen.answered, seen.by, seen.peers) == (5, {"127.0.7.1": 5}, {"127.0.9.9": 5})


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_refusals_are_counted(agent: AgentClient, protocol: str) -> None:
    seen = agent.call(Exchange("127.0.0.1", free_port(), 3, protocol))  # type: ignore[arg-type] # a parameter
    assert (seen.answers, seen.errors, seen.timeouts, seen.made) == ((), {"ECONNREFUSED": 3}, 0, 3)
    assert seen.slowest_error_ns > 0


@both_pythons
def test_silence_is_a_time_out(agent: AgentClient) -> None:
    talker = Talker("")
    try:
        seen = agent.call(Exchange("127.0.0.1", talker.port, 2, timeout_ms=40))
    finally:
        talker.close()
    assert (seen.answers, seen.errors, seen.timeouts, seen.made) == ((), {}, 2, 2)


def test_what_is_no_line_of_a_backend_is_no_answer(agent: AgentClient) -> None:
    talker = Talker("")
    talker.hang_up = True
    try:
        seen = agent.call(Exchange("127.0.0.1", talker.port, 2))
    finally:
        talker.close()
    assert seen.errors == {"NOLINE": 2}
    talker = Talker("too many words")
    try:
        seen = agent.call(Exchange("127.0.0.1", talker.port, 2))
    finally:
        talker.close()
    assert seen.errors == {"NOLINE": 2}


def test_the_time_limit_cuts_it_short(agent: AgentClient) -> None:
    talker = Talker("")
    try:
        seen = agent.call(Exchange("127.0.0.1", talker.port, 50, timeout_ms=50, limit=0.2))
    finally:
        talker.close()
    assert 1 <= seen.made == seen.timeouts < 50  # a busy machine may take longer for each


@both_pythons
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_conversation_keeps_its_connection(agent: AgentClient, backend: RunningBackend, protocol: str) -> None:
    line = Talk("a", "127.0.7.2", backend.port, protocol)  # type: ignore[arg-type] # a parameter
    assert [agent.call(line) for _ in range(3)] == [Said("127.0.7.2", "")] * 3
    agent.call(HangUp())
    assert agent.call(line) == Said("127.0.7.2", "")
    agent.call(HangUp())


def test_a_conversation_that_ends_says_why(agent: AgentClient) -> None:
    assert agent.call(Talk("a", "127.0.0.1", free_port())) == Said(None, "ECONNREFUSED")
    talker = Talker("")
    try:
        assert agent.call(Talk("b", "127.0.0.1", talker.port, timeout_ms=30)) == Said(None, "TIMEOUT")
    finally:
        talker.close()
    talker = Talker("10.0.0.1")
    try:
        line = Talk("c", "127.0.0.1", talker.port)
        assert agent.call(line) in {Said(None, "ECONNRESET"), Said(None, "EPIPE")}
    finally:
        talker.close()


def test_an_answer_to_an_earlier_datagram_is_not_taken_for_this_ones(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", 0))
        line = Talk("a", "127.0.0.1", late.getsockname()[1], "udp", timeout_ms=30)
        assert agent.call(line) == Said(None, "TIMEOUT")
        first, peer = late.recvfrom(100)
        assert first == b"line 1\n"
        late.sendto(b"10.0.0.1 127.0.0.1 1\n" + first, peer)
        assert agent.call(line) == Said(None, "TIMEOUT")
        assert late.recvfrom(100)[0] == b"line 2\n"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Exchange("localhost", 1, 1), "exchange: localhost is not an IPv4 address"),
        (Exchange("1.2.3.4", 1, 0), "exchange: count must be a whole number from 1 to 100000"),
        (Exchange("1.2.3.4", 1, 1, "sctp"), "exchange: protocol must be tcp or udp"),  # type: ignore[arg-type] # the test
        (Exchange("1.2.3.4", 1, 1, source="here"), "exchange: here is not an IPv4 address"),
        (Exchange("1.2.3.4", 1, 1, source="::1"), "exchange: ::1 and 1.2.3.4 are of two families"),
        (Ping("::1", 1), "ping: ::1 is not an IPv4 address"),
        (Talk("", "1.2.3.4", 1), "talk: name must be a text that is not empty"),
    ],
)
def test_wrong_fields_are_named(agent: AgentClient, request_: Request[Any], message: str) -> None:
    with pytest.raises(AgentError) as caught:
        agent.call(request_)
    assert str(caught.value) == f"node1: {message}"


def test_an_address_that_the_node_lacks_is_an_error_of_its_own(agent: AgentClient) -> None:
    assert agent.call(Exchange("127.0.0.1", 1, 2, source="192.0.2.77")).errors == {"EADDRNOTAVAIL": 2}
