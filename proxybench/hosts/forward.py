"""A port of one node's loopback that leads to one of another's, through the connections that there are to both."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import paramiko

from proxybench.errors import ConnectionLostError
from proxybench.hosts import channels

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOPBACK: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16
_OPEN_SECONDS: Final = 15.0


@contextlib.contextmanager
def forward(name: str, near: paramiko.Transport, far: paramiko.Transport, port: int) -> Iterator[int]:
    """Have ``near``'s node (``name``, for messages) listen on a free port until the context is left; give that port.

    Whoever connects reaches ``port`` of ``far``'s node, or is turned away when nobody listens there. One connection
    forwards one port. Raises ConnectionLostError.
    """

    def lead(channel: paramiko.Channel, _origin: tuple[str, int], _server: tuple[str, int]) -> None:
        threading.Thread(target=_connect, args=(channel, far, port), daemon=True).start()

    try:
        listening = near.request_port_forward(_LOOPBACK, 0, lead)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLostError(f"{name}: sshd forwards no port ({error})") from error
    try:
        yield listening
    finally:
        with channels.whatever_the_connection_does():
            near.cancel_port_forward(_LOOPBACK, listening)


def _connect(channel: paramiko.Channel, far: paramiko.Transport, port: int) -> None:
    try:
        other = far.open_channel("direct-tcpip", (_LOOPBACK, port), (_LOOPBACK, 0), timeout=_OPEN_SECONDS)
    except (paramiko.SSHException, OSError, EOFError):
        channels.close(channel)
        return
    back = threading.Thread(target=_pump, args=(other, channel), daemon=True)
    back.start()
    _pump(channel, other)
    back.join()
    channels.close(channel)
    channels.close(other)


def _pump(source: paramiko.Channel, sink: paramiko.Channel) -> None:
    """Pass bytes on until the source ends, then tell the sink so."""
    with channels.whatever_the_connection_does():
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with channels.whatever_the_connection_does():
        sink.shutdown_write()
