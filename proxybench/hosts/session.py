"""A running command over SSH that speaks lines."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import paramiko

from proxybench.errors import CommandTimeoutError, ConnectionLostError
from proxybench.hosts import channels
from proxybench.hosts.base import end_of

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 1 << 20
_SEND_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 2.0
_TAIL_BYTES: Final = 8192
_TAIL_LINES: Final = 3


class SshSession:
    """A ``Session`` on an exec channel. One thread at a time may use it."""

    def __init__(
        self, what: str, channel: paramiko.Channel, cut: Callable[[], None], signalled: Callable[[], str | None]
    ) -> None:
        """Take a started command; ``what`` names it in messages, ``cut`` ends it by force and closes the channel.

        ``signalled`` returns the name ("KILL") of the signal that ended it, once sshd has told of one.
        """
        self._what = what
        self._channel = channel
        self._cut = cut
        self._signalled = signalled
        self._buffer = bytearray()  # deleting at its front is cheap in CPython
        self._searched = 0
        self._over = False
        self._errors = bytearray()
        # Unread stderr would fill the window that it shares with stdout.
        self._reader = threading.Thread(target=self._drain_errors, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> str:
        """How it ended; empty while it runs."""
        return self._end() if self._over or self._channel.exit_status_ready() else ""

    def send_line(self, line: str) -> None:
        """Write one line. Raises ConnectionLostError."""
        if self._over:
            raise ConnectionLostError(self._ended())
        try:
            self._channel.settimeout(_SEND_SECONDS)
            self._channel.sendall(line.encode() + b"\n")
        except TimeoutError as error:
            raise ConnectionLostError(f"{self._what} did not read for {_SEND_SECONDS:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ConnectionLostError(self._ended()) from error
        finally:
            self._channel.settimeout(None)

    def read_line(self, timeout: float) -> str:
        """Return the next line; a last line without a newline is no line. Raises as the protocol says."""
        deadline = time.monotonic() + timeout
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            chunk = self._receive(deadline - time.monotonic(), timeout)
            if not chunk:
                self._over = True  # sshd may tell a little later that the command is gone, but it is
                raise ConnectionLostError(self._ended())
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line.decode(errors="backslashreplace")

    def close(self) -> None:
        """Close its input, wait up to 2 s for its end, then send TERM and close the channel. Never raises."""
        with channels.whatever_the_connection_does():
            self._channel.shutdown_write()
        if not self._channel.status_event.wait(_CLOSE_SECONDS):
            self._cut()
        channels.close(self._channel)
        self._reader.join(_CLOSE_SECONDS)

    def _receive(self, seconds: float, timeout: float) -> bytes:
        try:
            self._channel.settimeout(max(seconds, 0.0))
            return self._channel.recv(_CHUNK)
        except TimeoutError as error:
            raise CommandTimeoutError(f"{self._what} said nothing within {timeout:g} s") from error
        finally:
            self._channel.settimeout(None)  # the reader of stderr would spin on a short one

    def _drain_errors(self) -> None:
        while True:
            try:
                chunk = self._channel.recv_stderr(_CHUNK)
            except TimeoutError:  # the channel's time limit is set for the other direction
                continue
            if not chunk:
                return
            self._errors += chunk
            del self._errors[:-_TAIL_BYTES]

    def _ended(self) -> str:
        self._reader.join(_CLOSE_SECONDS)
        words = tail(bytes(self._errors))
        return f"{self._what} {self._end()}{': ' + words if words else ''}"

    def _end(self) -> str:
        self._channel.status_event.wait(_CLOSE_SECONDS)  # it comes a little later than the end of the output
        if name := self._signalled():
            return f"was ended by SIG{name}"
        return "is gone" if self._channel.exit_status < 0 else end_of(self._channel.exit_status)


def tail(stderr: bytes) -> str:
    """Return the last few lines of an error output as one line."""
    lines = [line.strip() for line in stderr.decode(errors="backslashreplace").splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:])
