"""A token that ends, had anew in time: a run may outlive the one with which it began."""

from __future__ import annotations

import time
from contextlib import suppress
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


class Tokens:
    """Keeps a token; ``anew`` asks for another one, and may raise ProxybenchError. For any thread."""

    def __init__(self, first: Token, anew: Callable[[], Token], now: Callable[[], float] = time.time) -> None:
        self._known = first
        self._anew = anew
        self._now = now
        self._lock = Lock()

    def __call__(self, refused: str = "") -> str:
        """Return a token that is good: another one where this one was refused, or ends within ``MARGIN_S``.

        Raises ProxybenchError where a token was refused and there is none anew; before that the old one is good.
        """
        with self._lock:
            if self._known.text == refused:
                self._known = self._anew()
            elif self._known.expires is not None and self._known.expires - self._now() < MARGIN_S:
                with suppress(ProxybenchError):  # it is asked for once more when the old one is refused
                    self._known = self._anew()
            return self._known.text
