"""Properties of a ClusterIP: who answers, in which shares, and what must not be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.conformance.ground import NOT_READY, Slot
from proxybench.conformance.judge import answered, pinged, refused_at_once, shared, undefined_port
from proxybench.conformance.property import Property
from proxybench.experiment.compat import KubeVersion
from proxybench.kube.objects import PORT
from proxybench.model import Mode
from proxybench.nodes.exchange import Ping

if TYPE_CHECKING:
    from proxybench.conformance.ground import Ground
    from proxybench.conformance.judge import Seen
    from proxybench.kube.base import Object
    from proxybench.kube.objects import AddressPlan, Pod
    from proxybench.model import Subject
    from proxybench.nodes.exchange import ExchangeResult, PingResult

SHARES, UNREADY, EMPTY = range(3)
"""The slots of these properties' Services."""

UNDEFINED_PORT = PORT + 1
SHARE_COUNT = 400
"""Connections by which shares are judged."""

_FEW = 20
_PINGS_REFUSED_SINCE = KubeVersion(1, 27)  # kubernetes/website issue 41002
_SILENT_MS = 1200  # the second SYN follows after 1 s


def _endpoints(slot: Slot) -> tuple[Pod, ...]:
    return (*slot.near(2), *slot.far(2))


def _usual(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, SHARES)
    return slot.service(), slot.slice(_endpoints(slot))


def _connect(ground: Ground, count: int) -> Seen:
    slot = ground.slot(SHARES)
    return ground.see(slot.vip, count, _endpoints(slot))


def _one_ready(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, UNREADY)
    return slot.service(), slot.slice(slot.near(1), slot.near(2)[1:], NOT_READY)


def _connect_to_ready(ground: Ground) -> Seen:
    slot = ground.slot(UNREADY)
    return ground.see(slot.vip, _FEW, slot.near(1))


def _none(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, EMPTY)
    return slot.service(), slot.slice(())


def _connect_to_none(ground: Ground) -> ExchangeResult:
    return ground.connect(ground.slot(EMPTY).vip, 3)


def _connect_beside(ground: Ground) -> ExchangeResult:
    return ground.connect(ground.slot(SHARES).vip, 2, port=UNDEFINED_PORT, timeout_ms=_SILENT_MS)


def _ping(ground: Ground) -> PingResult:
    """Ping from the node: a client's packets to an address of IPVS mode's kube-ipvs0 may not be local to the node."""
    return ground.measured.agent.call(Ping(ground.slot(UNREADY).vip, 3, timeout_ms=500))


def _pingable(subject: Subject) -> bool:
    """Tell whether a ClusterIP answers: kube-ipvs0 has it, and until 1.27 no rule refused what no Service is for."""
    if subject.mode is not Mode.IPVS:
        return False
    return subject.kind != "kube-proxy" or KubeVersion.of_release(subject.version) < _PINGS_REFUSED_SINCE


def _relayed(subject: Subject) -> str:
    relays = subject.mode is Mode.USERSPACE
    return "a userspace relay accepts a connection before it looks for an endpoint" if relays else ""


PROPERTIES = (
    Property(
        "vip-answers",
        "a ClusterIP answers, by its own endpoints",
        act=lambda ground: _connect(ground, _FEW),
        judge=lambda seen, _: answered(seen),
        objects=_usual,
    ),
    Property(
        "endpoint-shares",
        "endpoints answer equally often",
        act=lambda ground: _connect(ground, SHARE_COUNT),
        judge=lambda seen, _: shared(seen),
        objects=_usual,
    ),
    Property(
        "not-ready",
        "an endpoint that is not ready gets nothing",
        act=_connect_to_ready,
        judge=lambda seen, _: answered(seen),
        objects=_one_ready,
    ),
    Property(
        "no-endpoints",
        "a ClusterIP without endpoints refuses at once",
        act=_connect_to_none,
        judge=lambda result, _: refused_at_once(result),
        objects=_none,
        exempt=_relayed,
    ),
    Property(
        "undefined-port",
        "a port that the Service does not have is not answered",
        act=_connect_beside,
        judge=lambda result, subject: undefined_port(result, subject.mode),
        objects=_usual,
    ),
    Property(
        "ping",
        "a ClusterIP answers the node's pings in IPVS mode up to 1.26, whose kube-ipvs0 has it, and nowhere else",
        act=_ping,
        judge=lambda result, subject: pinged(result, answers=_pingable(subject)),
        objects=_one_ready,
    ),
)
