"""The orchestrator's side of the program that keeps locust imported on a client node."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from proxybench.errors import CommandTimeoutError, ConnectionLostError, MeasurementError
from proxybench.hosts.base import end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.hosts.base import Session

_TURN: Final = 0.2  # seconds; how long one of several is listened to before the next


class WarmLocust:
    """Talks to ``warm()``'s program over a session; one load at a time.

    Lines that are no answers (locust and its libraries may print some) are skipped.
    """

    def __init__(self, session: Session, now: Callable[[], float] = time.monotonic) -> None:
        """Take the session of a program that was just started; it need not be ready. ``now`` tells seconds."""
        self._session = session
        self._now = now
        self._is_ready = False
        self.silent = False  # it ends a load at its limit: one that says nothing by then is stopped, or worse
        self._owed = 0  # answers to loads that were given up; they come before the next load's

    @property
    def ended(self) -> str:
        """How the program ended; empty while it runs."""
        return self._session.ended

    def ready(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until locust is imported; return at once when that is known.

        Raises CommandTimeoutError (it may be asked again then) and ConnectionLostError.
        """
        if not self._is_ready:
            self._answer("ready", timeout)
            self._is_ready = True

    def begin(self, request: str, limit: float) -> None:
        """Begin a load of ``build_request``, once those that were given up have ended; call ``ready`` before.

        Raises CommandTimeoutError and ConnectionLostError.
        """
        deadline = self._now() + limit
        while self._owed:
            self._answer("code", deadline - self._now())
            self._owed -= 1
        self._session.send_line(request)

    def finish(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the load that was begun has ended.

        Raises MeasurementError for an exit code other than 0, CommandTimeoutError (it may be asked again then) and
        ConnectionLostError.
        """
        answer = self._answer("code", timeout)
        if answer["code"] != 0:
            said = answer.get("said") or "nothing"
            raise MeasurementError(f"locust {end_of(answer['code'])} and said: {said}")

    def stop(self) -> None:
        """Give up the load that was begun: it is ended, and another may be begun. Raises ConnectionLostError."""
        self._owed += 1
        self._session.send_line("")

    def close(self) -> None:
        """End the program, and the load if one runs. Never raises."""
        self._session.close()

    def _answer(self, key: str, timeout: float) -> dict[str, Any]:
        deadline = self._now() + timeout
        while True:
            line = self._session.read_line(max(deadline - self._now(), 0.0))
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict) and key in answer:
                return answer


def run_together(requests: dict[str, tuple[WarmLocust, str]], limit: float) -> None:
    """Begin all loads (by a name for messages) and wait until each has ended, for up to ``limit`` seconds together.

    The first that fails ends the others. Raises MeasurementError, CommandTimeoutError or ConnectionLostError.
    """
    deadline = time.monotonic() + limit
    waiting: dict[str, WarmLocust] = {}
    alone = len(requests) == 1
    try:
        for name, (locust, request) in requests.items():
            locust.begin(request, deadline - time.monotonic())
            waiting[name] = locust
        while waiting:
            for name, locust in list(waiting.items()):
                try:
                    locust.finish(deadline - time.monotonic() if alone else _TURN)
                except CommandTimeoutError:
                    if alone or time.monotonic() >= deadline:
                        locust.silent = True
                        raise
                    continue
                except MeasurementError as error:
                    del waiting[name]
                    raise MeasurementError(str(error) if alone else f"{name}: {error}") from error
                except ConnectionLostError:
                    del waiting[name]
                    raise
                del waiting[name]
    finally:
        for locust in waiting.values():
            with suppress(ConnectionLostError):
                locust.stop()
