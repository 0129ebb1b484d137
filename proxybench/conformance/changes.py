"""Properties of what happens when Services and endpoints change: flows, connections, rules that stay or go."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from proxybench.conformance.ground import TERMINATING, Slot
from proxybench.conformance.judge import Deleted, Drained, Fallback, Moved, drained, fell_back, followed, gone
from proxybench.conformance.property import Property
from proxybench.errors import HostError
from proxybench.experiment.compat import KubeVersion
from proxybench.kube.access import Access
from proxybench.kube.objects import PORT
from proxybench.model import Mode
from proxybench.nodes.exchange import HangUp, Talk
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.mentions import mentions

if TYPE_CHECKING:
    from proxybench.conformance.ground import Ground
    from proxybench.kube.base import Object
    from proxybench.kube.objects import AddressPlan
    from proxybench.model import Subject
    from proxybench.nodes.exchange import Said

FLOW, BESIDE, ALONE, DRAINING, DELETED = range(20, 25)
"""The slots of these properties' Services."""

_FEW = 20
_TRIES_UNTIL_KNOWN = 120  # an emulated node's proxy may take that long for a sync
_TRIES = 20
_PAUSE_S = 0.25
_LINES = 5
_LOOKS = 20
_FALLBACK_SINCE = KubeVersion(1, 26)  # ProxyTerminatingEndpoints is beta, and on, from there


def _over_udp(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, FLOW)
    return slot.service(Access(protocols=("UDP",))), slot.slice(slot.near(1), protocol="UDP")


def _move_flow(ground: Ground) -> Moved:
    slot = ground.slot(FLOW)
    old, new = slot.near(2)
    say = Talk("conformance", slot.vip, PORT, "udp", timeout_ms=300)
    agent = ground.client.agent
    try:
        before = agent.call(say)
        ground.write(slot.slice([new], protocol="UDP"))
        after: list[Said] = []
        left = _TRIES_UNTIL_KNOWN
        while left and (not after or after[-1].by != new.address):
            agent.sleep(ground.deadline.left(_PAUSE_S))
            after.append(agent.call(say))  # without a pause that would let the conntrack entry end by itself
            known = ground.connect(slot.vip, 1, udp=True, timeout_ms=300).by
            left = min(left - 1, _TRIES if new.address in known else left)
    finally:
        with suppress(HostError):  # of an agent that was interrupted: what ended it must not be hidden by that
            agent.call(HangUp())
    return Moved(old.address, new.address, before, tuple(after))


def _kept_by_relay(subject: Subject) -> str:
    kept = subject.mode is Mode.USERSPACE
    return "a userspace relay keeps a flow's endpoint until the flow is idle" if kept else ""


def _with_terminating(plan: AddressPlan) -> tuple[Object, ...]:
    beside, alone = Slot(plan, BESIDE), Slot(plan, ALONE)
    return (
        beside.service(),
        beside.slice(beside.near(1), beside.near(2)[1:], TERMINATING),
        alone.service(),
        alone.slice((), alone.near(1), TERMINATING),
    )


def _fall_back(ground: Ground) -> Fallback:
    beside, alone = ground.slot(BESIDE), ground.slot(ALONE)
    return Fallback(ground.see(beside.vip, _FEW, beside.near(1)), ground.see(alone.vip, _FEW, alone.near(1)))


def _before_fallback(subject: Subject) -> str:
    if subject.kind != "kube-proxy" or KubeVersion.of_release(subject.version) >= _FALLBACK_SINCE:
        return ""
    return f"kube-proxy has it from {_FALLBACK_SINCE} on"


def _to_drain(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, DRAINING)
    return slot.service(), slot.slice(slot.near(1))


def _drain(ground: Ground) -> Drained:
    slot = ground.slot(DRAINING)
    old, new = slot.near(2)
    say = Talk("conformance", slot.vip, PORT, "tcp", timeout_ms=2000)
    agent = ground.client.agent
    try:
        before = agent.call(say)
        ground.write(slot.slice([new], [old], TERMINATING))
        ground.await_answer(slot.vip, [new])
        others = ground.see(slot.vip, _FEW, [new])
        after = [agent.call(say) for _ in range(_LINES)]
    finally:
        with suppress(HostError):  # of an agent that was interrupted: what ended it must not be hidden by that
            agent.call(HangUp())
    return Drained(old.address, before, tuple(after), others)


def _delete(ground: Ground) -> Deleted:
    slot = ground.slot(DELETED)
    names = (slot.vip, slot.near(1)[0].address)
    node = ground.measured
    tools = Tools.of(node.node, exclusive=ground.cluster.traits.exclusive)
    made = (slot.service(), slot.slice(slot.near(1)))
    ground.create(*made)
    ground.await_answer(slot.vip, slot.near(1))
    before = mentions(node.executor, tools, names)
    ground.delete(*made)
    ground.await_refusal(slot.vip)
    after = mentions(node.executor, tools, names)
    looks = 0
    while after and looks < _LOOKS:  # the end of traffic may come before the end of the sync
        node.agent.sleep(ground.deadline.left(_PAUSE_S))
        after, looks = mentions(node.executor, tools, names), looks + 1
    return Deleted(tuple(before), tuple(after), ground.connect(slot.vip, 2, timeout_ms=1000))


PROPERTIES = (
    Property(
        "udp-follows",
        "a UDP flow that keeps its port follows its Service to a new endpoint: no stale conntrack entry holds it",
        act=_move_flow,
        judge=lambda seen, _: followed(seen),
        objects=_over_udp,
        exempt=_kept_by_relay,
    ),
    Property(
        "terminating-fallback",
        "endpoints that terminate, and still serve, answer where no other one is ready, and only there",
        act=_fall_back,
        judge=lambda seen, _: fell_back(seen),
        objects=_with_terminating,
        exempt=_before_fallback,
    ),
    Property(
        "drained-connections",
        "an established connection goes on when its endpoint begins to terminate",
        act=_drain,
        judge=lambda seen, _: drained(seen),
        objects=_to_drain,
    ),
    Property(
        "deleted-leaves-nothing",
        "no rule that a packet can reach names a Service that was deleted",
        act=_delete,
        judge=lambda seen, _: gone(seen),
    ),
)
