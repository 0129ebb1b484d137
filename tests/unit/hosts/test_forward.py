from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from proxybench.errors import ConnectionLostError
from proxybench.hosts import forward
from proxybench.hosts.ssh import SshExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.hosts.connect import ConnectPolicy


@pytest.fixture
def nodes(new_server: Callable[..., Any], quick: ConnectPolicy) -> Iterator[tuple[SshExecutor, SshExecutor]]:
    with (
        SshExecutor("client2", new_server().target, policy=quick) as near,
        SshExecutor("client", new_server().target, policy=quick) as far,
    ):
        yield near, far


@pytest.fixture
def echo() -> Iterator[int]:
    """Give the port of a server that sends back, in capitals, the line that it got."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, sock.makefile("rb") as words:
                    sock.sendall(words.readline().upper())

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def ask(port: int, words: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(words + b"\n")
        return sock.makefile("rb").readline().strip()


def test_who_connects_near_reaches_the_port_far_away(nodes: tuple[SshExecutor, SshExecutor], echo: int) -> None:
    near, far = nodes
    with near.forward(echo, far) as port:
        assert port != echo
        assert [ask(port, words) for words in (b"one", b"two" * 100_000)] == [b"ONE", b"TWO" * 100_000]
    with pytest.raises(ConnectionRefusedError):
        ask(port, b"late")


def test_nobody_listens_far_away(nodes: tuple[SshExecutor, SshExecutor]) -> None:
    near, far = nodes
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    with near.forward(nobody, far) as port, suppress(ConnectionResetError):
        assert ask(port, b"?") == b""


def test_an_sshd_that_forwards_nothing(new_server: Callable[..., Any], quick: ConnectPolicy) -> None:
    server = new_server()
    server.closed_to_forwards = True
    with (
        SshExecutor("client2", server.target, policy=quick) as near,
        pytest.raises(ConnectionLostError, match=r"^client2: sshd forwards no port \(TCP forwarding request denied\)$"),
        near.forward(1, near),
    ):
        pytest.fail("nothing listens")


class _Gone(paramiko.Channel):
    """A channel whose connection ended before it was closed."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked = 0

    def recv(self, nbytes: int) -> bytes:
        return b""

    def shutdown_write(self) -> None:
        raise EOFError

    def close(self) -> None:
        self.asked += 1
        raise EOFError


class _Leads(paramiko.Transport):
    """A connection that opens this one channel, or none."""

    def __init__(self, channel: paramiko.Channel | None) -> None:
        self.channel = channel

    def open_channel(self, *_: Any, **__: Any) -> paramiko.Channel:
        if self.channel is None:
            raise EOFError
        return self.channel


def test_a_connection_that_ends_while_both_ends_are_closed() -> None:
    near, far = _Gone(), _Gone()
    forward._connect(near, _Leads(far), 80)
    assert (near.asked, far.asked) == (1, 1)


def test_both_connections_end_before_the_far_one_opens() -> None:
    near = _Gone()
    forward._connect(near, _Leads(None), 80)
    assert near.asked == 1
