"""How locust is brought to the client nodes, and what each is told of a load."""

from __future__ import annotations

import json
import threading

import pytest

from proxybench.clocks import ClockDomain, Clocks, Offset
from proxybench.errors import CommandFailedError, MeasurementError
from proxybench.load.clients import _FREE_PORT, start_load
from proxybench.load.command import Part, build_request, locustfile, warm
from proxybench.load.plan import LoadPlan, Target
from proxybench.testing.hosts import FakeExecutor, FakeSession, Forward, Get, Line, Open, Put, Run, Sent, Step, done
from tests.factories import DOMAIN, make_node

FIRST = make_node("client", "198.18.1.10", workdir="/w", python="/v/python")
SECOND = make_node("client2", "198.18.1.22", workdir="/x", python="/v/python", clock=ClockDomain("another kernel"))
PLAN = LoadPlan((Target("10.96.0.1", 80, ("10.244.0.1",)),), 1.0, 2, 2.0, 1000)
READY, GOOD = Line('{"ready": true}'), Line('{"code": 0, "said": ""}')
HEAD = {"format": 1, "begun": True, "users": 1, "slots": 2, "timeout_ns": 5, "duration_ns": 1_000_000_000}


def files(workdir: str, *sessions: FakeSession) -> list[Step]:
    opened: list[Step] = [Open(["/v/python", f"{workdir}/load/warm.py"], session) for session in sessions]
    puts = [Put(f"{workdir}/load/locustfile.py", locustfile()), Put(f"{workdir}/load/warm.py", warm())]
    return [Run(["mkdir", "-p", f"{workdir}/load"]), *puts, *opened]


def records(*rows: str) -> bytes:
    return "\n".join([json.dumps(HEAD), *rows, json.dumps({"records": len(rows)})]).encode()


def test_one_client_has_no_master_and_is_not_waited_for() -> None:
    session = FakeSession([READY, Sent(build_request(PLAN, Part("/w/load"))), GOOD])
    put, get = Put("/w/load/plan.json", PLAN.to_json("/w/load/records")), Get("/w/load/records", records("0,0,1,2,3,"))
    executor = FakeExecutor("client", [*files("/w", session), put, get])
    load = start_load([(FIRST, executor)])
    load.ready(1)
    assert load.run(PLAN, Clocks(), 5).first_byte_ns.tolist() == [2]
    load.close()
    executor.assert_done()
    session.assert_done()


def two(first: list[Step], second: list[Step], sessions: list[FakeSession]) -> tuple[FakeExecutor, FakeExecutor]:
    port = Run(["/v/python", "-c", _FREE_PORT], done("5557\n"))
    return (
        FakeExecutor("client", [port, *files("/w", *sessions[:2]), *first]),
        FakeExecutor("client2", [Forward(5557, "client", 40001), *files("/x", sessions[2]), *second]),
    )


def test_two_clients_are_workers_of_a_master_beside_the_first() -> None:
    parts = [Part("/w/load", port=5557), Part("/w/load", "master-", 5557, 2), Part("/x/load", port=40001)]
    worker, master, other = (FakeSession([READY, Sent(build_request(PLAN, part)), GOOD]) for part in parts)
    executors = two(
        [
            Put("/w/load/plan.json", PLAN.to_json("/w/load/records", 0, 2, 0)),
            Put("/w/load/master-plan.json", PLAN.to_json("", 0, 2)),
            Get("/w/load/records", records("0,0,1,2,3,", "2,4,5,6,7,")),
        ],
        [
            Put("/x/load/plan.json", PLAN.to_json("/x/load/records", 1, 2, 700)),  # what its clock is ahead
            Get("/x/load/records", records("1,2,3,4,6,")),
        ],
        [worker, master, other],
    )
    load = start_load(list(zip((FIRST, SECOND), executors, strict=True)))
    assert executors[1].forwards == 1
    load.ready(1)
    clocks = Clocks({DOMAIN: Offset(1000, 3), SECOND.clock: Offset(1700, 4)})
    result = load.run(PLAN, clocks, 5)
    assert (result.first_byte_ns.tolist(), result.failures) == ([2, 3, 2], {"unserved": 1})
    load.close()
    assert executors[1].forwards == 0
    for each in (*executors, worker, master, other):
        each.assert_done()


def test_a_client_that_fails_ends_the_others_and_is_named() -> None:
    parts = [Part("/w/load", port=5557), Part("/w/load", "master-", 5557, 2), Part("/x/load", port=40001)]
    requests = [build_request(PLAN, part) for part in parts]
    worker = FakeSession([READY, Sent(requests[0]), GOOD])
    master = FakeSession([READY, Sent(requests[1]), GOOD])
    other = FakeSession([READY, Sent(requests[2]), Line('{"code": -9, "said": ""}')])
    master_fails = FakeSession([READY, Sent(requests[1]), Line('{"code": 1, "said": "the port was busy"}')])
    puts: list[Step] = [
        Put("/w/load/plan.json", PLAN.to_json("/w/load/records", 0, 2)),
        Put("/w/load/master-plan.json", PLAN.to_json("", 0, 2)),
    ]
    theirs: list[Step] = [Put("/x/load/plan.json", PLAN.to_json("/x/load/records", 1, 2))]
    near = make_node("client2", "198.18.1.22", workdir="/x", python="/v/python")
    for sessions, message in (
        ([worker, master, other], "client2: locust was ended by SIGKILL and said: nothing"),
        (
            [
                FakeSession([READY, Sent(requests[0]), Sent("")]),
                master_fails,
                FakeSession([READY, Sent(requests[2]), Sent("")]),
            ],
            "client (master): locust ended with code 1 and said: the port was busy",
        ),
    ):
        load = start_load(list(zip((FIRST, near), two(puts, theirs, sessions), strict=True)))
        load.ready(1)
        with pytest.raises(MeasurementError) as raised:
            load.run(PLAN, Clocks(), 5)
        assert str(raised.value) == message
        load.close()
        for session in sessions:
            session.assert_done()


def test_a_program_that_ended_or_says_nothing_any_more_is_named() -> None:
    sessions = [FakeSession() for _ in range(3)]
    near = make_node("client2", "198.18.1.22", workdir="/x", python="/v/python")
    load = start_load(list(zip((FIRST, near), two([], [], sessions), strict=True)))
    assert (load.ended, load.broken) == ("", False)
    sessions[1].ended = "was ended by SIGKILL"
    assert load.ended == "client (master): the program that starts locust was ended by SIGKILL"
    assert load.broken
    load.close()


def test_clients_whose_clocks_cannot_be_compared() -> None:
    sessions = [FakeSession() for _ in range(3)]
    first: list[Step] = [Put("/w/load/plan.json", PLAN.to_json("/w/load/records", 0, 2))]
    load = start_load(list(zip((FIRST, SECOND), two(first, [], sessions), strict=True)))
    with pytest.raises(MeasurementError, match=r"^a time from another kernel to one kernel cannot be told: "):
        load.run(PLAN, Clocks(), 5)
    load.close()


def test_what_was_started_ends_when_a_further_client_fails() -> None:
    sessions = [FakeSession() for _ in range(3)]
    broken = FakeExecutor("client2", [Forward(5557, "client", 1), Run(["mkdir", "-p", "/x/load"], done(code=1))])
    there, _ = two([], [], sessions)
    with pytest.raises(CommandFailedError, match=r"^client2: `mkdir -p /x/load` ended with code 1$"):
        start_load([(FIRST, there), (SECOND, broken)])
    assert (sessions[0].closed, sessions[1].closed, broken.forwards) == (True, True, 0)


class Slow(FakeSession):
    """One that ends only when all do; ``others`` are those that are asked to, and this one."""

    def __init__(self, others: threading.Barrier) -> None:
        super().__init__()
        self._others = others

    def close(self) -> None:
        self._others.wait(5)
        super().close()


def test_clients_that_take_their_time_to_end_are_asked_at_once() -> None:
    others = threading.Barrier(3)
    sessions: list[FakeSession] = [Slow(others) for _ in range(3)]
    load = start_load(list(zip((FIRST, SECOND), two([], [], sessions), strict=True)))
    load.close()
    assert [session.closed for session in sessions] == [True] * 3
