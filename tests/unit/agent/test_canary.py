from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.agent import canary, http
from proxybench.agent.fields import Fields
from proxybench.errors import AgentError
from proxybench.nodes.requests import Await, AwaitAll, Change, Write

from .certificates import certificate
from .conftest import RunningBackend
from .pythons import PYTHON, both_pythons
from .talker import Talker, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxybench.nodes.client import AgentClient

    from .conftest import Api

MS = 1_000_000


@pytest.fixture
def talker() -> Iterator[Talker]:
    talker = Talker("10.0.0.1")
    yield talker
    talker.close()


def once_served(talker: Talker, answers: int, action: Callable[[], None]) -> threading.Thread:
    """Act when the talker has answered so often: a busy machine's prober may need long for its first attempt."""

    def wait() -> None:
        while talker.served < answers:
            time.sleep(0.001)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_address_that_answers_answers_at_once(agent: AgentClient, backend: RunningBackend) -> None:
    seen = agent.call(Await("127.0.0.9", backend.port, "answer", 5, want=("127.0.0.9",), interval_us=1_000_000))
    assert (seen.answered_by, seen.attempts, seen.answers, seen.errors) == ("127.0.0.9", 1, 1, {})
    assert (seen.censored, seen.interval_at_success_ns, seen.last_other_ns) == (False, None, None)
    assert seen.first_ns is not None
    assert seen.sent_ns is not None
    assert seen.start_ns <= seen.sent_ns < seen.first_ns <= seen.end_ns


@both_pythons
def test_a_stale_endpoint_does_not_count(agent: AgentClient, talker: Talker) -> None:
    switched_ns = []

    def switch() -> None:
        switched_ns.append(time.monotonic_ns())
        talker.name = "10.0.0.2"

    switching = once_served(talker, 5, switch)
    seen = agent.call(Await("127.0.0.1", talker.port, "answer", 5, want=("10.0.0.2", "10.0.0.3"), settle_ms=50))
    switching.join()
    assert seen.answered_by == "10.0.0.2"
    assert seen.first_ns is not None
    assert seen.last_other_ns is not None
    assert seen.interval_at_success_ns is not None
    assert switched_ns[0] < seen.first_ns < switched_ns[0] + 2000 * MS  # one clock; room for a busy machine
    assert seen.start_ns < seen.last_other_ns
    assert seen.end_ns - max(seen.first_ns, seen.last_other_ns) >= 50 * MS
    assert 1 * MS <= seen.interval_at_success_ns < 2000 * MS


def test_time_running_out_is_censored_and_says_what_was_heard(agent: AgentClient, talker: Talker) -> None:
    port = free_port()
    seen = agent.call(Await("127.0.0.1", port, "answer", 1.0))
    assert (seen.censored, seen.first_ns, seen.sent_ns, seen.answered_by) == (True, None, None, None)
    assert set(seen.errors) == {"ECONNREFUSED"}
    assert seen.attempts - seen.errors["ECONNREFUSED"] in {0, 1}  # the last one's answer may come when time is up
    assert 2 < seen.attempts <= 1000  # at most one per ms, whatever the machine is busy with
    assert 1000 * MS <= seen.end_ns - seen.start_ns < 5000 * MS
    stale = agent.call(Await("127.0.0.1", talker.port, "answer", 1.0, want=("10.9.9.9",)))
    assert stale.censored
    assert stale.last_other_ns is not None
    assert stale.answers == 0


def test_the_interval_grows_with_the_time_spent(agent: AgentClient) -> None:
    seen = agent.call(Await("127.0.0.1", free_port(), "answer", 2.0, interval_us=5000, max_interval_fraction=0.5))
    # 5 ms apart until 10 ms, then each gap is half of the time spent: 10·1.5ⁿ ms reaches 2 s after 14 more.
    assert 5 <= seen.attempts <= 17


def test_silent_connections_hold_their_places_but_not_for_ever(agent: AgentClient, talker: Talker) -> None:
    talker.name = ""
    seen = agent.call(Await("127.0.0.1", talker.port, "answer", 0.8, pending=4))
    assert (seen.censored, seen.attempts, seen.errors) == (True, 4, {})
    seen = agent.call(Await("127.0.0.1", talker.port, "answer", 1.5, pending=4, interval_us=10_000))
    assert seen.errors["SILENT"] >= 1
    assert seen.attempts > 4


def test_a_connection_without_an_answer_is_a_failure(agent: AgentClient, talker: Talker) -> None:
    talker.name, talker.hang_up = "", True
    seen = agent.call(Await("127.0.0.1", talker.port, "answer", 0.1))
    assert seen.censored
    assert seen.answers == 0
    assert sum(seen.errors.values()) >= seen.attempts - 8
    assert set(seen.errors) <= {"NOLINE", "ECONNRESET"}


@both_pythons
def test_a_refusal_is_dated_to_the_first_attempt_that_failed(agent: AgentClient, talker: Talker) -> None:
    closing_ns = []

    def close() -> None:
        closing_ns.append(time.monotonic_ns())
        talker.close()

    closing = once_served(talker, 10, close)
    seen = agent.call(Await("127.0.0.1", talker.port, "refusal", 10, quiet_ms=1500))
    closing.join()
    assert seen.first_ns is not None
    assert seen.first_ns == seen.sent_ns
    assert seen.answers > 5
    assert closing_ns[0] - 200 * MS < seen.first_ns < closing_ns[0] + 1000 * MS  # and not 1500 ms of quiet later
    assert seen.end_ns - seen.first_ns >= 1500 * MS
    assert not seen.censored


def test_a_refusal_that_does_not_come_is_censored(agent: AgentClient, talker: Talker) -> None:
    seen = agent.call(Await("127.0.0.1", talker.port, "refusal", 0.2, quiet_ms=100))
    assert (seen.censored, seen.first_ns) == (True, None)


@both_pythons
def test_a_change_is_written_while_several_probes_run(agent: AgentClient, talker: Talker, api: Api) -> None:
    gone = Talker("10.0.0.7")
    calls = []

    def write() -> None:
        calls.append(1)
        if len(calls) == 2:
            talker.name = "10.0.0.2"
            gone.close()

    api.on_write = write
    agent.api(api.url + "/base/", "geheim")
    seen = agent.call(
        Change(
            (
                Write("POST", "/api/v1/services", {"kind": "Service", "n": 1}),
                Write("PUT", "/api/v1/services/a", {"x": "y" * 300_000}),
                Write("DELETE", "/api/v1/services/b"),
            ),
            (
                Await("127.0.0.1", talker.port, "answer", 5, want=("10.0.0.2",)),
                Await("127.0.0.1", gone.port, "refusal", 5, quiet_ms=200),
            ),
        )
    )
    assert [entry[:4] for entry in api.got] == [
        ("POST", "/base/api/v1/services", "Bearer geheim", "application/json"),
        ("PUT", "/base/api/v1/services/a", "Bearer geheim", "application/json"),
        ("DELETE", "/base/api/v1/services/b", "Bearer geheim", None),
    ]
    assert api.got[0][4] == {"kind": "Service", "n": 1}
    assert api.got[1][4] == {"x": "y" * 300_000}
    assert seen.statuses == (200, 200, 200)
    assert list(seen.acks_ns) == sorted(seen.acks_ns)
    assert seen.ack_ns == seen.acks_ns[-1]
    added, deleted = seen.probes
    assert added.first_ns is not None
    assert deleted.first_ns is not None
    assert added.start_ns <= seen.write_start_ns < seen.acks_ns[0]
    assert seen.acks_ns[0] < added.first_ns
    assert seen.acks_ns[0] < deleted.first_ns
    assert added.last_other_ns is not None
    assert deleted.answers >= 1


@both_pythons
def test_a_change_without_probes_only_writes(agent: AgentClient, api: Api) -> None:
    agent.api(api.url, "geheim")
    seen = agent.call(Change((Write("POST", "/a", {}), Write("POST", "/b", {})), ()))
    assert [entry[1] for entry in api.got] == ["/a", "/b"]
    assert seen.statuses == (200, 200)
    assert seen.probes == ()
    assert seen.write_start_ns < seen.acks_ns[0] < seen.acks_ns[1] == seen.ack_ns


def test_writes_without_probes_may_be_spaced_out(agent: AgentClient, api: Api) -> None:
    agent.api(api.url, "geheim")
    writes = tuple(Write("POST", f"/{number}", {}) for number in range(3))
    seen = agent.call(Change(writes, (), gap_s=0.2))
    assert seen.ack_ns - seen.write_start_ns > 400_000_000
    with pytest.raises(AgentError, match=r"^node1: change: unknown field gap_s$"):
        agent.call(Change(writes, (Await("127.0.0.1", 1, "answer", 5),), gap_s=0.2))


def test_writes_that_are_spaced_out_have_so_much_longer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "ACK_LIMIT_S", 0.3)
    known = http.Api(http.Url(api.url), "t", None)
    writes = [http.Write(Fields({"method": "DELETE", "path": f"/{number}"}), known) for number in range(4)]
    writer = http.Writer(known, writes, 5, gap_s=0.2)
    writer.start()
    canary._finish_writer(writer)
    writer.close()
    assert writer.statuses == [200] * 4


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), (None, 1.0), ("tomorrow", 1.0)])
def test_a_write_that_the_api_puts_off_ends_all_at_once_and_says_for_how_long(
    agent: AgentClient, api: Api, said: str | None, seconds: float
) -> None:
    def busy() -> None:
        if len(api.got) == 2:
            api.status, api.retry_after = 429, said

    api.on_write = busy
    agent.api(api.url, "geheim")
    writes = tuple(Write("POST", f"/{number}", {}) for number in range(3))
    began = time.monotonic()
    seen = agent.call(Change(writes, (Await("127.0.0.1", free_port(), "answer", 50),)))
    assert time.monotonic() - began < 20
    assert (seen.put_off_s, seen.statuses, len(seen.acks_ns), len(api.got)) == (seconds, (200,), 1, 2)
    seen = agent.call(Change(writes[:1], ()))
    assert (seen.put_off_s, seen.statuses, seen.ack_ns) == (seconds, (), seen.write_start_ns)


def test_probing_does_not_wait_for_a_slow_api(agent: AgentClient, talker: Talker, api: Api) -> None:
    def slow() -> None:
        talker.name = "10.0.0.2"
        time.sleep(0.4)

    api.on_write = slow
    agent.api(api.url, "geheim")
    seen = agent.call(
        Change(
            (Write("POST", "/x", {}),),
            (Await("127.0.0.1", talker.port, "answer", 5, want=("10.0.0.2",)),),
        )
    )
    first = seen.probes[0].first_ns
    assert first is not None
    assert first - seen.ack_ns < -200 * MS  # reported raw, although negative


@both_pythons
def test_a_change_over_tls_checks_the_certificate(agent: AgentClient, talker: Talker, api: Api, tmp_path: Path) -> None:
    authority = certificate(tmp_path / "server.pem")
    url = api.secure(tmp_path / "server.pem")
    api.on_write = lambda: setattr(talker, "name", "10.0.0.2")
    change = Change(
        (Write("POST", "/a", {"x": "y" * 100_000}), Write("POST", "/b", {})),
        (Await("127.0.0.1", talker.port, "answer", 5, want=("10.0.0.2",)),),
    )
    agent.api(url, "geheim", authority)
    assert agent.call(change).statuses == (200, 200)
    assert [entry[1] for entry in api.got] == ["/a", "/b"]
    agent.api(url, "geheim", certificate(tmp_path / "another.pem"))
    with pytest.raises(AgentError, match=r"^node1: change: cannot connect to the API at localhost:.*CERTIFICATE"):
        agent.call(change)


def test_dropped_syns_give_way_to_new_ones(agent: AgentClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        port = deaf.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the one that the queue has room for
            seen = agent.call(Await("127.0.0.1", port, "answer", 2, pending=4, max_interval_fraction=0))
    assert seen.censored
    assert seen.attempts > 20  # and not one per second, as the kernel repeats a SYN
    assert seen.errors == {"SILENT": seen.attempts - 4}


@both_pythons
def test_an_api_that_refuses_is_quoted_without_the_token(agent: AgentClient, api: Api) -> None:
    api.status = 409
    agent.api(api.url, "geheim")
    with pytest.raises(AgentError) as caught:
        agent.call(Change((Write("PUT", "/x", {}),), (Await("127.0.0.1", free_port(), "answer", 5),)))
    assert str(caught.value) == (
        'node1: change: the API answered 409 to PUT /x: {"message": "said the API", "of": "Bearer ***"}'
    )


def test_a_change_needs_an_api_that_is_known_and_there(agent: AgentClient) -> None:
    change = Change((Write("PUT", "/x", {}),), (Await("127.0.0.1", 1, "answer", 5),))
    with pytest.raises(AgentError, match=r"^node1: change: the API is not known; send api first$"):
        agent.call(change)
    port = free_port()
    agent.api(f"http://127.0.0.1:{port}", "geheim")
    with pytest.raises(
        AgentError, match=rf"^node1: change: cannot connect to the API at 127.0.0.1:{port}: Connection refused$"
    ):
        agent.call(change)


def test_what_never_answered_cannot_be_deleted(agent: AgentClient, api: Api) -> None:
    agent.api(api.url, "geheim")
    with pytest.raises(AgentError, match=r"^node1: change: the probes ran out of time before the change$"):
        agent.call(Change((Write("DELETE", "/x"),), (Await("127.0.0.1", free_port(), "refusal", 0.3),)))
    assert api.got == []


def test_while_nothing_answers_a_long_time_out_does_not_hold_up_the_error(agent: AgentClient, api: Api) -> None:
    agent.api(api.url, "geheim")
    port = free_port()
    started = time.monotonic()
    with pytest.raises(AgentError, match=rf"^node1: change: 127.0.0.1:{port} did not answer before the change$"):
        agent.call(Change((Write("DELETE", "/x"),), (Await("127.0.0.1", port, "refusal", 30),), lead_s=0.2))
    assert time.monotonic() - started < 5


@both_pythons
def test_of_several_addresses_the_first_is_awaited_alone_and_then_the_others(
    agent: AgentClient, talker: Talker, backend: RunningBackend
) -> None:
    talker.name = "10.0.0.2"
    switching = once_served(talker, 3, lambda: setattr(talker, "name", "10.0.0.1"))
    late = Await("127.0.0.1", talker.port, "answer", 5, want=("10.0.0.1",))
    there = Await("127.0.0.9", backend.port, "answer", 5, want=("127.0.0.9",), interval_us=1_000_000)
    first, second = agent.call(AwaitAll((late, there))).probes
    switching.join()
    assert (first.answered_by, second.answered_by) == ("10.0.0.1", "127.0.0.9")
    assert first.attempts > 3
    assert (second.attempts, second.interval_at_success_ns) == (1, None)
    assert second.sent_ns is not None
    assert first.first_ns is not None
    assert first.first_ns < second.sent_ns
    assert first.start_ns == second.start_ns


def test_time_that_ran_out_for_the_first_address_has_run_out_for_the_others(agent: AgentClient, talker: Talker) -> None:
    talker.name = ""
    silent = Await("127.0.0.1", talker.port, "answer", 0.2)
    first, second = agent.call(AwaitAll((silent, silent))).probes
    assert (first.censored, second.censored) == (True, True)
    assert second.attempts == 0
    assert second.end_ns - second.start_ns >= 200 * MS


def test_one_address_may_be_awaited_in_the_same_way(agent: AgentClient, backend: RunningBackend) -> None:
    (only,) = agent.call(AwaitAll((Await("127.0.0.9", backend.port, "answer", 5),))).probes
    assert only.answered_by == "127.0.0.9"


@both_pythons
def test_a_datagram_that_an_endpoint_answers_counts_as_a_connection_does(
    agent: AgentClient, backend: RunningBackend
) -> None:
    asked = Await("127.0.0.9", backend.port, "answer", 5, want=("127.0.0.9",), interval_us=1_000_000, protocol="udp")
    seen = agent.call(asked)
    assert (seen.answered_by, seen.answers, seen.errors, seen.censored) == ("127.0.0.9", 1, {}, False)
    other = agent.call(Await("127.0.0.9", backend.port, "answer", 0.2, want=("127.0.0.8",), protocol="udp"))
    assert (other.censored, other.answers) == (True, 0)
    assert other.last_other_ns is not None


def test_every_datagram_has_a_port_of_its_own_and_the_oldest_gives_way(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.settimeout(5)
        port = deaf.getsockname()[1]
        asked = Await("127.0.0.1", port, "answer", 0.5, interval_us=20_000, pending=4, protocol="udp")
        seen = agent.call(asked)
        came = {deaf.recvfrom(16)[1][1] for _ in range(seen.attempts)}
    assert seen.censored
    assert len(came) == seen.attempts > 5
    assert seen.errors == {"SILENT": seen.attempts - 4}


def test_a_port_without_a_listener_refuses_datagrams(agent: AgentClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    seen = agent.call(Await("127.0.0.1", port, "answer", 0.3, interval_us=10_000, protocol="udp"))
    assert seen.censored
    assert seen.errors["ECONNREFUSED"] >= seen.attempts - 1 > 2
    nowhere = agent.call(Await("255.255.255.255", port, "answer", 0.2, interval_us=10_000, protocol="udp"))
    assert nowhere.errors == {"EACCES": nowhere.attempts}


def test_the_end_of_answers_over_udp_is_dated_to_the_first_datagram_that_got_none(
    agent: AgentClient, zipapp: Path
) -> None:
    gone = RunningBackend(PYTHON, zipapp)
    ending = threading.Timer(1.0, gone.stop)
    ending.start()
    began_ns = time.monotonic_ns()
    seen = agent.call(Await("127.0.0.1", gone.port, "refusal", 20, quiet_ms=1500, protocol="udp"))
    ending.join()
    assert not seen.censored
    assert seen.first_ns is not None
    assert seen.answers > 5
    assert seen.first_ns - began_ns > 900 * MS
    assert seen.end_ns - seen.first_ns >= 1500 * MS


def test_no_other_protocol_is_probed(agent: AgentClient) -> None:
    with pytest.raises(AgentError, match=r"^node1: await: protocol must be udp, or absent$"):
        agent.call(replace(Await("127.0.0.1", 1, "answer", 1), protocol="sctp"))  # type: ignore[arg-type] # wrong
