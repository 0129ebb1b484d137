from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import AgentError
from proxybench.nodes.watch import BeginWatch, EndWatch, FillConntrack, Watched

from .pythons import both_pythons
from .talker import Talker, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.nodes.client import AgentClient
    from proxybench.nodes.watch import Seen, WatchResult

    from .conftest import PipeSession, RunningBackend

HERE = "127.0.0.1"


@pytest.fixture
def talker() -> Iterator[Talker]:
    talker = Talker("10.0.0.1")
    yield talker
    talker.close()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def watched(agent: AgentClient, *targets: Watched, during: Callable[[], None]) -> WatchResult:
    begun = agent.call(BeginWatch(targets))
    during()
    return agent.call(EndWatch(begun.pid))


def outcomes(seen: Seen) -> list[str]:
    return [stretch.outcome for stretch in seen.stretches]


@both_pythons
def test_what_answers_and_then_refuses_is_an_outage_that_does_not_end(agent: AgentClient, talker: Talker) -> None:
    def stop() -> None:
        until(lambda: talker.served > 3)
        talker.close()
        time.sleep(0.2)

    seen = watched(agent, Watched("it", HERE, talker.port, interval_ms=10), during=stop).targets["it"]
    assert outcomes(seen)[0] == "answered"
    assert outcomes(seen)[-1] == "refused"
    assert seen.count("answered") >= 4
    assert seen.attempts == seen.count("answered", "refused", "reset")  # one may be accepted while it closes
    assert seen.answers["10.0.0.1"].count == seen.count("answered")
    assert seen.outages()[-1].end_ns is None
    assert seen.gap_ns > 0


def test_an_endpoint_that_was_not_expected_is_wrong(agent: AgentClient, talker: Talker) -> None:
    target = Watched("it", HERE, talker.port, interval_ms=10, expect=("10.0.0.9",))
    seen = watched(agent, target, during=lambda: until(lambda: talker.served > 2)).targets["it"]
    assert outcomes(seen) == ["wrong"]
    assert seen.lost == seen.attempts


def test_silence_is_told_after_its_time(agent: AgentClient, talker: Talker) -> None:
    talker.name = ""
    target = Watched("it", HERE, talker.port, interval_ms=20, timeout_ms=60)
    seen = watched(agent, target, during=lambda: time.sleep(0.3)).targets["it"]
    assert outcomes(seen) == ["silent"]
    assert seen.attempts >= 2


def test_who_hangs_up_without_a_word_resets(agent: AgentClient, talker: Talker) -> None:
    talker.name, talker.hang_up = "", True
    seen = watched(agent, Watched("it", HERE, talker.port, interval_ms=20), during=lambda: time.sleep(0.2))
    assert outcomes(seen.targets["it"]) == ["reset"]


@both_pythons
def test_datagrams_keep_their_port(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        sock.settimeout(10)
        peers, begun = set(), agent.call(BeginWatch((Watched("it", HERE, sock.getsockname()[1], "udp", 10),)))
        for _ in range(5):
            payload, peer = sock.recvfrom(100)
            peers.add(peer)
            sock.sendto(b"10.0.0.7 1.1.1.1 1\n" + payload, peer)
        time.sleep(0.05)
        sock.close()
        seen = agent.call(EndWatch(begun.pid)).targets["it"]
    assert len(peers) == 1
    assert seen.answers["10.0.0.7"].count == 5
    assert outcomes(seen)[0] == "answered"


def test_datagrams_to_nobody_are_refused(agent: AgentClient) -> None:
    target = Watched("it", HERE, free_port(), "udp", 10, timeout_ms=100)
    seen = watched(agent, target, during=lambda: time.sleep(0.3)).targets["it"]
    assert "refused" in outcomes(seen)
    assert seen.count("answered") == 0


def test_a_held_connection_lives_and_says_how_long_its_slowest_line_took(
    agent: AgentClient, backend: RunningBackend
) -> None:
    result = watched(agent, Watched("it", "127.0.0.5", backend.port, "held", 10), during=lambda: time.sleep(0.3))
    held = result.held["it"]
    assert held.broken == ""
    assert 0 < held.longest_ns < result.end_ns - result.start_ns + 10**9
    assert result.targets == {}
    assert result.cpu_ns > 0


def test_a_held_connection_that_is_closed_is_broken(agent: AgentClient, talker: Talker) -> None:
    held = watched(agent, Watched("it", HERE, talker.port, "held", 10), during=lambda: time.sleep(0.2)).held["it"]
    assert held.broken == "reset"


def test_a_held_connection_whose_lines_do_not_come_back_is_broken_silently(agent: AgentClient) -> None:
    with socket.create_server((HERE, 0)) as server:
        begun_late = Watched("it", HERE, server.getsockname()[1], "held", 20, timeout_ms=1000)
        kept: list[socket.socket] = []

        def greet() -> None:
            sock, _ = server.accept()
            sock.sendall(b"10.0.0.3 1 1\n")
            kept.append(sock)

        threading.Thread(target=greet, daemon=True).start()
        held = watched(agent, begun_late, during=lambda: time.sleep(0.2)).held["it"]
        kept[0].close()
    assert held.broken == "silent"


def test_the_stall_of_a_connection_that_is_reset_ends_there(agent: AgentClient) -> None:
    with socket.create_server((HERE, 0)) as server:

        def greet_and_reset() -> None:
            sock, _ = server.accept()
            sock.sendall(b"10.0.0.3 1 1\n")
            sock.recv(1)  # a line, which never comes back
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        threading.Thread(target=greet_and_reset, daemon=True).start()
        target = Watched("it", HERE, server.getsockname()[1], "held", 20)
        held = watched(agent, target, during=lambda: time.sleep(3.0)).held["it"]
    assert held.broken == "reset"
    assert 0 < held.longest_ns < 2 * 10**9  # the watch went on for 3 s


def test_a_connection_that_cannot_be_held_is_no_watch(agent: AgentClient) -> None:
    port = free_port()
    with pytest.raises(AgentError, match=rf"no connection to 127.0.0.1:{port} could be held: Connection refused$"):
        agent.call(BeginWatch((Watched("it", HERE, port, "held"),)))
    with pytest.raises(AgentError, match=r"no watch with pid 1 was begun here$"):
        agent.call(EndWatch(1))


def test_the_agent_answers_meanwhile_and_a_watch_that_was_killed_has_no_result(
    agent: AgentClient, talker: Talker
) -> None:
    begun = agent.call(BeginWatch((Watched("it", HERE, talker.port),)))
    assert agent.usage().self_ns > 0
    os.kill(begun.pid, signal.SIGKILL)
    with pytest.raises(
        AgentError, match=rf"watched: the watch has no result: its process {begun.pid} was ended by SIGKILL$"
    ):
        agent.call(EndWatch(begun.pid))


def test_a_watch_that_stood_still_has_no_result(agent: AgentClient, talker: Talker) -> None:
    begun = agent.call(BeginWatch((Watched("it", HERE, talker.port),)))
    os.kill(begun.pid, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(begun.pid, signal.SIGCONT)
    time.sleep(0.1)
    with pytest.raises(
        AgentError, match=r"watched: the watch has no result: it stood still for a while: it got SIGSTOP and SIGCONT$"
    ):
        agent.call(EndWatch(begun.pid))


def test_the_agents_end_is_the_watchs(session: PipeSession, agent: AgentClient, talker: Talker) -> None:
    begun = agent.call(BeginWatch((Watched("it", HERE, talker.port),)))
    session.close()
    until(lambda: not os.path.exists(f"/proc/{begun.pid}"))  # noqa: PTH110 - a process


def test_an_unknown_kind_is_named(agent: AgentClient) -> None:
    with pytest.raises(AgentError, match=r"watch: kind must be one of tcp, udp, held$"):
        agent.call(BeginWatch((Watched("it", HERE, 80, "sctp"),)))  # type: ignore[arg-type] # that is the point


def test_a_table_is_filled_by_one_datagram_for_each_connection(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.8", 0))
        sock.settimeout(10)
        agent.call(FillConntrack(("127.0.0.8", "127.0.0.7"), sock.getsockname()[1], 9))
        peers = {sock.recvfrom(10)[1] for _ in range(5)}
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(10)
    assert len(peers) == 5  # of the nine, four went to the other host


def test_what_was_sent_after_a_silence_is_told_however_soon_the_watch_ends(agent: AgentClient, talker: Talker) -> None:
    """The silent ones are given up last, and what was answered after them stands behind them."""

    def speak() -> None:
        time.sleep(0.3)
        talker.name = "10.0.0.1"
        until(lambda: talker.served > 2)

    talker.name = ""
    target = Watched("it", HERE, talker.port, interval_ms=5, timeout_ms=400)
    seen = watched(agent, target, during=speak).targets["it"]
    assert outcomes(seen)[0] == "silent"
    assert outcomes(seen)[-1] == "answered"
    assert seen.outages()[0].end_ns is not None
