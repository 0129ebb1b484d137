"""What every user of an SSH channel does alike."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import paramiko

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK: Final = 1 << 18


@contextlib.contextmanager
def whatever_the_connection_does() -> Iterator[None]:
    """Go on when the connection ends meanwhile: paramiko says so by any of three kinds of exception."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        yield


def close(channel: paramiko.Channel) -> None:
    """Close a channel whose connection may be gone. Never raises: ``Channel.close`` itself sends, and may."""
    with whatever_the_connection_does():
        channel.close()


def read_both(channel: paramiko.Channel) -> tuple[bytes, bytes]:
    """Read standard output and standard error until both end; what had come when the connection broke.

    By turns and in one thread: with 2 MiB (the SSH window) unread in one of them, a command could not write the other,
    and a thread for each would cost more than the command.
    """
    news = threading.Event()
    channel.in_buffer.set_event(news)
    channel.in_stderr_buffer.set_event(news)
    output, errors = bytearray(), bytearray()
    with whatever_the_connection_does():
        while True:
            news.clear()  # before the look: what comes after it sets it again
            over = channel.eof_received or channel.closed
            there = channel.recv_ready(), channel.recv_stderr_ready()
            if there[0]:
                output += channel.recv(_CHUNK)
            if there[1]:
                errors += channel.recv_stderr(_CHUNK)
            if over and not any(there):
                break
            if not any(there):
                news.wait()
    return bytes(output), bytes(errors)
