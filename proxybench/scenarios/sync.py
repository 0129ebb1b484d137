"""Rule-sync latency: which change to make, how to probe for it, and what the answers mean.

Every scenario after the cold start is one write, sent by the agent on the client, which probes from before the write:
both ends of a latency are read by the same clock. Of a batch the agent sends the first write and the last one. The
canary's EndpointSlice lies in the API before the control loop starts, so that adding its Service is one change and one
sync, and so is deleting it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.agent.http import NOW
from proxybench.kube import objects
from proxybench.model import CLUSTER_IP, Metric, Position, Scenario
from proxybench.nodes.requests import Await, Change, Write
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from proxybench.clocks import Span
    from proxybench.kube.objects import AddressPlan, Object, Pod
    from proxybench.nodes.answers import AwaitResult, ChangeResult
    from proxybench.scenarios.recorder import Recorder
    from proxybench.subjects.base import LoopFigures

_SETTLE_MS = 300  # a stale endpoint may answer a little longer than the first new answer takes
_SERVICES = f"/api/v1/namespaces/{objects.NAMESPACE}/services"
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{objects.NAMESPACE}/endpointslices"


@dataclass(frozen=True)
class Canary:
    """A Service of its own, after all numbered ones, on which changes are made and probed.

    ``old`` is its endpoint before change-endpoint, ``new`` the one after.
    """

    plan: AddressPlan
    name: str = objects.CANARY
    number: int = 0

    @property
    def vip(self) -> str:
        """Its ClusterIP."""
        return self.plan.canary_vip(self.number)

    @property
    def old(self) -> Pod:
        """Its first endpoint, on the measured node."""
        return self.plan.spare(4 * self.number)

    @property
    def new(self) -> Pod:
        """The endpoint that takes over, on the same node."""
        return self.plan.spare(4 * self.number + 2)

    def service(self) -> Object:
        """Return its Service."""
        return objects.service(self.name, self.vip, self.plan.backend_port)

    def endpoint_slice(self, pod: Pod) -> Object:
        """Return its only EndpointSlice, with one endpoint and no trigger time."""
        return objects.endpoint_slices(self.name, [pod], self.plan.backend_port, 0)[0]


def appears(vip: str, want: tuple[str, ...], timeout: float) -> Await:
    """Return the probe for a Service that is to answer from one of ``want``."""
    return Await(host=vip, port=objects.PORT, until="answer", want=want, timeout_s=timeout)


def add(canary: Canary, timeout: float) -> Change:
    """Return the change that adds the canary's Service."""
    probe = appears(canary.vip, (canary.old.address,), timeout)
    return Change((Write("POST", _SERVICES, canary.service()),), (probe,))


def write_first(service: Object) -> Change:
    """Return the change that begins a batch: its acknowledgement is the batch's zero, and nothing is probed for."""
    return Change((Write("POST", _SERVICES, service),), ())


def add_last(service: Object, vip: str, endpoints: tuple[str, ...], timeout: float) -> Change:
    """Return the change that adds the last Service of a batch."""
    return Change((Write("POST", _SERVICES, service),), (appears(vip, endpoints, timeout),))


def move(canary: Canary, timeout: float) -> Change:
    """Return the change of the canary's endpoint; the last answer by the old one is waited for, too.

    Its trigger time is the moment at which the agent sends it, by the node's own clock.
    """
    obj = canary.endpoint_slice(canary.new)
    obj["metadata"].setdefault("annotations", {})[objects.TRIGGER_TIME] = NOW.decode()
    probe = Await(
        host=canary.vip,
        port=objects.PORT,
        until="answer",
        want=(canary.new.address,),
        timeout_s=timeout,
        settle_ms=_SETTLE_MS,
    )
    return Change((Write("PUT", f"{_SLICES}/{obj['metadata']['name']}", obj),), (probe,))


def delete(canary: Canary, timeout: float) -> Change:
    """Return the change that deletes the canary's Service and waits until it refuses."""
    probe = Await(host=canary.vip, port=objects.PORT, until="refusal", timeout_s=timeout)
    return Change((Write("DELETE", f"{_SERVICES}/{canary.name}"),), (probe,))


def ended(seen: AwaitResult) -> int:
    """Return when a probe was decided, or given up, by the client's clock (ns)."""
    return seen.end_ns if seen.first_ns is None else seen.first_ns


def record_cold_start(recorder: Recorder, took: Span, seen: AwaitResult) -> None:
    """Record the time from the control loop's start until the last Service answered."""
    _record_end(recorder, Scenario.COLD_START, took.ns, seen)


def record_change(recorder: Recorder, scenario: Scenario, result: ChangeResult, begun: int | None = None) -> None:
    """Record the time from the API's acknowledgement until the data plane answered for the change.

    ``begun`` is the acknowledgement of a batch's first write, by the same clock; it counts then. A data plane that was
    faster than the acknowledgement counts as 0 ns.
    """
    seen = result.probes[0]
    _record_end(recorder, scenario, ended(seen) - (result.ack_ns if begun is None else begun), seen)
    if scenario is Scenario.CHANGE_ENDPOINT and seen.last_other_ns is not None:
        stale = max(0, seen.last_other_ns - result.ack_ns)
        recorder.add(Metric.SYNC_STALE, scenario, stale, position=Position.LAST, path=CLUSTER_IP)


def record_loop(recorder: Recorder, scenario: Scenario, before: LoopFigures, after: LoopFigures) -> None:
    """Record the control loop's own word: the difference of its figures around the change.

    ``sync.control_loop`` is the time spent in all syncs that the change took; waits between them are not in it, but
    are ``sync.wait``: how long something was known to have changed while the loop had to let its minimum period pass.
    """
    pairs = (
        (Metric.SYNC_CONTROL_LOOP, before.sync_sum, after.sync_sum),
        (Metric.SYNC_BUILD, before.build, after.build),
        (Metric.SYNC_TOOL, before.tool, after.tool),
        (Metric.SYNC_KERNEL, before.kernel, after.kernel),
        (Metric.SYNC_WAIT, before.wait, after.wait),
    )
    for metric, earlier, later in pairs:
        if earlier is not None and later is not None:
            recorder.add(metric, scenario, round((later - earlier) * NS_PER_S))
    programmed = after.programming_count - before.programming_count
    if programmed > 0:
        mean = (after.programming_sum - before.programming_sum) / programmed
        recorder.add(Metric.SYNC_NETWORK_PROGRAMMING, scenario, round(mean * NS_PER_S))


def _record_end(recorder: Recorder, scenario: Scenario, took_ns: int, seen: AwaitResult) -> None:
    recorder.add(
        Metric.SYNC_END_TO_END,
        scenario,
        max(0, took_ns),
        censored=seen.censored,
        position=Position.LAST,
        path=CLUSTER_IP,
    )
