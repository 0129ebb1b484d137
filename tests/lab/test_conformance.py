"""Conformance of a real kube-proxy, also once its rules are broken behind its back, and of the reference proxier."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

import refproxy
from proxybench.cli.measure import CachedBinaries
from proxybench.conformance.play import examine, prepare
from proxybench.conformance.registry import chosen
from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, Mode, Subject
from proxybench.run.conformance import Examination, everywhere
from proxybench.run.session import Sessions
from proxybench.subjects.registry import drivers
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxybench.conformance.ground import Ground
    from proxybench.conformance.verdict import Verdict
    from proxybench.nodes.node import NodeHandle

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a netns lab needs root"),
]

CLOCK = SystemClock()
SUBJECT = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES)
EXPERIMENT = Experiment.model_validate(
    {"version": 1, "name": "t", "modes": ["nftables"], "scale": {"services": [1]}, "measure": {"sync": True}}
)
# Not those that wait for changes: each of them would let kube-proxy write, and perhaps mend what is broken.
STATIC = (
    *("vip-answers", "endpoint-shares", "not-ready", "no-endpoints", "undefined-port", "ping", "node-port-snat"),
    *("local-client-address", "local-drop", "health-check-node-port", "source-ranges", "client-ip-affinity"),
    *("others-ignored", "terminating-fallback"),
)
OTHERS = (
    *("vip-answers", "health-check-node-port", "hairpin", "udp-follows", "terminating-fallback"),
    *("drained-connections", "deleted-leaves-nothing"),
)


@contextmanager
def proxied(subject: Subject, properties: Sequence[str]) -> Iterator[Ground]:
    """Give a client, a pod and two nodes whose proxies have programmed what these properties need."""
    kinds = drivers(CachedBinaries(print), CLOCK)
    spec = SubjectSpec(subject, 1.0, 600.0)
    try:
        spec = kinds[subject.kind].resolve(spec)
    except ProxybenchError as error:
        pytest.skip(f"no {subject.kind}: {error}")
    sessions = Sessions(kinds, {subject: spec})
    lab = NetnsLab(Settings(ClockKind.WALL, "none"))
    cluster = lab.up()
    try:
        with ExitStack() as stack:
            bed = sessions.reach(cluster, "run", everywhere(EXPERIMENT), CLOCK, stack)
            for handle in bed.proxy_handles:
                found = kinds[subject.kind].check(spec, handle)
                if not found.supported:
                    pytest.skip(f"{found.reason}; {found.fix}")
            examination = Examination(bed, lambda _: sessions.proxies(bed, subject), lambda _: "", (), print)
            ground = examination.ground(subject)
            prepare(ground, chosen(properties))
            sessions.proxies(bed, subject).start_all(Deadline(CLOCK, 60, "the start"), 60)
            yield ground
    finally:
        lab.down()


@pytest.fixture
def ground() -> Iterator[Ground]:
    with proxied(SUBJECT, STATIC) as made:
        yield made


def look(ground: Ground, properties: Sequence[str] = STATIC) -> dict[str, Verdict]:
    return {found.property: found.verdict for found in examine(ground, chosen(properties))}


def faults(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    return {name: found.evidence.split(";")[0] for name, found in verdicts.items() if found.outcome == "fail"}


def nft(node: NodeHandle, *lines: str) -> None:
    node.executor.run(["nft", "-f", "-"], stdin="".join(f"{line}\n" for line in lines))


def chain(node: NodeHandle, kind: str, number: int) -> str:
    """Return the chain of a slot's Service."""
    listed = node.executor.run(["nft", "list", "chains", "ip"]).stdout.split()
    (name,) = (word for word in listed if word.startswith(f"{kind}-") and f"conformance-{number:02d}/" in word)
    return f"ip kube-proxy {name}"


def break_all(ground: Ground) -> None:
    """Break one thing for each of ten properties, so that each is right but for it."""
    one, two = ground.measured, ground.second
    shares, unready, local, sticky, foreign = (ground.slot(number) for number in (0, 1, 11, 30, 31))
    near = ", ".join(pod.address for pod in local.near(2))
    service = chain(one, "service", 30)
    nft(
        one,
        # All connections to one endpoint; some to one that is not ready; none refused.
        f"flush chain {chain(one, 'service', 0)}",
        f"add rule {chain(one, 'service', 0)} meta l4proto tcp dnat to {shares.near(1)[0].address}:8080",
        f"flush chain {chain(one, 'service', 1)}",
        f"add rule {chain(one, 'service', 1)} meta l4proto tcp dnat to {unready.near(2)[1].address}:8080",
        "flush chain ip kube-proxy service-endpoints-check",
        "flush chain ip kube-proxy cluster-ips-check",
        # The client's address is hidden; whoever is outside of the ranges is let in.
        f"insert rule ip kube-proxy nat-postrouting ip daddr {{ {near} }} masquerade",
        "insert rule ip kube-proxy firewall-check accept",
        # A Service of another proxy's is served.
        f"add element ip kube-proxy service-ips {{ {foreign.vip} . tcp . 80 : goto {chain(one, 'service', 0)[14:]} }}",
        # Clients are not remembered.
        f"flush chain {service}",
        f"add rule {service} meta l4proto tcp dnat ip to numgen inc mod 2 map "
        f"{{ 0 : {sticky.near(1)[0].address} . 8080, 1 : {sticky.far(1)[0].address} . 8080 }}",
    )
    # Not masqueraded on the second node, and not dropped there.
    nft(two, "flush chain ip kube-proxy masquerading", "flush chain ip kube-proxy nodeport-endpoints-check")
    # The node has the address itself.
    one.executor.run(["ip", "address", "add", f"{unready.vip}/32", "dev", "lo"])


def test_each_property_that_is_broken_is_caught_and_no_other(ground: Ground) -> None:
    whole = look(ground)
    assert faults(whole) == {}
    assert {found.outcome for found in whole.values()} == {"pass"}
    break_all(ground)
    found = faults(look(ground))
    # Where the packets end that no rule takes, some are called unreachable and some are not: there is a rate limit.
    assert "refused" not in found.pop("no-endpoints")
    assert found == {
        "endpoint-shares": "p is below 0.0001",
        "not-ready": f"answered by {ground.slot(1).near(2)[1].address}",
        "undefined-port": "not refused",
        "ping": "it must not answer",
        "node-port-snat": "10 of 10 got no answer",
        "local-client-address": "endpoints saw 198.18.2.45 and not the client's 198.18.1.10",
        "local-drop": "2 ended at once and not by a time-out",
        "source-ranges": "outside of them 2 answered",
        "client-ip-affinity": "2 endpoints answered within the timeout",
        "others-ignored": "2 answered",
    }


def break_others(ground: Ground) -> None:
    """Break one thing for each of the other seven, mostly by a table beside kube-proxy's, which it never looks at."""
    flow, alone, draining, deleted = (ground.slot(number) for number in (20, 22, 23, 24))
    stranger, one = ground.slot(1).near(1)[0].address, ground.measured
    pod = ground.pod.node.address if ground.pod else ""
    lines = [
        line
        for number in (0, alone.number)
        for line in (
            f"flush chain {chain(one, 'service', number)}",
            f"add rule {chain(one, 'service', number)} meta l4proto tcp dnat to {stranger}:8080",
        )
    ]
    nft(
        one,
        *lines,
        f"add rule ip kube-proxy filter-forward ip daddr {deleted.vip} accept",
        "table ip broken {",
        "set first { type inet_service; size 1; flags dynamic; }",
        "chain before { type nat hook prerouting priority -110;",
        # The first port that a datagram comes from stays with the old endpoint, as by a conntrack entry.
        f"ip daddr {flow.vip} udp dport 80 add @first {{ udp sport }}",
        f"ip daddr {flow.vip} udp sport @first dnat to {flow.near(1)[0].address}:8080",
        "}",
        "chain input { type filter hook input priority -10;",
        "tcp dport 32700 reject with tcp reset",
        "}",
        "chain forward { type filter hook forward priority -10;",
        f"ip saddr {pod} ip daddr {pod} tcp dport 8080 reject with tcp reset",
        # The handshake and a line or two go through.
        f"ip daddr {draining.near(1)[0].address} quota over 400 bytes meta l4proto tcp reject with tcp reset",
        "}",
        "}",
    )


def test_each_of_the_others_that_is_broken_is_caught_too() -> None:
    with proxied(SUBJECT, OTHERS) as ground:
        break_others(ground)
        found = faults(look(ground, OTHERS))
        stranger = ground.slot(1).near(1)[0].address
        old, new = ground.slot(20).near(2)
        deleted = ground.slot(24).vip
    assert found == {
        "vip-answers": f"answered by {stranger}",
        "health-check-node-port": "the node with a local endpoint said nothing, not 200",
        "hairpin": "20 of 20 got no answer",
        "udp-follows": f"at last, {old.address} answered and not {new.address}",
        "terminating-fallback": f"alone answered by {stranger}",
        "drained-connections": "the connection broke: nobody (ECONNRESET)",
        "deleted-leaves-nothing": f"left: ip daddr {deleted} accept",
    }


@pytest.mark.parametrize(
    ("mode", "refused"),
    [
        (Mode.IPTABLES, {"health-check-node-port"}),
        (Mode.USERSPACE, {"health-check-node-port", "local-drop", "source-ranges"}),
    ],
)
def test_the_reference_does_a_thing_right_or_refuses_it_by_name(mode: Mode, refused: set[str]) -> None:
    asked = ("local-drop", "health-check-node-port", "source-ranges", "terminating-fallback", "drained-connections")
    with proxied(Subject("reference", refproxy.__version__, mode), asked) as ground:
        found = look(ground, asked)
    assert faults(found) == {}
    assert {name for name, verdict in found.items() if verdict.outcome == "not supported"} == refused
    assert {name for name, verdict in found.items() if verdict.outcome == "pass"} == {*asked} - refused
