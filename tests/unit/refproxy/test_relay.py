"""The relay on loopback: real sockets, in a thread or in its own process."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from refproxy import relay
from refproxy.errors import ProxierError
from refproxy.relay_process import RelayProcess
from refproxy.relay_wire import Answer, Batch, Port, Reader, decode_answer, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT = 30.0
IDLE = 0.2


class InThread:
    """A relay that runs in a thread of the test."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(TIMEOUT)
        self._thread = threading.Thread(target=self._run, args=(theirs,))
        self._thread.start()
        self._reader = Reader()

    @staticmethod
    def _run(theirs: socket.socket) -> None:
        with theirs:
            relay.serve(theirs, IDLE)

    def apply(self, *ports: Port, removed: tuple[str, ...] = ()) -> Answer:
        """Return the answer without the CPU time, which differs."""
        self.control.sendall(encode(Batch(1, removed, ports)))
        while True:
            for body in self._reader.feed(self.control.recv(1 << 16)):
                return decode_answer(body)._replace(followed_ns=0)

    def close(self) -> None:
        self.control.close()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


@pytest.fixture
def relayed() -> Iterator[InThread]:
    made = InThread()
    yield made
    made.close()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., tuple[str, int]]]:
    """Makes TCP endpoints on 127.0.0.x, each served by a thread per connection."""
    with contextlib.ExitStack() as stack:

        def make(address: str, serve: Callable[[socket.socket], None] | None = None) -> tuple[str, int]:
            listener = stack.enter_context(socket.create_server((address, 0)))
            listener.settimeout(TIMEOUT)

            def greet(peer: socket.socket) -> None:
                peer.sendall(address.encode())

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        peer, _ = listener.accept()
                        with peer:
                            peer.settimeout(TIMEOUT)
                            (serve or greet)(peer)

            thread = threading.Thread(target=accept)
            thread.start()
            stack.callback(thread.join, TIMEOUT)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            name: tuple[str, int] = listener.getsockname()
            return name

        yield make


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(1 << 16):
        data += chunk
    return data


def answer_from(port: int, source: str = "127.0.0.1") -> str:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT, (source, 0)) as client:
        return read_all(client).decode()


def test_round_robin(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    ends = [endpoint("127.0.0.2"), endpoint("127.0.0.3")]
    port = relayed.apply(Port("a", "tcp", ends)).listening["a"]
    assert [answer_from(port) for _ in range(4)] == ["127.0.0.2", "127.0.0.3"] * 2


def test_affinity_is_by_client_address(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    ends = [endpoint("127.0.0.2"), endpoint("127.0.0.3")]
    port = relayed.apply(Port("a", "tcp", ends, 0, 60)).listening["a"]
    assert [answer_from(port, "127.0.0.9") for _ in range(3)] == ["127.0.0.2"] * 3
    assert [answer_from(port, "127.0.0.8") for _ in range(2)] == ["127.0.0.3"] * 2


def test_dead_endpoint_is_passed_over(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    dead = ("127.0.0.2", free_port())
    port = relayed.apply(Port("a", "tcp", [dead, endpoint("127.0.0.3")])).listening["a"]
    assert [answer_from(port) for _ in range(3)] == ["127.0.0.3"] * 3


@pytest.mark.parametrize("ends", [[], [("127.0.0.2", 1)]])
def test_without_an_endpoint_that_answers_the_connection_is_taken_and_closed(
    relayed: InThread, ends: list[tuple[str, int]]
) -> None:
    port = relayed.apply(Port("a", "tcp", ends)).listening["a"]
    assert answer_from(port) == ""


def test_an_update_keeps_the_port_and_changes_the_endpoints(
    relayed: InThread, endpoint: Callable[..., tuple[str, int]]
) -> None:
    first = relayed.apply(Port("a", "tcp", [endpoint("127.0.0.2")])).listening["a"]
    assert relayed.apply(Port("a", "tcp", [endpoint("127.0.0.3")])).listening["a"] == first
    assert answer_from(first) == "127.0.0.3"


def test_removed_port_refuses(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    port = relayed.apply(Port("a", "tcp", [endpoint("127.0.0.2")])).listening["a"]
    assert relayed.apply(removed=("a", "unknown")) == Answer(1, {}, {})
    with pytest.raises(ConnectionRefusedError):
        answer_from(port)


def test_node_port_is_held_and_relays(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    ends = [endpoint("127.0.0.2")]
    node_port = free_port()
    relayed.apply(Port("a", "tcp", ends, node_port))
    assert answer_from(node_port) == "127.0.0.2"
    taken = relayed.apply(Port("b", "tcp", ends, node_port))
    assert taken.errors == {"b": f"tcp port {node_port}: {os.strerror(errno.EADDRINUSE)}"}
    assert answer_from(taken.listening["b"]) == "127.0.0.2"
    moved = relayed.apply(Port("b", "tcp", ends, node_port), removed=("a",))  # in one batch, also at once
    assert moved.errors == {}
    assert answer_from(node_port) == "127.0.0.2"
    relayed.apply(Port("b", "tcp", ends, 0))
    with pytest.raises(ConnectionRefusedError):
        answer_from(node_port)


def test_half_close_both_ways(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    def count(peer: socket.socket) -> None:
        peer.sendall(f"{len(read_all(peer))} bytes".encode())

    port = relayed.apply(Port("a", "tcp", [endpoint("127.0.0.2", count)])).listening["a"]
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"300000 bytes"


def test_a_reset_is_passed_on(relayed: InThread, endpoint: Callable[..., tuple[str, int]]) -> None:
    seen: list[str] = []

    def wait(peer: socket.socket) -> None:
        peer.sendall(b"!")
        try:
            peer.recv(1)
        except ConnectionResetError:
            seen.append("reset")
        done.set()

    done = threading.Event()
    port = relayed.apply(Port("a", "tcp", [endpoint("127.0.0.2", wait)])).listening["a"]
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    assert client.recv(1) == b"!"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert done.wait(TIMEOUT)
    assert seen == ["reset"]


def test_a_slow_reader_slows_the_writer_and_loses_nothing(
    relayed: InThread, endpoint: Callable[..., tuple[str, int]]
) -> None:
    release, total = threading.Event(), []

    def read_late(peer: socket.socket) -> None:
        release.wait(TIMEOUT)
        total.append(read_all(peer))
        peer.sendall(b"ok")

    port = relayed.apply(Port("a", "tcp", [endpoint("127.0.0.2", read_late)])).listening["a"]
    pattern = bytes(range(256)) * 4096
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        client.settimeout(0)
        sent = 0
        while select.select([], [client], [], 0.5)[1]:
            sent += client.send(pattern[sent % 256 :])
        assert sent < 64 << 20  # the sockets' buffers, not the relay's memory
        assert answer_from(relayed.apply(Port("b", "tcp", [endpoint("127.0.0.3")])).listening["b"]) == "127.0.0.3"
        client.settimeout(TIMEOUT)
        release.set()
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"ok"
    assert len(total[0]) == sent
    assert total[0] == (bytes(range(256)) * (sent // 256 + 1))[:sent]


def udp_echo(address: str, stack: contextlib.ExitStack) -> tuple[str, int]:
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind((address, 0))
    server.settimeout(TIMEOUT)

    def serve() -> None:
        while True:
            data, peer = server.recvfrom(100)
            if data == b"stop":
                return
            server.sendto(f"{address} {peer[1]} ".encode() + data, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    name: tuple[str, int] = server.getsockname()

    def stop() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"stop", name)
        thread.join(TIMEOUT)

    stack.callback(stop)
    return name


def test_udp_client_keeps_its_endpoint_until_idle(relayed: InThread) -> None:
    with contextlib.ExitStack() as stack:
        ends = [udp_echo("127.0.0.2", stack), udp_echo("127.0.0.3", stack)]
        port = relayed.apply(Port("a", "udp", ends)).listening["a"]
        one, two = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))

        def ask(client: socket.socket) -> list[str]:
            client.settimeout(TIMEOUT)
            client.sendto(b"x", ("127.0.0.1", port))
            return client.recv(100).decode().split()

        first = ask(one)
        assert first[0] == "127.0.0.2"
        assert ask(one) == first
        assert ask(two)[0] == "127.0.0.3"
        assert ask(one) == first
        time.sleep(2 * IDLE)
        assert ask(one)[1] != first[1]  # another socket: the idle one is gone


def test_udp_without_endpoints_is_silent_and_lives(relayed: InThread) -> None:
    with contextlib.ExitStack() as stack:
        port = relayed.apply(Port("a", "udp", [])).listening["a"]
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(0.1)
        client.sendto(b"x", ("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            client.recv(10)
        relayed.apply(Port("a", "udp", [("127.0.0.2", free_port(socket.SOCK_DGRAM))]))
        client.sendto(b"x", ("127.0.0.1", port))  # refused by ICMP: forgotten, the next one tries again
        end = udp_echo("127.0.0.2", stack)
        time.sleep(0.05)
        relayed.apply(Port("a", "udp", [end]))
        client.settimeout(TIMEOUT)
        client.sendto(b"y", ("127.0.0.1", port))
        assert client.recv(100).startswith(b"127.0.0.2 ")


def test_a_thousand_listeners_in_one_batch_while_connections_are_served(
    endpoint: Callable[..., tuple[str, int]],
) -> None:
    end = endpoint("127.0.0.2")
    process = RelayProcess()
    process.start()
    try:
        ports = process.apply([], [Port(str(number), "tcp", [end]) for number in range(1000)]).listening
        assert len(set(ports.values())) == 1000
        assert answer_from(ports["0"]) == answer_from(ports["999"]) == "127.0.0.2"
        assert process.apply([str(number) for number in range(999)], []).listening == {}
        assert answer_from(ports["999"]) == "127.0.0.2"
        with pytest.raises(ConnectionRefusedError):
            answer_from(ports["0"])
    finally:
        process.stop()
    assert process.pid is None
    with pytest.raises(ConnectionRefusedError):
        answer_from(ports["999"])


def test_a_relay_that_was_killed_is_an_error_and_can_be_started_again() -> None:
    process = RelayProcess()
    with pytest.raises(ProxierError, match=r"^relay: not started$"):
        process.apply([], [])
    process.start()
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(ProxierError, match=r"^relay: (it ended by itself|Broken pipe|Connection reset by peer)$"):
        process.apply([], [])
    process.stop()
    process.start()
    assert process.pid != first
    assert process.apply([], [])._replace(followed_ns=0) == Answer(2, {}, {})
    process.stop()


def test_the_cpu_of_relaying_is_told_apart_from_that_of_following_batches(
    endpoint: Callable[..., tuple[str, int]],
) -> None:
    process = RelayProcess()
    assert process.relayed_ns() is None
    process.start()
    try:
        assert process.relayed_ns() is None  # it has not said yet what its start took
        end = endpoint("127.0.0.2")
        answer = process.apply([], [Port("a", "tcp", [end])])
        before = process.relayed_ns()
        process.apply([], [Port(str(number), "tcp", [end]) for number in range(2000)])
        idle = process.relayed_ns()
        for _ in range(200):
            assert answer_from(answer.listening["a"]) == "127.0.0.2"
        after = process.relayed_ns()
    finally:
        process.stop()
    assert answer.followed_ns > 1_000_000  # an interpreter was started
    assert before is not None
    assert idle is not None
    assert after is not None
    assert after - idle > 3 * (idle - before)  # 200 connections against 2,000 listeners that were opened
    assert after - idle > 1_000_000
    assert process.relayed_ns() is None
