"""The orchestrator's side of the program that keeps locust imported on the client node."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from proxybench.errors import CommandTimeoutError, MeasurementError
from proxybench.load.command import folder, locustfile, warm

if TYPE_CHECKING:
    from proxybench.hosts.base import Executor, Session


def start_load(executor: Executor, python: str, workdir: str) -> WarmLocust:
    """Put locust's files on the client node and start the program that imports it, without waiting for that.

    The caller closes it. Raises HostError.
    """
    place = folder(workdir)
    executor.run(["mkdir", "-p", place])
    executor.put(locustfile(), f"{place}/locustfile.py")
    executor.put(warm(), f"{place}/warm.py")
    return WarmLocust(executor.open([python, f"{place}/warm.py"]))


class WarmLocust:
    """Talks to ``warm()``'s program over a session; one load at a time.

    Lines that are no answers (locust and its libraries may print some) are skipped.
    """

    def __init__(self, session: Session) -> None:
        """Take the session of a program that was just started; it need not be ready."""
        self._session = session
        self._is_ready = False
        self._owed = 0  # answers to loads that were given up; they come before the next load's

    def ready(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until locust is imported; return at once when that is known.

        Raises CommandTimeoutError (it may be asked again then) and ConnectionLostError.
        """
        if not self._is_ready:
            self._answer("ready", timeout)
            self._is_ready = True

    def run(self, request: str, limit: float) -> None:
        """Run a load of ``build_request`` to its end, for up to ``limit`` seconds; call ``ready`` before.

        Raises MeasurementError for an exit code other than 0, CommandTimeoutError (the load is then ended, and another
        may be run) and ConnectionLostError.
        """
        deadline = time.monotonic() + limit
        while self._owed:
            self._answer("code", deadline - time.monotonic())
            self._owed -= 1
        self._session.send_line(request)
        try:
            answer = self._answer("code", deadline - time.monotonic())
        except CommandTimeoutError:
            self._owed += 1
            self._session.send_line("")
            raise
        if answer["code"] != 0:
            said = answer.get("said") or "nothing"
            raise MeasurementError(f"locust ended with code {answer['code']} and said: {said}")

    def close(self) -> None:
        """End the program, and the load if one runs. Never raises."""
        self._session.close()

    def _answer(self, key: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            line = self._session.read_line(max(deadline - time.monotonic(), 0.0))
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict) and key in answer:
                return answer
