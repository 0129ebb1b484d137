from __future__ import annotations

import pytest

from proxybench.errors import CommandTimeoutError, ConnectionLostError, MeasurementError
from proxybench.load.session import WarmLocust, run_together
from proxybench.testing.hosts import FakeSession, Line, Sent

SLOW = CommandTimeoutError("node1: `python warm.py` said nothing within 1 s")
GONE = ConnectionLostError("node1: `python warm.py` is gone: ImportError: no locust")


def run_one(locust: WarmLocust, request: str, limit: float) -> None:
    run_together({"node1": (locust, request)}, limit)


GOOD = Line('{"code": 0, "said": "Aggregated"}')


def test_ready_skips_what_locust_prints_and_is_asked_once() -> None:
    session = FakeSession([Line("hello from a plugin"), Line("{}"), Line("[1]"), Line("7"), Line('{"ready": true}')])
    locust = WarmLocust(session)
    locust.ready(5)
    locust.ready(5)
    locust.close()
    session.assert_done()


def test_not_ready_in_time_may_be_asked_again() -> None:
    session = FakeSession([Line(SLOW), Line('{"ready": true}')])
    locust = WarmLocust(session)
    with pytest.raises(CommandTimeoutError, match=r"^node1: `python warm.py` said nothing within 1 s$"):
        locust.ready(1)
    locust.ready(1)
    locust.close()
    session.assert_done()


def test_never_ready() -> None:
    session = FakeSession([Line(GONE)])
    with pytest.raises(ConnectionLostError, match=r"^node1: `python warm.py` is gone: ImportError: no locust$"):
        WarmLocust(session).ready(1)


def test_ready_has_one_time_limit_for_all_lines() -> None:
    limits: list[float] = []

    class Chatty(FakeSession):
        def read_line(self, timeout: float) -> str:
            limits.append(timeout)
            now[0] += 3
            return super().read_line(timeout)

    now = [100.0]
    WarmLocust(Chatty([Line("a"), Line("b"), Line('{"ready": true}')]), lambda: now[0]).ready(5)
    assert limits == [5, 2, 0]


def test_loads_run_one_after_the_other() -> None:
    session = FakeSession([Sent("one"), Line("noise"), GOOD, Sent("two"), GOOD])
    locust = WarmLocust(session)
    run_one(locust, "one", 5)
    run_one(locust, "two", 5)
    locust.close()
    session.assert_done()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ('{"code": 2, "said": "error: no such option"}', "locust ended with code 2 and said: error: no such option"),
        ('{"code": 124, "said": "killed after 70 s"}', "locust ended with code 124 and said: killed after 70 s"),
        ('{"code": -9, "said": ""}', "locust was ended by SIGKILL and said: nothing"),
        ('{"code": 1}', "locust ended with code 1 and said: nothing"),
    ],
)
def test_a_load_that_failed(answer: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=f"^{message}$"):
        run_one(WarmLocust(FakeSession([Sent("one"), Line(answer)])), "one", 5)


def test_a_load_that_takes_too_long_is_ended_and_its_answer_is_not_the_next_ones() -> None:
    late = Line('{"code": 124, "said": "stopped on request"}')
    session = FakeSession([Sent("one"), Line(SLOW), Sent(""), late, Sent("two"), GOOD])
    locust = WarmLocust(session)
    with pytest.raises(CommandTimeoutError, match=r"^node1: `python warm.py` said nothing within 1 s$"):
        run_one(locust, "one", 1)
    assert locust.silent  # whoever has another connection makes one
    run_one(locust, "two", 5)
    locust.close()
    session.assert_done()


def test_nothing_is_begun_before_the_load_that_was_given_up_has_ended() -> None:
    session = FakeSession([Sent("one"), Line(SLOW), Sent(""), Line(SLOW), GOOD, Sent("three"), GOOD])
    locust = WarmLocust(session)
    for request in ("one", "two"):
        with pytest.raises(CommandTimeoutError):
            run_one(locust, request, 1)
    run_one(locust, "three", 5)
    locust.close()
    session.assert_done()


@pytest.mark.parametrize("script", [[Sent("one", GONE)], [Sent("one"), Line(GONE)]])
def test_a_program_that_is_gone(script: list[Sent | Line]) -> None:
    with pytest.raises(ConnectionLostError, match=r"^node1: `python warm.py` is gone: ImportError: no locust$"):
        run_one(WarmLocust(FakeSession(script)), "one", 5)
