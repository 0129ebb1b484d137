"""A command in the place of a connection to a host, as ssh's ProxyCommand says it."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from typing import Final

from proxybench.hosts.base import end_of
from proxybench.hosts.session import tail

_END_SECONDS: Final = 1.0
_NOTICE_SECONDS: Final = 0.1  # between the end of its output and its own
_SHOWN_BYTES: Final = 4096


class ProxyCommand(socket.socket):
    """The socket that a command has as its standard input and output. Who closes it ends the command.

    The command runs in a session of its own: Ctrl-C on the terminal does not end what may still be needed to put things
    back, and it asks nobody on that terminal. All that it started is ended with it, also where this program ends first.
    """

    def __init__(self, command: str) -> None:
        """Start it by the user's shell, as ssh does. Raises OSError."""
        self._command = command
        self._lock = threading.Lock()
        self._ended: int | None = None
        self._last = ""
        self._words = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - close() does
        near, far = socket.socketpair()
        super().__init__(fileno=near.detach())
        try:
            with far:
                self._process = subprocess.Popen(
                    [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
                    stdin=far.fileno(),
                    stdout=far.fileno(),
                    stderr=self._words,
                    start_new_session=True,
                )
        except BaseException:
            super().close()
            self._words.close()
            raise
        atexit.register(self.close)

    def blamed(self, reason: str) -> str:
        """Close it, and say why no connection came about: how the command ended, or ``reason``; and its last words."""
        self.close()
        how = reason if self._ended is None else end_of(self._ended)
        return f"its ProxyCommand `{self._command}`: {how}{': ' + self._last if self._last else ''}"

    def close(self) -> None:
        """End the command, which has a second to do so by itself. Never raises."""
        with self._lock:  # paramiko's thread may be about to do so, too
            if self.fileno() < 0:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._ended = self._process.wait(_NOTICE_SECONDS)
            super().close()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
            self._signal(signal.SIGKILL)
            self._process.wait()
            with self._words as words:
                size = words.seek(0, os.SEEK_END)
                words.seek(max(size - _SHOWN_BYTES, 0))
                self._last = tail(words.read())
        atexit.unregister(self.close)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
