"""Properties of what an outside client reaches: NodePorts, external traffic policies, load balancers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.conformance.ground import Slot
from proxybench.conformance.judge import Health, Ranges, Seen, dropped, health_told, restricted, seen_as
from proxybench.conformance.property import Need, Property, refused
from proxybench.conformance.verdict import not_applicable
from proxybench.errors import AgentError
from proxybench.kube.access import Exposure
from proxybench.model import Mode

if TYPE_CHECKING:
    from proxybench.conformance.ground import Ground
    from proxybench.conformance.verdict import Verdict
    from proxybench.kube.base import Object
    from proxybench.kube.objects import AddressPlan
    from proxybench.model import Subject
    from proxybench.nodes.exchange import ExchangeResult
    from proxybench.nodes.node import NodeHandle

NODE_PORT, LOCAL, HEALTH, INSIDE, OUTSIDE = range(10, 15)
"""The slots of these properties' Services."""

_CLUSTER = Exposure(node_port=True)
_LOCAL = Exposure(node_port=True, local_only=True)
_BALANCER = Exposure(load_balancer_ip=True)
_LOCAL_BALANCER = Exposure(load_balancer_ip=True, local_only=True)
_NOBODY = "203.0.113.0/24"  # documentation (RFC 5737): no client has an address of it
_HEALTH_PORT = 32_700  # of all node ports the last but some, which no slot has
_FEW = 10
_SILENT_MS = 1200  # the second SYN follows after 1 s


def _made(plan: AddressPlan, number: int, exposure: Exposure) -> tuple[Object, ...]:
    slot = Slot(plan, number)
    return slot.service(slot.access(exposure)), slot.slice(slot.near(2))


def _connect(ground: Ground, number: int, exposure: Exposure, node: NodeHandle) -> Seen:
    slot = ground.slot(number)
    return ground.see(node.node.address, _FEW, slot.near(2), port=slot.access(exposure).node_port)


def _snat(ground: Ground) -> tuple[Seen, str]:
    return _connect(ground, NODE_PORT, _CLUSTER, ground.second), ground.second.node.address


def _true_address(ground: Ground) -> tuple[Seen, str]:
    return _connect(ground, LOCAL, _LOCAL, ground.measured), ground.client.node.address


def _without_local(ground: Ground) -> ExchangeResult:
    port = ground.slot(LOCAL).access(_LOCAL).node_port
    return ground.connect(ground.second.node.address, 2, port=port, timeout_ms=_SILENT_MS)


def _judge_drop(result: ExchangeResult, subject: Subject) -> Verdict:
    verdict = dropped(result)
    if subject.mode is Mode.IPVS and result.made and result.errors.get("ECONNREFUSED") == result.made:
        return not_applicable(f"{verdict.evidence}: IPVS itself refuses where a virtual server has no real one")
    return verdict


def _with_health(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, HEALTH)
    access = replace(slot.access(_LOCAL_BALANCER), health_check_port=_HEALTH_PORT)
    return slot.service(access), slot.slice(slot.near(1))


def _ask_health(ground: Ground) -> Health:
    return Health(_status(ground, ground.measured), _status(ground, ground.second))


def _status(ground: Ground, node: NodeHandle) -> int:
    try:
        return ground.client.agent.http_get(f"http://{node.node.address}:{_HEALTH_PORT}/healthz", timeout_s=5).status
    except AgentError:  # nobody listens
        return 0


def _with_ranges(plan: AddressPlan) -> tuple[Object, ...]:
    made: list[Object] = []
    for number, ranges in ((INSIDE, (_NOBODY, "198.18.0.0/15")), (OUTSIDE, (_NOBODY,))):
        slot = Slot(plan, number)
        access = replace(slot.access(_BALANCER), source_ranges=ranges)
        made += [slot.service(access), slot.slice(slot.near(1))]
    return tuple(made)


def _try_ranges(ground: Ground) -> Ranges:
    inside, outside = ground.slot(INSIDE), ground.slot(OUTSIDE)
    reached = ground.see(inside.access(_BALANCER).load_balancer_ips[0], _FEW, inside.near(1))
    return Ranges(reached, ground.connect(outside.access(_BALANCER).load_balancer_ips[0], 2, timeout_ms=_SILENT_MS))


def _relays(subject: Subject) -> str:
    return "a userspace relay's own address is all that an endpoint can see" if subject.mode is Mode.USERSPACE else ""


PROPERTIES = (
    Property(
        "node-port-snat",
        "a NodePort of the second node is answered by endpoints on the first, which see the second node's address",
        act=_snat,
        judge=lambda found, _: seen_as(*found, "the second node's"),
        objects=lambda plan: _made(plan, NODE_PORT, _CLUSTER),
        needs=frozenset({Need.SECOND_NODE}),
    ),
    Property(
        "local-client-address",
        "externalTrafficPolicy: Local shows endpoints the client's own address",
        act=_true_address,
        judge=lambda found, _: seen_as(*found, "the client's"),
        objects=lambda plan: _made(plan, LOCAL, _LOCAL),
        exempt=_relays,
    ),
    Property(
        "local-drop",
        "externalTrafficPolicy: Local drops on a node without local endpoints: a time-out, no refusal",
        act=_without_local,
        judge=_judge_drop,
        objects=lambda plan: _made(plan, LOCAL, _LOCAL),
        needs=frozenset({Need.SECOND_NODE}),
        unsupported=refused(
            "the reference proxier's userspace mode takes Local for Cluster, and its log says so", Mode.USERSPACE
        ),
    ),
    Property(
        "health-check-node-port",
        "healthCheckNodePort says 200 where an endpoint is local, 503 elsewhere",
        act=_ask_health,
        judge=lambda health, _: health_told(health),
        objects=_with_health,
        needs=frozenset({Need.SECOND_NODE, Need.OUTSIDE}),
        unsupported=refused("the reference proxier serves no health checks, and its log says so"),
    ),
    Property(
        "source-ranges",
        "loadBalancerSourceRanges let in whom they name, and nobody else",
        act=_try_ranges,
        judge=lambda seen, _: restricted(seen),
        objects=_with_ranges,
        needs=frozenset({Need.OUTSIDE}),
        unsupported=refused(
            "the reference proxier's userspace mode serves addresses with source ranges to nobody, and its log says so",
            Mode.USERSPACE,
        ),
    ),
)
