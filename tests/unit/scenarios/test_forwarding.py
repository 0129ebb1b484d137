from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.agent.probe import Series
from proxybench.errors import MeasurementError
from proxybench.experiment.spec import ForwardingSpec
from proxybench.kube.objects import AddressPlan, Population
from proxybench.model import Position
from proxybench.nodes.answers import ConnectFigures, ConnectResult, EstablishedResult
from proxybench.nodes.requests import Connect, Established, Target
from proxybench.scenarios import forwarding
from proxybench.scenarios.paths import Paths, check, check_request, paths
from proxybench.scenarios.places import Places
from proxybench.scenarios.recorder import Where, cluster_ip
from tests.unit.scenarios.rows import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.scenarios.recorder import Recorder

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
POPULATION = Population(PLAN, 2)
FIRST = Target("first", "10.96.1.0", 80, ("10.244.1.0", "10.244.1.1"))
# Of 10 Services the last on the first node is number 9; of 5 it is number 3, since number 4 is elsewhere.
LAST = Target("last", "10.96.1.9", 80, ("10.244.1.18", "10.244.1.19"))
DIRECT = Target("direct", "10.244.1.18", 8080, ("10.244.1.18",))
WHERE = Paths(((cluster_ip(Position.FIRST), FIRST), (cluster_ip(Position.LAST), LAST)), DIRECT)


TIMEOUT_NS = 1_000_000_000


def made(
    *connect: int,
    late: tuple[int, ...] = (),
    silent: int = 0,
    broken: Mapping[str, tuple[int, ...]] | None = None,
    refused: int = 0,
    wrong: int = 0,
) -> ConnectFigures:
    """Return what the agent answers, by its own code, when these connections were answered 1 ns after they were made.

    Those in ``late`` were made and never answered, ``silent`` ones not even made; those in ``broken`` failed after they
    were made, by the error's name, and ``refused`` ones before. ``wrong`` counts answers by a stranger.
    """
    errors = {name: values for name, values in (broken or {}).items() if values}
    unanswered = (*late, *(value for values in errors.values() for value in values))
    series = Series(len(connect) + len(unanswered) + silent + refused)
    for number, value in enumerate((*connect, *unanswered)):
        series.connect[number] = value
    for number, value in enumerate(connect):
        series.first_byte[number], series.rtt[number] = value + 1, 5
    series.connected, series.answered = len(connect) + len(unanswered), len(connect)
    series.answers = {b"10.244.9.9": wrong, b"10.244.1.18": len(connect) - wrong}
    series.wrong = wrong
    series.errors = {name: len(values) for name, values in errors.items()}
    if refused:
        series.errors["ECONNREFUSED"] = refused
    series.connect_timeouts, series.answer_timeouts = silent, len(late)
    told = {"targets": {"last": series.result(TIMEOUT_NS)}, "complete": True}
    return Connect((Target("last", "", 1),), 1, 1).decode(told).targets["last"]


def result(*, complete: bool = True, **targets: ConnectFigures) -> ConnectResult:
    return ConnectResult(targets, complete=complete)


def spec(connections: int, warmup: int = 0, block: int = 1) -> ForwardingSpec:
    return ForwardingSpec(connections=connections, warmup=warmup, block=block)


def asking(attempts: int) -> Connect:
    return forwarding.connect_request(WHERE, spec(attempts), limit=60)


def round_trips(
    *rtt: int, timeouts: int = 0, errors: Mapping[str, int] | None = None, complete: bool = True
) -> EstablishedResult:
    """Return 200 good round trips directly, and these over the VIP, whose connection ends with its first trouble."""
    last = {"rtt_ns": list(rtt), "errors": dict(errors or {}), "timeouts": timeouts, "censored_ns": [900] * timeouts}
    direct = {"rtt_ns": [5] * 200, "errors": {}, "timeouts": 0, "censored_ns": []}
    request = Established(tuple(Target(label, "", 1) for label in ("last", "direct")), 1)
    return request.decode({"targets": {"last": last, "direct": direct}, "complete": complete})


def test_the_paths_are_the_vips_and_the_last_ones_endpoint() -> None:
    found = paths(Places(POPULATION, 10), (Position.FIRST, Position.LAST))
    assert found == WHERE
    assert found.targets == (FIRST, LAST, DIRECT)


def test_a_rank_that_was_read_back_chooses_the_service_and_goes_with_its_numbers(recorder: Recorder) -> None:
    ranks = {f"{PLAN.vip(index)} 80/tcp": 10 - index for index in range(10)}  # the other way round
    where = paths(Places(POPULATION, 10, ranks), (Position.FIRST, Position.LAST))
    assert where == Paths(
        (
            (cluster_ip(Position.FIRST, 1), replace(LAST, label="first")),
            (cluster_ip(Position.LAST, 10), replace(FIRST, label="last")),
        ),
        Target("direct", "10.244.1.0", 8080, ("10.244.1.0",)),
    )
    forwarding.record_connect(recorder, where, asking(1), result(first=made(1), last=made(2), direct=made(3)))
    found = {(str(sample.point.position), sample.rank) for sample in recorder.samples}
    assert found == {("first", 1), ("last", 10), ("none", None)}


def test_every_measured_service_has_its_endpoints_on_the_measured_node() -> None:
    for services in (1, 2, 5, 11, 100):
        found = paths(Places(POPULATION, services), tuple(Position)[:3])
        for target in found.targets:
            assert target.expect is not None
            assert all(address.split(".")[2] < "128" for address in target.expect)


def test_the_check_is_a_few_connections_to_each() -> None:
    assert check_request(WHERE) == Connect((FIRST, LAST, DIRECT), 1, 4, 0, 2000, 60)


@pytest.mark.parametrize(("connections", "rounds"), [(200, 20), (201, 21), (1, 1)])
def test_at_least_so_many_connections_are_made(connections: int, rounds: int) -> None:
    request = forwarding.connect_request(WHERE, spec(connections, 3, 10), limit=9.5)
    assert request == Connect((FIRST, LAST, DIRECT), rounds, 10, 3, limit=9.5)


@pytest.mark.parametrize(("count", "warmup"), [(300, 20), (7, 7)])
def test_the_control_is_the_last_vip_and_its_endpoint(count: int, warmup: int) -> None:
    assert forwarding.established_request(WHERE, count, 5.0) == Established((LAST, DIRECT), count, warmup, limit=5.0)


def test_right_answers_are_no_problem() -> None:
    assert check(result(first=made(1), last=made(2), direct=made(3))) == {}


def test_each_target_says_all_that_is_wrong_with_it() -> None:
    bad = made(7, broken={"EPIPE": (8,)}, refused=3, late=(9,), silent=1, wrong=1)
    assert check(result(first=bad, last=made(1), direct=made(silent=4))) == {
        "first": (
            "first: 3 x ECONNREFUSED, 1 x EPIPE, 2 without an answer, 1 answered by an endpoint of another Service"
        ),
        "direct": "direct: 4 without an answer",
    }


def test_new_connections_are_recorded_by_position_with_the_direct_ones_apart(recorder: Recorder) -> None:
    found = result(first=made(10, 11), last=made(20, 21), direct=made(30, 31))
    forwarding.record_connect(recorder, WHERE, asking(2), found)
    assert [(row[0], row[3], row[4]) for row in rows(recorder)] == [
        ("forwarding.connect", "first", 10),
        ("forwarding.connect", "first", 11),
        ("forwarding.first_byte", "first", 11),
        ("forwarding.first_byte", "first", 12),
        ("forwarding.rtt", "first", 5000),
        ("forwarding.rtt", "first", 5000),
        ("forwarding.connect", "last", 20),
        ("forwarding.connect", "last", 21),
        ("forwarding.first_byte", "last", 21),
        ("forwarding.first_byte", "last", 22),
        ("forwarding.rtt", "last", 5000),
        ("forwarding.rtt", "last", 5000),
        ("forwarding.direct", "none", 30),
        ("forwarding.direct", "none", 31),
        ("forwarding.first_byte", "none", 31),
        ("forwarding.first_byte", "none", 32),
        ("forwarding.rtt", "none", 5000),
        ("forwarding.rtt", "none", 5000),
    ]
    assert {(row[1], row[2], row[5], row[6]) for row in rows(recorder)} == {("steady", "cluster_ip", "ns", False)}


def test_time_outs_up_to_one_per_cent_are_censored_samples(recorder: Recorder) -> None:
    some = made(*range(198), late=(198,), silent=1)
    whole = made(*range(200))
    forwarding.record_connect(recorder, WHERE, asking(200), result(first=whole, last=some, direct=whole))
    assert [(row[0], row[3], row[4]) for row in rows(recorder) if row[6]] == [
        ("forwarding.connect", "last", TIMEOUT_NS),
        ("forwarding.first_byte", "last", TIMEOUT_NS),
        ("forwarding.first_byte", "last", TIMEOUT_NS),
    ]
    assert Counter(row[0] for row in rows(recorder) if row[3] == "last") == {
        "forwarding.connect": 200,
        "forwarding.first_byte": 200,
        "forwarding.rtt": 198,
    }


def test_connections_that_were_refused_or_reset_have_no_latency_and_are_noted(recorder: Recorder) -> None:
    some = made(*range(198), broken={"ECONNRESET": (198,)}, refused=1)
    whole = made(*range(200))
    found = result(first=whole, last=whole, direct=some)
    forwarding.record_connect(recorder, WHERE, asking(200), found)
    assert not [row for row in rows(recorder) if row[6]]
    assert Counter(row[0] for row in rows(recorder) if row[3] == "none") == {
        "forwarding.direct": 199,  # it was made, and reset before its answer
        "forwarding.first_byte": 198,
        "forwarding.rtt": 198,
    }
    noted = forwarding.failures(asking(200), found)
    assert noted == ["direct: of 200 connections 1 x ECONNREFUSED, 1 x ECONNRESET"]


@pytest.mark.parametrize(
    ("last", "complete", "words"),
    [
        (made(*range(19), silent=1), True, "last: of 20 connections 1 without an answer"),
        (
            made(*range(17), broken={"NOLINE": (17,)}, refused=1, silent=1),
            True,
            "last: of 20 connections 1 x ECONNREFUSED, 1 x NOLINE, 1 without an answer",
        ),
        (
            made(*range(20), wrong=1),
            True,
            "last: of 20 connections 1 answered by an endpoint of another Service",
        ),
        (made(*range(15)), False, "last: 15 of 20 connections, cut short by the time limit"),
        (made(), False, "last: 0 of 20 connections, cut short by the time limit"),
        (made(*range(19)), True, "last: 19 of 20 connections"),
    ],
)
def test_what_cannot_be_trusted_is_no_measurement(
    recorder: Recorder, last: ConnectFigures, complete: bool, words: str
) -> None:
    whole = made(*range(20))
    found = result(first=whole, last=last, direct=whole, complete=complete)
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_connect(recorder, WHERE, asking(20), found)
    assert str(raised.value) == words
    assert recorder.samples == []


def test_all_that_cannot_be_trusted_is_named(recorder: Recorder) -> None:
    found = result(first=made(1, 2, wrong=2), last=made(1, 2), direct=made(1, silent=1))
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_connect(recorder, WHERE, asking(2), found)
    assert str(raised.value) == (
        "first: of 2 connections 2 answered by an endpoint of another Service; "
        "direct: of 2 connections 1 without an answer"
    )
    assert recorder.samples == []


def test_an_answer_at_the_very_limit_is_not_trusted_either(recorder: Recorder) -> None:
    whole = made(1, 2)
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_connect(
            recorder, WHERE, asking(2), result(first=whole, last=whole, direct=whole, complete=False)
        )
    assert str(raised.value) == "cut short by the time limit"


def test_connections_without_rules_are_recorded_alone(recorder: Recorder) -> None:
    request = forwarding.bare_request(WHERE, spec(100), limit=60)
    forwarding.record_bare(recorder, WHERE, request, result(direct=made(*range(99), silent=1)))
    assert [(row[0], row[3], row[4], row[6]) for row in rows(recorder)] == [
        *(("forwarding.bare", "none", value, False) for value in range(99)),
        ("forwarding.bare", "none", TIMEOUT_NS, True),
    ]


def test_a_cut_off_measurement_without_rules_is_none(recorder: Recorder) -> None:
    request = forwarding.bare_request(WHERE, spec(20), limit=60)
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_bare(recorder, WHERE, request, result(direct=made(1), complete=False))
    assert str(raised.value) == "direct: 1 of 20 connections, cut short by the time limit"
    assert recorder.samples == []


def test_round_trips_are_recorded_over_the_last_vip_and_directly(recorder: Recorder) -> None:
    request = forwarding.established_request(WHERE, 200, 60)
    forwarding.record_established(recorder, WHERE, request, round_trips(*range(198), timeouts=1))
    assert rows(recorder) == [
        *(("forwarding.established", "steady", "cluster_ip", "last", value, "ns", False) for value in range(198)),
        ("forwarding.established", "steady", "cluster_ip", "last", 900, "ns", True),
        *[("forwarding.established", "steady", "cluster_ip", "none", 5, "ns", False)] * 200,
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (round_trips(*range(197), timeouts=1), "last: 197 of 200 round trips (one got no answer)"),
        (round_trips(errors={"ECONNREFUSED": 1}), "last: 0 of 200 round trips (1 x ECONNREFUSED)"),
        (
            round_trips(*range(200), complete=False),
            "; ".join(f"{label}: 200 of 200 round trips (cut short by the time limit)" for label in ("last", "direct")),
        ),
    ],
)
def test_too_few_round_trips_are_no_measurement(recorder: Recorder, found: EstablishedResult, words: str) -> None:
    with pytest.raises(MeasurementError) as raised:
        forwarding.record_established(recorder, WHERE, forwarding.established_request(WHERE, 200, 60), found)
    assert str(raised.value) == words
    assert recorder.samples == []


NODE_PORT = Target("node_port last", "198.18.1.11", 30_265, LAST.expect)
TWO = Paths(((cluster_ip(Position.LAST), LAST), (Where("node_port", Position.LAST), NODE_PORT)), DIRECT)


def test_what_is_beside_the_rules_stands_beside_every_path(recorder: Recorder) -> None:
    found = ConnectResult({"last": made(1), "node_port last": made(2), "direct": made(3)}, complete=True)
    forwarding.record_connect(recorder, TWO, forwarding.connect_request(TWO, spec(1), 60), found)
    assert [row[1:5] for row in rows(recorder) if row[0] in {"forwarding.connect", "forwarding.direct"}] == [
        ("steady", "cluster_ip", "last", 1),
        ("steady", "node_port", "last", 2),
        ("steady", "cluster_ip", "none", 3),
        ("steady", "node_port", "none", 3),
    ]


def test_the_control_is_the_last_one_of_every_path(recorder: Recorder) -> None:
    request = forwarding.established_request(TWO, 20, 60)
    assert request.targets == (LAST, NODE_PORT, DIRECT)
    one = {"rtt_ns": [5] * 20, "errors": {}, "timeouts": 0, "censored_ns": []}
    found = request.decode({"targets": {target.label: one for target in request.targets}, "complete": True})
    forwarding.record_established(recorder, TWO, request, found)
    assert Counter((row[2], row[3]) for row in rows(recorder)) == {
        ("cluster_ip", "last"): 20,
        ("node_port", "last"): 20,
        ("cluster_ip", "none"): 20,
        ("node_port", "none"): 20,
    }


def test_over_udp_only_answers_are_recorded(recorder: Recorder) -> None:
    last, direct = replace(LAST, protocol="udp"), replace(DIRECT, protocol="udp")
    where = Paths(((Where("cluster_ip/udp", Position.LAST), last),), direct)
    figures = ConnectFigures((), (7,) * 199, (), {}, 0, {}, 1, (), (TIMEOUT_NS,))
    found = ConnectResult({"last": figures, "direct": figures}, complete=True)
    forwarding.record_connect(recorder, where, forwarding.connect_request(where, spec(200), 60), found)
    assert Counter((row[0], row[3], row[4], row[6]) for row in rows(recorder)) == {
        ("forwarding.first_byte", "last", 7, False): 199,
        ("forwarding.first_byte", "last", TIMEOUT_NS, True): 1,
        ("forwarding.first_byte", "none", 7, False): 199,
        ("forwarding.first_byte", "none", TIMEOUT_NS, True): 1,
    }
