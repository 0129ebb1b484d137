"""What properties do that read a node's rules, or act from a pod."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from proxybench.conformance.verdict import Outcome, Verdict
from proxybench.errors import AgentError
from proxybench.hosts import batch
from proxybench.kube.base import Kind
from proxybench.nodes.answers import AwaitResult, Slept, Spawned, Stopped
from proxybench.nodes.exchange import Exchange
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.mentions import commands
from proxybench.nodes.node import NodeHandle
from proxybench.nodes.requests import Await, Sleep, Spawn, Stop
from proxybench.nodes.zipapp import build_zipapp, zipapp_name
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.factories import MARK, NODE1, make_node

from .test_play import by, ground, play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.conformance.ground import Ground
    from proxybench.hosts.base import Completed
    from proxybench.kube.base import Object

pytestmark = pytest.mark.usefixtures("known_mark")
SAVED = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d {}/32 -j DNAT\nCOMMIT\n"
NOTHING = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"


def looks(*texts: str) -> list[Run]:
    """Expect the node to be asked for its rules so often; each time legacy iptables alone has some."""
    asked = commands(Tools.of(NODE1))

    def said(text: str) -> Completed:
        ends = [(text, 0), *[("", 127)] * (len(asked) - 1)]
        return done("".join(f"{out}\n{MARK} {code}\n" for out, code in ends))

    return [Run(["sh", "-c", batch.script(asked, MARK)], said(text)) for text in texts]


def node1(texts: Sequence[str], script: Sequence[tuple[object, object]] = ()) -> NodeHandle:
    return NodeHandle(NODE1, FakeExecutor("node1", looks(*texts)), FakeAgent(script))  # type: ignore[arg-type] # requests


def found(want: str | None) -> AwaitResult:
    return AwaitResult(0, 1, 1, None, None, want, 1, 1, {}, 2, censored=False)


def test_a_deleted_service_is_looked_for_until_no_rule_names_it() -> None:
    slot = ground().slot(24)
    only = slot.near(1)[0].address
    script = [
        (Await(slot.vip, 80, "answer", 30.0, (only,), settle_ms=300), found(only)),
        (Await(slot.vip, 80, "refusal", 30.0), found(None)),
        (Exchange(slot.vip, 80, 2, timeout_ms=1000), by("", timeouts=2)),
    ]
    named = SAVED.format(slot.vip)
    where = ground(script, measured=node1([named, named, NOTHING], [(Sleep(0.25), Slept(0, 1))]))
    assert play("deleted-leaves-nothing", where) == Verdict(
        Outcome.PASS, "1 rules before, 0 after; n = 2: 2 without an answer"
    )
    assert where.api.list(Kind.SERVICE) == where.api.list(Kind.ENDPOINT_SLICE) == []


def test_other_proxies_services_are_asked_for_and_looked_for() -> None:
    foreign, headless = ground().slot(31), ground().slot(32)
    script = [(Exchange(foreign.vip, 80, 2, timeout_ms=1500), by("", timeouts=2))]
    rule = SAVED.format(headless.near(1)[0].address)
    where = ground(script, measured=node1([rule, rule]))
    assert play("others-ignored", where).evidence == (
        f"a rule names the headless one: -A PREROUTING -d {headless.near(1)[0].address}/32 -j DNAT; "
        "foreign n = 2: 2 without an answer; 1 rules name either"
    )
    labels = [obj["metadata"]["labels"].get("service.kubernetes.io/service-proxy-name") for obj in services(where)]
    assert labels == ["another", None]


def services(where: Ground) -> list[Object]:
    return sorted(where.api.list(Kind.SERVICE), key=lambda obj: obj["metadata"]["name"])


def test_a_load_balancers_ranges_are_tried_from_inside_and_outside() -> None:
    inside, outside = ground().slot(13), ground().slot(14)
    only = inside.near(1)[0].address
    script = [
        (Exchange("198.19.128.129", 80, 10, timeout_ms=2000), by("198.18.1.10", (only, 10))),
        (Exchange("198.19.128.130", 80, 2, timeout_ms=1200), by("", timeouts=2)),
    ]
    where = ground(script)
    assert play("source-ranges", where).outcome is Outcome.PASS
    assert [obj["spec"]["loadBalancerSourceRanges"] for obj in services(where)] == [
        ["203.0.113.0/24", "198.18.0.0/15"],
        ["203.0.113.0/24"],
    ]
    assert [obj["metadata"]["name"] for obj in services(where)] == [inside.name, outside.name]


def test_terminating_endpoints_are_tried_beside_a_ready_one_and_alone() -> None:
    beside, alone = ground().slot(21), ground().slot(22)
    script = [
        (Exchange(beside.vip, 80, 20, timeout_ms=2000), by("198.18.1.10", (beside.near(1)[0].address, 20))),
        (Exchange(alone.vip, 80, 20, timeout_ms=2000), by("198.18.1.10", (alone.near(1)[0].address, 20))),
    ]
    assert play("terminating-fallback", ground(script)).outcome is Outcome.PASS


def test_a_pod_serves_and_connects_to_itself_from_its_own_address() -> None:
    pod, slot = make_node("pod1", "10.244.0.2"), ground().slot(33)
    data = build_zipapp()
    agent = f"/run/pb/{zipapp_name(data)}"
    argv = ("/python", "-I", "-S", agent, "backend", "--port", "8080")
    asked = Exchange(slot.vip, 80, 20, source="10.244.0.2", timeout_ms=1500, limit=40)
    first = Exchange(slot.vip, 80, 1, source="10.244.0.2", timeout_ms=1500)
    acts = FakeAgent(
        [
            (Spawn(argv, "/run/pb/hairpin.log"), Spawned(77, 1)),
            (first, by("", timeouts=1)),
            (first, by("198.18.2.53", ("10.244.0.2", 1))),
            (asked, by("198.18.2.53", ("10.244.0.2", 20))),
            (Stop(77, 10.0), Stopped(0, killed=False, cgroup_removed=True)),
        ]
    )
    there = Run(["sha256sum", agent], done(f"{hashlib.sha256(data).hexdigest()}  {agent}\n"))
    script = [(Await(slot.vip, 80, "answer", 30.0, ("10.244.0.2",), settle_ms=300), found("10.244.0.2"))]
    where = ground(script, pod=NodeHandle(pod, FakeExecutor("pod1", [there]), acts))
    assert play("hairpin", where) == Verdict(Outcome.PASS, "n = 20: 20 by 10.244.0.2")
    acts.verify()
    (written,) = where.api.list(Kind.ENDPOINT_SLICE)
    assert [(one["addresses"], one["nodeName"]) for one in written["endpoints"]] == [(["10.244.0.2"], "node1")]


def test_an_interrupt_is_not_hidden_by_a_pods_agent_that_is_out_of_step() -> None:
    data = build_zipapp()
    agent = f"/run/pb/{zipapp_name(data)}"
    argv = ("/python", "-I", "-S", agent, "backend", "--port", "8080")
    acts = FakeAgent(
        [
            (Spawn(argv, "/run/pb/hairpin.log"), Spawned(77, 1)),
            (Exchange(ground().slot(33).vip, 80, 1, source="10.244.0.2", timeout_ms=1500), KeyboardInterrupt()),
            (Stop(77, 10.0), AgentError("pod1: the agent answered request 2 instead of 3")),
        ]
    )
    there = Run(["sha256sum", agent], done(f"{hashlib.sha256(data).hexdigest()}  {agent}\n"))
    script = [(Await(ground().slot(33).vip, 80, "answer", 30.0, ("10.244.0.2",), settle_ms=300), found("10.244.0.2"))]
    pod = NodeHandle(make_node("pod1", "10.244.0.2"), FakeExecutor("pod1", [there]), acts)
    with pytest.raises(KeyboardInterrupt):
        play("hairpin", ground(script, pod=pod))
    acts.verify()
