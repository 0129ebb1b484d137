"""How the runner brings locust to the client node."""

from __future__ import annotations

from proxybench.load.command import locustfile, warm
from proxybench.load.session import start_load
from proxybench.testing.hosts import FakeExecutor, FakeSession, Line, Open, Put, Run


def test_the_program_is_started_and_not_waited_for() -> None:
    session = FakeSession([Line('{"ready": true}')])
    executor = FakeExecutor(
        "node1",
        [
            Run(["mkdir", "-p", "/w/load"]),
            Put("/w/load/locustfile.py", locustfile()),
            Put("/w/load/warm.py", warm()),
            Open(["/v/python", "/w/load/warm.py"], session),
        ],
    )
    locust = start_load(executor, "/v/python", "/w")
    executor.assert_done()
    locust.ready(1)
    locust.close()
    session.assert_done()
