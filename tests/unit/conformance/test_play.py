"""Properties in play, on a cluster in memory: what is written, in which order, and what is said when it cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxybench.conformance.ground import Ground, addresses
from proxybench.conformance.play import Finding, examine, prepare
from proxybench.conformance.property import Need, Property
from proxybench.conformance.registry import PROPERTIES, chosen
from proxybench.conformance.verdict import Outcome, Verdict, judged
from proxybench.deadline import Deadline
from proxybench.errors import AgentError, CommandTimeoutError, ConnectionLostError, MeasurementError
from proxybench.kube.base import Kind
from proxybench.kube.objects import AddressPlan
from proxybench.model import Mode, Subject
from proxybench.nodes.answers import AwaitResult, Done, HttpAnswer, Slept
from proxybench.nodes.exchange import Exchange, ExchangeResult, HangUp, Heard, Ping, PingResult, Said, Talk
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Await, HttpGet, Sleep
from proxybench.testing.agent import FakeAgent
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import FakeExecutor
from proxybench.testing.kube import FakeServiceApi
from tests.factories import CLIENT, NODE1, NODE2, make_cluster

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080, "198.19.0.0/16")
IPTABLES = Subject("kube-proxy", "v1.37.2", Mode.IPTABLES)


def handle(node: Any, script: Any = ()) -> NodeHandle:
    return NodeHandle(node, FakeExecutor(node.name), FakeAgent(script))


def ground(client: Any = (), node1: Any = (), subject: Subject = IPTABLES, **changes: Any) -> Ground:
    known = {
        "subject": subject,
        "cluster": make_cluster(),
        "plan": PLAN,
        "api": FakeServiceApi(),
        "client": handle(CLIENT, client),
        "measured": handle(NODE1, node1),
        "other": handle(NODE2),
        "pod": None,
        "deadline": Deadline(FakeClock(0), 600, "all"),
    }
    return Ground(**{**known, **changes})


def by(peer: str, *heard: tuple[str, int], **more: Any) -> ExchangeResult:
    made = sum(count for _, count in heard) + more.get("timeouts", 0)
    return ExchangeResult(tuple(Heard(who, peer, count) for who, count in heard), {}, more.get("timeouts", 0), made)


def play(name: str, where: Ground) -> Verdict:
    """Prepare one property, look at it, and see that every request was made."""
    wanted = chosen((name,))
    prepare(where, wanted)
    (found,) = examine(where, wanted)
    for node in (where.client, where.measured):
        node.agent.verify()  # type: ignore[attr-defined] # a FakeAgent
    return found.verdict


def test_shares_are_judged_by_400_connections_to_one_clusterip() -> None:
    slot = ground().slot(0)
    assert addresses((*slot.near(2), *slot.far(2))) == (
        "10.244.0.116",
        "10.244.0.117",
        "10.244.128.116",
        "10.244.128.117",
    )
    even = by("198.18.1.10", *((pod.address, 100) for pod in (*slot.near(2), *slot.far(2))))
    where = ground([(Exchange("10.96.0.116", 80, 400, timeout_ms=2000), even)])
    assert play("endpoint-shares", where).outcome is Outcome.PASS
    (written,) = where.api.list(Kind.ENDPOINT_SLICE)
    assert [one["addresses"][0] for one in written["endpoints"]] == list(even.by)


def test_a_node_port_is_asked_for_at_the_second_nodes_address() -> None:
    asked = Exchange("198.18.1.12", 30126, 10, timeout_ms=2000)
    verdict = play("node-port-snat", ground([(asked, by("198.18.1.12", ("10.244.0.156", 10)))]))
    assert verdict == Verdict(Outcome.PASS, "n = 10: 10 by 10.244.0.156; endpoints saw the second node's 198.18.1.12")


def test_pings_are_sent_from_the_measured_node() -> None:
    where = ground(node1=[(Ping("10.96.0.117", 3, timeout_ms=500), PingResult(3, 0))])
    assert play("ping", where).outcome is Outcome.PASS


def test_where_nobody_listens_there_is_no_health_check() -> None:
    script = [
        (HttpGet("http://198.18.1.11:32700/healthz", 5), HttpAnswer(200, "{}")),
        (HttpGet("http://198.18.1.12:32700/healthz", 5), AgentError("client: http_get: Connection refused")),
    ]
    assert play("health-check-node-port", ground(script)).evidence == (
        "the node without one said nothing, not 503; with a local endpoint 200, without 0"
    )


def test_affinity_is_given_silences_until_another_endpoint_answers() -> None:
    slot = ground().slot(30)
    first, other = slot.near(2)
    one = Exchange(slot.vip, 80, 1, timeout_ms=2000)
    script = [
        (Exchange(slot.vip, 80, 20, timeout_ms=2000), by("198.18.1.10", (first.address, 20))),
        (Sleep(4.5), Slept(0, 1)),
        (one, by("198.18.1.10", (first.address, 1))),
        (Sleep(4.5), Slept(0, 1)),
        (one, by("198.18.1.10", (other.address, 1))),
    ]
    assert play("client-ip-affinity", ground(script)).outcome is Outcome.PASS
    ipvs = replace(IPTABLES, mode=Mode.IPVS)
    longer = [script[0], (Sleep(66.0), Slept(0, 1)), script[4]]
    assert "after silences of 66 s" in play("client-ip-affinity", ground(longer, subject=ipvs)).evidence


def test_a_flow_is_spoken_on_until_it_moves_and_hung_up_in_any_case() -> None:
    slot = ground().slot(20)
    old, new = slot.near(2)
    say = Talk("conformance", slot.vip, 80, "udp", timeout_ms=300)
    fresh = Exchange(slot.vip, 80, 1, "udp", timeout_ms=300)
    script = [
        (say, Said(old.address, "")),
        (Sleep(0.25), Slept(0, 1)),
        (say, Said(None, "TIMEOUT")),
        (fresh, by("198.18.1.10", (new.address, 1))),
        (Sleep(0.25), Slept(0, 1)),
        (say, Said(new.address, "")),
        (fresh, by("198.18.1.10", (new.address, 1))),
        (HangUp(), Done()),
    ]
    where = ground(script)
    assert play("udp-follows", where) == Verdict(
        Outcome.PASS, "10.244.0.196 before, then n = 2: 1 by nobody (TIMEOUT), 1 by 10.244.0.197"
    )
    (written,) = where.api.list(Kind.ENDPOINT_SLICE)
    assert [one["addresses"] for one in written["endpoints"]] == [[new.address]]
    stale = [(Sleep(0.25), Slept(0, 1)), (say, Said(old.address, "")), (fresh, by("198.18.1.10", (new.address, 1)))]
    held = ground([script[0], *stale * 21, script[-1]])
    assert play("udp-follows", held) == Verdict(
        Outcome.FAIL,
        "at last, 10.244.0.196 answered and not 10.244.0.197; 10.244.0.196 before, then n = 21: 21 by 10.244.0.196",
    )
    lost = ground([(say, AgentError("client: talk: no")), (HangUp(), Done())])
    assert play("udp-follows", lost) == Verdict(Outcome.FAIL, "could not be tried: client: talk: no")


def test_a_connection_is_spoken_on_after_new_ones_go_elsewhere() -> None:
    slot = ground().slot(23)
    old, new = slot.near(2)
    say = Talk("conformance", slot.vip, 80, "tcp", timeout_ms=2000)
    seen = AwaitResult(0, 1, 1, None, None, new.address, 1, 1, {}, 2, censored=False)
    script = [
        (say, Said(old.address, "")),
        (Await(slot.vip, 80, "answer", 30.0, (new.address,), settle_ms=300), seen),
        (Exchange(slot.vip, 80, 20, timeout_ms=2000), by("198.18.1.10", (new.address, 20))),
        *[(say, Said(old.address, ""))] * 5,
        (HangUp(), Done()),
    ]
    where = ground(script)
    assert play("drained-connections", where).outcome is Outcome.PASS
    (written,) = where.api.list(Kind.ENDPOINT_SLICE)
    assert [one["conditions"] for one in written["endpoints"]] == [
        {"ready": True, "serving": True, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]


def test_all_objects_are_written_once_and_only_for_what_applies() -> None:
    where = ground()
    prepare(where, PROPERTIES)
    assert len(where.api.list(Kind.SERVICE)) == len(where.api.list(Kind.ENDPOINT_SLICE)) == 15
    without = ground(other=None, plan=replace(PLAN, external_cidr=""))
    prepare(without, PROPERTIES)
    names = {obj["metadata"]["name"] for obj in without.api.list(Kind.SERVICE)}
    assert {f"conformance-{number}" for number in (10, 12, 13, 14)} & names == set()


def property_(name: str, error: Exception | None = None, **changes: Any) -> Property[str]:
    def act(_: Ground) -> str:
        if error:
            raise error
        return "seen"

    return Property(name, f"{name} holds", act=act, judge=lambda seen, _: judged([], [seen]), **changes)


def test_what_cannot_be_tried_has_failed_and_what_is_lacking_does_not_apply() -> None:
    said: list[str] = []
    found = examine(
        ground(other=None),
        [
            property_("a"),
            property_("b", MeasurementError("no\nway")),
            property_("c", AssertionError(), needs=frozenset({Need.SECOND_NODE})),
            property_("d", AssertionError(), needs=frozenset({Need.POD})),
            property_("e", AssertionError(), exempt=lambda _: "it is another kind"),
            property_("f", AssertionError(), unsupported=lambda _: "it says so itself"),
        ],
        said.append,
    )
    assert tuple(found) == (
        Finding("a", "a holds", Verdict(Outcome.PASS, "seen")),
        Finding("b", "b holds", Verdict(Outcome.FAIL, "could not be tried: no way")),
        Finding("c", "c holds", Verdict(Outcome.NOT_APPLICABLE, "the cluster has no second node with a proxy")),
        Finding("d", "d holds", Verdict(Outcome.NOT_APPLICABLE, "the cluster has no pod to connect from")),
        Finding("e", "e holds", Verdict(Outcome.NOT_APPLICABLE, "it is another kind")),
        Finding("f", "f holds", Verdict(Outcome.NOT_SUPPORTED, "it says so itself")),
    )
    assert said == ["a holds", "b holds", "c holds", "d holds", "e holds", "f holds"]


def test_after_a_lost_connection_nothing_is_said() -> None:
    with pytest.raises(ConnectionLostError):
        list(examine(ground(), [property_("a", ConnectionLostError("gone"))]))


@pytest.mark.parametrize("error", [None, CommandTimeoutError("client: no answer within 30 s")])
def test_once_an_agent_is_broken_nothing_more_is_tried(error: Exception | None) -> None:
    where = ground()

    def act(_: Ground) -> str:
        where.client.agent.broken = "talk got no answer"
        if error:
            raise error
        return "seen"

    breaks = replace(property_("b"), act=act)
    found: list[Finding] = []
    with pytest.raises(ConnectionLostError) as raised:
        found.extend(examine(where, [property_("a"), breaks, property_("c", AssertionError())]))
    assert [one.property for one in found] == (["a"] if error else ["a", "b"])
    why = "client: the agent cannot be asked any more: talk got no answer"
    assert str(raised.value) == ("b: client: no answer within 30 s" if error else why)


@pytest.mark.parametrize(
    ("name", "slot", "over", "limit_ms"), [("udp-follows", 20, "udp", 300), ("drained-connections", 23, "tcp", 2000)]
)
def test_an_interrupt_is_not_hidden_by_what_it_left_behind(name: str, slot: int, over: Any, limit_ms: int) -> None:
    say = Talk("conformance", ground().slot(slot).vip, 80, over, timeout_ms=limit_ms)
    behind = AgentError("client: the agent answered request 7 instead of 8")
    where = ground([(say, KeyboardInterrupt()), (HangUp(), behind)])
    with pytest.raises(KeyboardInterrupt):
        play(name, where)


def test_a_slot_has_so_many_endpoints_and_no_more() -> None:
    with pytest.raises(ValueError, match="a slot has 4 endpoints on each node, not 5"):
        ground().slot(1).near(5)


def test_a_kube_proxy_that_reads_endpoints_objects_finds_them_beside_the_slices() -> None:
    where = ground(subject=Subject("kube-proxy", "v1.20.2", Mode.USERSPACE))
    where.api.ensure_namespace("proxybench")
    slot = where.slot(1)
    ready, other = slot.near(2)
    where.create(slot.service(), slot.slice([ready], [other]))
    (made,) = where.api.list(Kind.ENDPOINTS)
    assert made["metadata"]["name"] == slot.name
    (subset,) = made["subsets"]
    assert subset["addresses"] == [{"ip": ready.address, "nodeName": "node1"}]
    assert subset["notReadyAddresses"] == [{"ip": other.address, "nodeName": "node1"}]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    where.write(slot.slice(()))
    assert "subsets" not in where.api.list(Kind.ENDPOINTS)[0]
    where.delete(slot.service(), slot.slice(()))
    assert where.api.list(Kind.ENDPOINTS) == where.api.list(Kind.ENDPOINT_SLICE) == []
