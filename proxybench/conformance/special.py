"""Properties of Services that are special: sticky ones, those that are not the proxy's business, and one's own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from proxybench.conformance.ground import PODS_EACH, Slot
from proxybench.conformance.judge import Affinity, Ignored, Seen, affine, answered, ignored
from proxybench.conformance.property import Need, Property
from proxybench.errors import HostError, MeasurementError
from proxybench.kube import objects
from proxybench.kube.access import Access
from proxybench.kube.objects import PORT
from proxybench.model import Mode
from proxybench.nodes.client import install
from proxybench.nodes.exchange import Exchange
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.mentions import mentions

if TYPE_CHECKING:
    from proxybench.conformance.ground import Ground
    from proxybench.kube.base import Object
    from proxybench.kube.objects import AddressPlan, Pod

STICKY, FOREIGN, HEADLESS, HAIRPIN = range(30, 34)
"""The slots of these properties' Services."""

AFFINITY_S = 3
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
_FEW = 20
_TRIES = 10
_SILENCES = 4
_SILENCE_S = AFFINITY_S + 1.5
# IPVS remembers a client as long as it remembers one of its connections: closed ones for 10 s, and when the time is up
# before that it looks again 60 s later (ip_vs_conn_expire in the kernel's sources).
_SILENCE_OF_IPVS_S = AFFINITY_S + 63.0


def _endpoints(slot: Slot) -> tuple[Pod, ...]:
    return (*slot.near(PODS_EACH), *slot.far(PODS_EACH))


def _sticky(plan: AddressPlan) -> tuple[Object, ...]:
    slot = Slot(plan, STICKY)
    return slot.service(Access(affinity_s=AFFINITY_S)), slot.slice(_endpoints(slot))


def _stick(ground: Ground) -> Affinity:
    slot = ground.slot(STICKY)
    silence_s = _SILENCE_OF_IPVS_S if ground.subject.mode is Mode.IPVS else _SILENCE_S
    together = ground.see(slot.vip, _FEW, _endpoints(slot))
    later: list[str] = []
    while together.result.by and len(later) < _SILENCES and not set(later) - set(together.result.by):
        ground.client.agent.sleep(ground.deadline.left(silence_s))
        later += ground.connect(slot.vip, 1).by
    return Affinity(together, silence_s, tuple(later))


def _not_ours(plan: AddressPlan) -> tuple[Object, ...]:
    foreign, headless = Slot(plan, FOREIGN), Slot(plan, HEADLESS)
    labelled, bodiless = foreign.service(), headless.service()
    labelled["metadata"]["labels"][PROXY_NAME] = "another"
    bodiless["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    slices = [foreign.slice(foreign.near(1)), headless.slice(headless.near(1))]
    slices[1]["metadata"]["labels"]["service.kubernetes.io/headless"] = ""  # as the EndpointSlice controller does
    return labelled, bodiless, *slices


def _look_for_others(ground: Ground) -> Ignored:
    foreign, headless = ground.slot(FOREIGN), ground.slot(HEADLESS)
    node = ground.measured
    tools = Tools.of(node.node, exclusive=ground.cluster.traits.exclusive)
    return Ignored(
        ground.connect(foreign.vip, 2, timeout_ms=1500),
        tuple(mentions(node.executor, tools, [foreign.vip, foreign.near(1)[0].address])),
        tuple(mentions(node.executor, tools, [headless.near(1)[0].address])),
    )


def _to_itself(ground: Ground) -> Seen:
    """Let the pod serve, and connect to itself by way of a Service that has no other endpoint."""
    pod = ground.pod
    if pod is None:
        raise MeasurementError("the cluster has no pod to connect from")
    slot = ground.slot(HAIRPIN)
    only = objects.Pod(pod.node.address, ground.measured.name)
    agent = install(pod.executor, pod.node.workdir)
    argv = (pod.node.python, "-I", "-S", agent, "backend", "--port", str(ground.plan.backend_port))
    serving = pod.agent.spawn(argv, log=f"{pod.node.workdir}/hairpin.log")
    try:
        ground.create(slot.service(), slot.slice([only]))
        ground.await_answer(slot.vip, [only])
        first = Exchange(slot.vip, PORT, 1, source=only.address, timeout_ms=1500)
        tries = _TRIES  # IPVS mode writes the set of pods that may do so after the Service, and a sync may take long
        while tries and not pod.agent.call(first).answered:
            tries -= 1
        result = pod.agent.call(Exchange(slot.vip, PORT, _FEW, source=only.address, timeout_ms=1500, limit=40))
    finally:
        with suppress(HostError):  # of an agent that was interrupted: what ended it must not be hidden by that
            pod.agent.stop(serving.pid)
    return Seen(result, (only.address,))


PROPERTIES = (
    Property(
        "client-ip-affinity",
        "sessionAffinity: ClientIP keeps a client at one endpoint, and ends after its timeout",
        act=_stick,
        judge=lambda seen, _: affine(seen, AFFINITY_S),
        objects=_sticky,
    ),
    Property(
        "others-ignored",
        "headless Services and those of another service-proxy-name are left alone",
        act=_look_for_others,
        judge=lambda seen, _: ignored(seen),
        objects=_not_ours,
    ),
    Property(
        "hairpin",
        "a pod reaches itself through its Service",
        act=_to_itself,
        judge=lambda seen, _: answered(seen),
        needs=frozenset({Need.POD}),
    ),
)
