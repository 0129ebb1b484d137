"""An agent that was told beforehand what it will be asked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from proxybench.nodes.client import Agent, Pending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.nodes.requests import Request

T = TypeVar("T")


class FakeAgent(Agent):
    """Expects exactly the scripted requests, in order, and answers each with its value (or raises it).

    AssertionError for any other request, for one begun before the last was finished, and from ``verify`` when
    something was not asked. ``ended`` is how its program ended, once a test says so.
    """

    ended = ""

    def __init__(self, script: Iterable[tuple[Request[Any], object]]) -> None:
        self._script = deque(script)
        self._open: str | None = None
        self.closed = False

    def begin(self, request: Request[T]) -> Pending[T]:
        """Compare with the script."""
        if self.closed:
            raise AssertionError(f"{request} was asked of a closed agent")
        if self._open is not None:
            raise AssertionError(f"{request} was begun before {self._open} was finished")
        if not self._script:
            raise AssertionError(f"{request} was asked, but nothing more was expected")
        expected, answer = self._script.popleft()
        if request != expected:
            raise AssertionError(f"{request} was asked, but {expected} was expected")
        self._open = request.op
        return _Scripted(self, answer)

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def verify(self) -> None:
        """Raise AssertionError unless all was asked and finished."""
        if self._script:
            raise AssertionError(f"{self._script[0][0]} was never asked")
        if self._open is not None:
            raise AssertionError(f"{self._open} was never finished")

    def settle(self) -> None:
        """Note that the request under way was finished (what ``finish`` does)."""
        if self._open is None:
            raise AssertionError("an answer was taken twice")
        self._open = None


class _Scripted(Pending[T]):
    def __init__(self, agent: FakeAgent, answer: object) -> None:
        self._agent = agent
        self._answer = answer

    def finish(self) -> T:
        """Give the scripted answer."""
        self._agent.settle()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer  # type: ignore[return-value] # the script pairs requests with their answers
