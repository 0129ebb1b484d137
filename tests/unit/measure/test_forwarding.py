from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.agent.answers import ConnectFigures, ConnectResult, EstablishedFigures, EstablishedResult
from proxybench.agent.requests import Connect, Established, Target
from proxybench.errors import MeasurementError
from proxybench.kube.objects import AddressPlan, Population
from proxybench.measure import forwarding
from proxybench.model import Position
from tests.unit.measure.rows import rows

if TYPE_CHECKING:
    from proxybench.measure.recorder import Recorder

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
POPULATION = Population(PLAN, 2)
FIRST = Target("first", "10.96.1.0", 80, ("10.244.1.0", "10.244.1.1"))
# Of 10 Services the last on the first node is number 9; of 5 it is number 3, since number 4 is elsewhere.
LAST = Target("last", "10.96.1.9", 80, ("10.244.1.18", "10.244.1.19"))
DIRECT = Target("direct", "10.244.1.18", 8080, ("10.244.1.18",))
WHERE = forwarding.Paths(((Position.FIRST, FIRST), (Position.LAST, LAST)), DIRECT)


def made(*connect: int, **more: Any) -> ConnectFigures:
    values: dict[str, Any] = {
        "connect_ns": connect,
        "first_byte_ns": tuple(value + 1 for value in connect),
        "rtt_us": tuple(5 for _ in connect),
        "answers": {},
        "wrong": 0,
        "errors": {},
        "timeouts": 0,
        "connect_censored_ns": (),
        "first_byte_censored_ns": (),
    }
    return ConnectFigures(**{**values, **more})


def result(**targets: ConnectFigures) -> ConnectResult:
    return ConnectResult(targets, complete=True)


def test_the_paths_are_the_vips_and_the_last_ones_endpoint() -> None:
    found = forwarding.paths(POPULATION, 10, (Position.FIRST, Position.LAST), 8080)
    assert found == WHERE
    assert found.targets == (FIRST, LAST, DIRECT)


def test_every_measured_service_has_its_endpoints_on_the_measured_node() -> None:
    for services in (1, 2, 5, 11, 100):
        found = forwarding.paths(POPULATION, services, tuple(Position)[:3], 8080)
        for target in found.targets:
            assert target.expect is not None
            assert all(address.split(".")[2] < "128" for address in target.expect)


def test_the_check_is_a_few_connections_to_each() -> None:
    assert forwarding.check_request(WHERE) == Connect((FIRST, LAST, DIRECT), 1, 4, 0, 2000, 60)


@pytest.mark.parametrize(("connections", "rounds"), [(200, 20), (201, 21), (1, 1)])
def test_at_least_so_many_connections_are_made(connections: int, rounds: int) -> None:
    request = forwarding.connect_request(WHERE, connections, warmup=3, block=10, limit=9.5)
    assert request == Connect((FIRST, LAST, DIRECT), rounds, 10, 3, limit=9.5)


@pytest.mark.parametrize(("count", "warmup"), [(300, 20), (7, 7)])
def test_the_control_is_the_last_vip_and_its_endpoint(count: int, warmup: int) -> None:
    assert forwarding.established_request(WHERE, count, 5.0) == Established((LAST, DIRECT), count, warmup, limit=5.0)


def test_right_answers_are_no_problem() -> None:
    assert forwarding.check(result(first=made(1), last=made(2), direct=made(3))) == ()


def test_each_target_says_all_that_is_wrong_with_it() -> None:
    bad = made(errors={"EPIPE": 1, "ECONNREFUSED": 3}, timeouts=2, wrong=1)
    assert forwarding.check(result(first=bad, last=made(1), direct=made(timeouts=4))) == (
        "first: 3 x ECONNREFUSED, 1 x EPIPE, 2 without an answer, 1 answered by an endpoint of another Service",
        "direct: 4 without an answer",
    )


def test_new_connections_are_recorded_by_position_with_the_direct_ones_apart(recorder: Recorder) -> None:
    forwarding.record_connect(recorder, WHERE, result(first=made(10), last=made(20, 21), direct=made(30)))
    assert [(row[0], row[3], row[4]) for row in rows(recorder)] == [
        ("forwarding.connect", "first", 10),
        ("forwarding.first_byte", "first", 11),
        ("forwarding.rtt", "first", 5000),
        ("forwarding.connect", "last", 20),
        ("forwarding.connect", "last", 21),
        ("forwarding.first_byte", "last", 21),
        ("forwarding.first_byte", "last", 22),
        ("forwarding.rtt", "last", 5000),
        ("forwarding.rtt", "last", 5000),
        ("forwarding.direct", "none", 30),
        ("forwarding.first_byte", "none", 31),
        ("forwarding.rtt", "none", 5000),
    ]
    assert {(row[1], row[2], row[5], row[6]) for row in rows(recorder)} == {("steady", "tcp-clusterip", "ns", False)}


def test_censored_connections_are_kept_as_such(recorder: Recorder) -> None:
    slow = made(20, connect_censored_ns=(1000,), first_byte_censored_ns=(1001, 1002))
    forwarding.record_connect(recorder, WHERE, result(first=made(), last=slow, direct=made()))
    assert [(row[0], row[4]) for row in rows(recorder) if row[6]] == [
        ("forwarding.connect", 1000),
        ("forwarding.first_byte", 1001),
        ("forwarding.first_byte", 1002),
    ]


def test_wrong_answers_are_no_measurement(recorder: Recorder) -> None:
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_connect(recorder, WHERE, result(first=made(wrong=2), last=made(), direct=made(timeouts=1)))
    assert str(raised.value) == ("first: 2 answered by an endpoint of another Service; direct: 1 without an answer")
    assert recorder.samples == []


def test_round_trips_are_recorded_over_the_last_vip_and_directly(recorder: Recorder) -> None:
    figures = {
        "last": EstablishedFigures((7, 8), {}, 1, (900,)),
        "direct": EstablishedFigures((5,), {}, 0, ()),
    }
    forwarding.record_established(recorder, WHERE, EstablishedResult(figures, complete=True))
    assert rows(recorder) == [
        ("forwarding.established", "steady", "tcp-clusterip", "last", 7, "ns", False),
        ("forwarding.established", "steady", "tcp-clusterip", "last", 8, "ns", False),
        ("forwarding.established", "steady", "tcp-clusterip", "last", 900, "ns", True),
        ("forwarding.established", "steady", "tcp-clusterip", "none", 5, "ns", False),
    ]
