"""What every user of an SSH channel does alike."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import paramiko

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def whatever_the_connection_does() -> Iterator[None]:
    """Go on when the connection ends meanwhile: paramiko says so by any of three kinds of exception."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        yield


def close(channel: paramiko.Channel) -> None:
    """Close a channel whose connection may be gone. Never raises: ``Channel.close`` itself sends, and may."""
    with whatever_the_connection_does():
        channel.close()
