"""The seam to the nodes: what the rest of the program may ask of a machine."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Completed:
    """A command that ended: its output as text, exit code and seconds by the orchestrator's clock."""

    stdout: str
    stderr: str
    code: int
    seconds: float


def end_of(code: int) -> str:
    """Say how a process ended, by its exit code as ``subprocess`` has it: negative for a signal."""
    if code >= 0:
        return f"ended with code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"was ended by {known.get(-code, f'signal {-code}')}"


class Session(Protocol):
    """A running command whose standard input and output speak lines (UTF-8, without the newline)."""

    @property
    def ended(self) -> str:
        """How it ended ("was ended by SIGKILL", "is gone"), as far as is known by now; empty while it runs."""
        ...

    def send_line(self, line: str) -> None:
        """Write one line; raise ConnectionLostError when the command or the connection is gone."""
        ...

    def read_line(self, timeout: float) -> str:
        """Return the next line; raise CommandTimeoutError or ConnectionLostError (with the stderr's tail)."""
        ...

    def close(self) -> None:
        """End the command: close its input, wait a little, then close the channel. Never raises."""
        ...


class Executor(Protocol):
    """One node, reached in one way. ``argv`` lists are quoted by the executor, never by the caller."""

    @property
    def name(self) -> str:
        """The node's name, for messages."""
        ...

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        """Run a command to its end.

        Raises CommandFailedError for a code other than 0 when ``check``, CommandTimeoutError, ConnectionLostError.
        """
        ...

    def open(self, argv: Sequence[str]) -> Session:
        """Start a command that goes on, and talk to it line by line."""
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write a file on the node, atomically."""
        ...

    def get(self, path: str) -> bytes:
        """Read a file of the node."""
        ...

    def forward(self, port: int, other: Executor) -> AbstractContextManager[int]:
        """Listen on the node's loopback, and lead who connects there to ``port`` of the other node's loopback.

        Gives the port that is listened on. Raises ConnectionLostError.
        """
        ...

    def close(self) -> None:
        """Let go of the connection. Never raises."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
