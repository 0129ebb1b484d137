"""Forwarding latency of new connections, through the rules and beside them, and of established ones as a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from proxybench.errors import MeasurementError
from proxybench.model import CLUSTER_IP, Metric, Scenario, Transport
from proxybench.nodes.requests import Connect, Established
from proxybench.scenarios.paths import check, check_request, faults, groups, paths
from proxybench.scenarios.peers import misled
from proxybench.scenarios.places import PLAIN
from proxybench.scenarios.recorder import Where
from proxybench.units import NS_PER_US

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.experiment.spec import ForwardingSpec
    from proxybench.nodes.answers import ConnectResult, EstablishedFigures, EstablishedResult
    from proxybench.nodes.requests import Target
    from proxybench.scenarios.base import StepContext
    from proxybench.scenarios.paths import Paths
    from proxybench.scenarios.recorder import Recorder

MOST_UNANSWERED = 0.01
"""A path is measured when at most this share of its connections, or of an established one's round trips, got no answer.

Up to it a time-out stands in the results as what it is, a latency of at least the limit, and whatever else failed is
counted (see ``failures``) and has no latency. Beyond it a path is broken rather than slow.
"""
_CUT_SHORT = "cut short by the time limit"


@dataclass(frozen=True)
class Bare:
    """The endpoint directly, before there are any rules: the zero point."""

    name: ClassVar = "connecting without rules"
    vital: ClassVar = False

    spec: ForwardingSpec

    def run(self, step: StepContext) -> None:
        """Measure, from every origin; for up to a minute each."""
        for where in _measured(step, self.spec, over_udp=False):
            request = bare_request(where, self.spec, step.deadline.left(60))
            result = step.origin(where.origin).agent.call(request)
            record_bare(step.recorder, where, request, result)
            step.result.notes += failures(request, result)


@dataclass(frozen=True)
class NewConnections:
    """New connections over each path at each position, and directly; for up to two minutes per origin.

    A path that does not answer as it should is told and left out: a node may drop what comes over it.
    """

    name: ClassVar = "forwarding"
    vital: ClassVar = False

    spec: ForwardingSpec

    def run(self, step: StepContext) -> None:
        """Measure. Raises MeasurementError for what could not be, when all else is measured."""
        problems: list[str] = []
        for asked in _measured(step, self.spec):
            agent = step.origin(asked.origin).agent
            bad = {} if self.spec.paths == (PLAIN,) else check(agent.call(check_request(asked)))
            bad = misled(step, asked.without(bad)) | bad
            problems += bad.values()
            where = asked.without(bad)
            if asked.direct.label in bad or not where.vips:
                continue
            request = connect_request(where, self.spec, step.deadline.left(120))
            result = agent.call(request)
            try:
                record_connect(step.recorder, where, request, result)
                step.result.notes += failures(request, result)
                if self.spec.by_endpoint:
                    record_endpoints(step, where, result)
            except MeasurementError as error:
                problems.append(str(error))
        if problems:
            raise MeasurementError("; ".join(problems))


@dataclass(frozen=True)
class EstablishedConnections:
    """The control that should not differ: round trips on connections that exist; for up to a minute per origin."""

    name: ClassVar = "established connections"
    vital: ClassVar = False

    spec: ForwardingSpec

    def run(self, step: StepContext) -> None:
        """Measure."""
        for where in _measured(step, self.spec, over_udp=False):
            request = established_request(where, self.spec.established, step.deadline.left(60))
            record_established(step.recorder, where, request, step.origin(where.origin).agent.call(request))


def _measured(step: StepContext, spec: ForwardingSpec, *, over_udp: bool = True) -> Iterator[Paths]:
    """Yield what is connected to from each origin, over each transport."""
    nodes = [node.address for node in step.cluster.proxy_nodes]
    for asked in groups(spec.paths):
        if over_udp or asked[0].transport is Transport.TCP:
            yield paths(step.places, spec.positions, asked, nodes)


def bare_request(where: Paths, spec: ForwardingSpec, limit: float) -> Connect:
    """Return the connections to the endpoint alone, for the time before there are any rules."""
    return Connect((where.direct,), _rounds(spec), spec.block, spec.warmup, limit=limit)


def connect_request(where: Paths, spec: ForwardingSpec, limit: float) -> Connect:
    """Return the measurement of at least so many new connections per target, in interleaved blocks."""
    ordered: Literal[1] | None = 1 if spec.by_endpoint else None
    return Connect(where.targets, _rounds(spec), spec.block, spec.warmup, limit=limit, ordered=ordered)


def _rounds(spec: ForwardingSpec) -> int:
    return -(-spec.connections // spec.block)


def established_request(where: Paths, count: int, limit: float) -> Established:
    """Return the control: round trips on connections that exist, over the last VIP of each path and directly."""
    targets = (*(target for _, target in where.last), where.direct)
    return Established(targets, count, warmup=min(20, count), limit=limit)


def record_connect(recorder: Recorder, where: Paths, request: Connect, result: ConnectResult) -> None:
    """Record new connections: the call itself, the first answer, and the kernel's handshake RTT.

    A connection without an answer is a censored sample: it took at least the limit. One that was refused or reset has
    no latency (see ``failures``). Raises MeasurementError, and records nothing, when a target was not connected to as
    often as asked, when an endpoint of another Service answered, or when more than MOST_UNANSWERED of a target's
    connections got no answer.
    """
    _trust(request, result)
    for place, target in where.vips:
        _record(recorder, Metric.FORWARDING_CONNECT, place, target, result)
    for place in where.directly:
        _record(recorder, Metric.FORWARDING_DIRECT, place, where.direct, result)


def record_endpoints(step: StepContext, where: Paths, result: ConnectResult) -> None:
    """Record each connection over a ClusterIP with the place of the endpoint that answered it.

    Nothing is recorded of a target of which a connection failed: which of the others it was is not known. Raises
    ProxierError when the rules cannot be read back.
    """
    for place, target in where.vips:
        figures = result.targets[target.label]
        if place.path != CLUSTER_IP or len(figures.order) != len(figures.connect_ns):
            continue
        numbers = {address: number for number, address in enumerate(target.expect or (), start=1)}
        places = step.proxy.endpoint_places(target.host) or numbers
        for took, by in zip(figures.connect_ns, figures.order, strict=True):
            if by in places:
                spot = Where(place.path, place.position, places[by])
                step.recorder.add(Metric.FORWARDING_ENDPOINT, Scenario.STEADY, took, where=spot)


def record_bare(recorder: Recorder, where: Paths, request: Connect, result: ConnectResult) -> None:
    """Record what a connection costs without any rules. Raises MeasurementError as ``record_connect`` does.

    ``forwarding.direct`` is no such zero point: with iptables, a new connection to an endpoint walks the rules of all
    Services before it finds that none is for it.
    """
    _trust(request, result)
    for place in where.directly:
        _record(recorder, Metric.FORWARDING_BARE, place, where.direct, result, alone=True)


def record_established(recorder: Recorder, where: Paths, request: Established, result: EstablishedResult) -> None:
    """Record round trips on established connections; position ``none`` is the direct one.

    Trouble ends a connection, and what was to follow on it is missing. Raises MeasurementError, and records nothing,
    when more than MOST_UNANSWERED of a connection's round trips are, or when the time limit cut them short.
    """
    found = [_missing_round_trips(target.label, request, result) for target in request.targets]
    if problems := [problem for problem in found if problem]:
        raise MeasurementError("; ".join(problems))
    places = [(target.label, place) for place, target in where.last] + [
        (where.direct.label, place) for place in where.directly
    ]
    for label, place in places:
        figures = result.targets[label]
        for values, censored in ((figures.rtt_ns, False), (figures.censored_ns, True)):
            recorder.add_all(Metric.FORWARDING_ESTABLISHED, Scenario.STEADY, values, censored=censored, where=place)


def _missing_round_trips(label: str, request: Established, result: EstablishedResult) -> str:
    figures = result.targets[label]
    if result.complete and request.count - len(figures.rtt_ns) <= MOST_UNANSWERED * request.count:
        return ""
    return f"{label}: {len(figures.rtt_ns)} of {request.count} round trips ({_why_so_few(figures)})"


def _why_so_few(figures: EstablishedFigures) -> str:
    if figures.errors:
        return ", ".join(f"{count} x {name}" for name, count in sorted(figures.errors.items()))
    return "one got no answer" if figures.timeouts else _CUT_SHORT


def failures(request: Connect, result: ConnectResult) -> list[str]:
    """Return a note for each target of which a few connections failed, too few to distrust the others."""
    asked = request.rounds * request.block
    told = ((target.label, faults(result.targets[target.label])) for target in request.targets)
    return [f"{label}: of {asked} connections {', '.join(some)}" for label, some in told if some]


def _trust(request: Connect, result: ConnectResult) -> None:
    """Raise MeasurementError unless every target was connected to as often as asked, and answered as it should."""
    asked = request.rounds * request.block
    found = []
    for target in request.targets:
        figures = result.targets[target.label]
        failed = sum(figures.errors.values())
        made = len(figures.first_byte_ns) + len(figures.first_byte_censored_ns) + failed
        if figures.wrong or figures.timeouts + failed > MOST_UNANSWERED * asked:
            found.append(f"{target.label}: of {asked} connections {', '.join(faults(figures))}")
        elif made != asked:
            why = "" if result.complete else f", {_CUT_SHORT}"
            found.append(f"{target.label}: {made} of {asked} connections{why}")
    if not result.complete and not found:
        found.append(_CUT_SHORT)
    if found:
        raise MeasurementError("; ".join(found))


def _record(
    recorder: Recorder,
    metric: Metric,
    place: Where,
    target: Target,
    result: ConnectResult,
    *,
    alone: bool = False,
) -> None:
    """Record one target's figures; ``alone``: the time of connecting only. Over UDP there is none, but answers."""
    figures = result.targets[target.label]
    series = []
    if target.protocol is None:
        series.append((metric, figures.connect_ns, figures.connect_censored_ns))
    if not alone:
        series.append((Metric.FORWARDING_FIRST_BYTE, figures.first_byte_ns, figures.first_byte_censored_ns))
    for name, values, timeouts in series:
        for some, censored in ((values, False), (timeouts, True)):
            recorder.add_all(name, Scenario.STEADY, some, censored=censored, where=place)
    if not alone:
        rtt_ns = tuple(rtt * NS_PER_US for rtt in figures.rtt_us)
        recorder.add_all(Metric.FORWARDING_RTT, Scenario.STEADY, rtt_ns, where=place)
