"""Strict fakes of the seams: whatever was not announced, in that order and to the letter, fails the test."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from proxybench.errors import CommandFailedError
from proxybench.hosts.base import Completed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxybench.hosts.base import Executor, Session

_T = TypeVar("_T")


def done(stdout: str = "", stderr: str = "", code: int = 0, seconds: float = 0.0) -> Completed:
    """Return a finished command with the usual defaults."""
    return Completed(stdout, stderr, code, seconds)


@dataclass(frozen=True)
class Run:
    """``run`` is called with this command and standard input; gives ``result`` back, or raises it."""

    argv: Sequence[str]
    result: Completed | Exception = field(default_factory=done)
    stdin: str | None = None


@dataclass(frozen=True)
class Open:
    """``open`` is called with this command; gives ``result`` back, or raises it."""

    argv: Sequence[str]
    result: Session | Exception


@dataclass(frozen=True)
class Put:
    """``put`` is called with this path, content and mode; raises ``error`` when given."""

    path: str
    data: bytes
    mode: int = 0o600
    error: Exception | None = None


@dataclass(frozen=True)
class Get:
    """``get`` is called with this path; gives ``result`` back, or raises it."""

    path: str
    result: bytes | Exception


@dataclass(frozen=True)
class Forward:
    """``forward`` is called with this port and the node of this name; gives ``result`` back, or raises it."""

    port: int
    other: str
    result: int | Exception


Step = Run | Open | Put | Get | Forward


class FakeExecutor:
    """An ``Executor`` that follows a script; a wrong call raises AssertionError at once."""

    def __init__(self, name: str, script: Sequence[Step] = ()) -> None:
        self._name = name
        self._script = list(script)
        self._position = 0
        self.closed = False
        self.forwards = 0

    @property
    def name(self) -> str:
        """The node's name."""
        return self._name

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        """Give the scripted result; raise CommandFailedError for a code other than 0 when ``check``."""
        call = f"run {list(argv)} with stdin {stdin!r} and a limit of {timeout:g} s"
        step = self._next(call)
        if not isinstance(step, Run) or list(step.argv) != list(argv) or step.stdin != stdin:
            raise self._unexpected(call, step)
        result = _value(step.result)
        if check and result.code != 0:
            raise CommandFailedError(f"{self._name}: `{' '.join(argv)}` ended with code {result.code}")
        return result

    def open(self, argv: Sequence[str]) -> Session:
        """Give the scripted session."""
        call = f"open {list(argv)}"
        step = self._next(call)
        if not isinstance(step, Open) or list(step.argv) != list(argv):
            raise self._unexpected(call, step)
        return _value(step.result)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Check the scripted file."""
        call = f"put {data!r} to {path} with mode {mode:o}"
        step = self._next(call)
        if not isinstance(step, Put) or (step.path, step.data, step.mode) != (path, data, mode):
            raise self._unexpected(call, step)
        if step.error is not None:
            raise step.error

    def get(self, path: str) -> bytes:
        """Give the scripted file."""
        call = f"get {path}"
        step = self._next(call)
        if not isinstance(step, Get) or step.path != path:
            raise self._unexpected(call, step)
        return _value(step.result)

    @contextmanager
    def forward(self, port: int, other: Executor) -> Iterator[int]:
        """Give the scripted port."""
        call = f"forward to port {port} of {other.name}"
        step = self._next(call)
        if not isinstance(step, Forward) or (step.port, step.other) != (port, other.name):
            raise self._unexpected(call, step)
        port = _value(step.result)
        self.forwards += 1
        try:
            yield port
        finally:
            self.forwards -= 1

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def assert_done(self) -> None:
        """Raise AssertionError when a scripted call did not come."""
        missing = self._script[self._position :]
        if missing:
            raise AssertionError(f"{self._name}: {len(missing)} calls did not come, first {missing[0]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, call: str) -> Step:
        if self.closed:
            raise AssertionError(f"{self._name}: {call} after close")
        if self._position == len(self._script):
            raise AssertionError(f"{self._name}: unexpected call {self._position + 1}: {call}; expected no more")
        self._position += 1
        return self._script[self._position - 1]

    def _unexpected(self, call: str, step: Step) -> AssertionError:
        return AssertionError(f"{self._name}: unexpected call {self._position}: {call}; expected {step}")


@dataclass(frozen=True)
class Sent:
    """``send_line`` is called with this line; raises ``error`` when given."""

    line: str
    error: Exception | None = None


@dataclass(frozen=True)
class Line:
    """``read_line`` gives this line back, or raises it."""

    result: str | Exception


class FakeSession:
    """A ``Session`` that follows a script of ``Sent`` and ``Line``; a wrong call raises AssertionError at once.

    ``ended`` is how its command ended, once a test says so.
    """

    def __init__(self, script: Sequence[Sent | Line] = ()) -> None:
        self._script = list(script)
        self._position = 0
        self.closed = False
        self.ended = ""

    def send_line(self, line: str) -> None:
        """Check the scripted line."""
        call = f"send_line {line!r}"
        step = self._next(call)
        if not isinstance(step, Sent) or step.line != line:
            raise self._unexpected(call, step)
        if step.error is not None:
            raise step.error

    def read_line(self, timeout: float) -> str:
        """Give the scripted line."""
        call = f"read_line within {timeout:g} s"
        step = self._next(call)
        if not isinstance(step, Line):
            raise self._unexpected(call, step)
        return _value(step.result)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def assert_done(self) -> None:
        """Raise AssertionError when a scripted call did not come or the session was left open."""
        missing = self._script[self._position :]
        if missing:
            raise AssertionError(f"session: {len(missing)} calls did not come, first {missing[0]}")
        if not self.closed:
            raise AssertionError("session: was not closed")

    def _next(self, call: str) -> Sent | Line:
        if self.closed:
            raise AssertionError(f"session: {call} after close")
        if self._position == len(self._script):
            raise AssertionError(f"session: unexpected call {self._position + 1}: {call}; expected no more")
        self._position += 1
        return self._script[self._position - 1]

    def _unexpected(self, call: str, step: Sent | Line) -> AssertionError:
        return AssertionError(f"session: unexpected call {self._position}: {call}; expected {step}")


def _value(result: _T | Exception) -> _T:
    if isinstance(result, Exception):
        raise result
    return result
