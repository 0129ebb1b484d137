"""A token that ends, had anew in time: a run may outlive the one with which it began."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from proxybench.errors import ProxybenchError

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN_S: Final = 600.0
"""For a step: one that is begun with a token shall end with it."""


class Token(NamedTuple):
    """What the API knows somebody by; ``expires`` in seconds since 1970, None where nobody says when it ends."""

    text: str
    expires: float | None = None


def unheard(_line: str) -> None:
    """Tell nobody."""


class Tokens:
    """Keeps a token; ``anew`` asks for another one, and may raise ProxybenchError. For any thread.

    ``say`` is told, once until there is one again, that one which ends soon could not be had anew.
    """

    def __init__(
        self,
        first: Token,
        anew: Callable[[], Token],
        say: Callable[[str], None] = unheard,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._known = first
        self._anew = anew
        self._say = say
        self._now = now
        self._told = False
        self._lock = Lock()

    def __call__(self, refused: str = "") -> str:
        """Return a token that is good: another one where this one was refused, or ends within ``MARGIN_S``.

        Raises ProxybenchError where a token was refused and there is none anew; before that the old one is good.
        """
        with self._lock:
            if self._known.text == refused:
                self._know(self._anew())
            elif self._known.expires is not None and (left := self._known.expires - self._now()) < MARGIN_S:
                try:
                    self._know(self._anew())
                except ProxybenchError as error:  # it is asked for once more when the old one is refused
                    self._tell(left, error)
            return self._known.text

    def _know(self, token: Token) -> None:
        self._known, self._told = token, False

    def _tell(self, left: float, error: ProxybenchError) -> None:
        if not self._told:
            when = f"ends in {left:.0f} s" if left > 0 else "has ended"
            self._say(f"the API's token {when}, and there is none anew: {'; '.join(str(error).splitlines())}")
        self._told = True
