"""Forwarding latency of new connections: which targets, and what the prober's answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.model import CLUSTER_IP, Metric, Position, Scenario
from proxybench.nodes.requests import Connect, Established, Target
from proxybench.units import NS_PER_MS, NS_PER_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.objects import Population
    from proxybench.nodes.answers import ConnectFigures, ConnectResult, EstablishedFigures, EstablishedResult
    from proxybench.scenarios.recorder import Recorder

DIRECT = "direct"
MOST_UNANSWERED = 0.1
"""A path is measured when at most this share of its connections, or of an established one's round trips, got no answer.

Up to it the median is known, and a time-out stands in the results as what it is: a latency of at least the limit.
Beyond it a path is broken rather than slow.
"""
_CUT_SHORT = "cut short by the time limit"
_PROBES = 4  # connections per position in the check before measuring


@dataclass(frozen=True)
class Paths:
    """What is connected to: the VIP at each position, and one of the last one's endpoints directly."""

    vips: tuple[tuple[Position, Target], ...]
    direct: Target

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, VIPs first."""
        return (*(target for _, target in self.vips), self.direct)


def paths(population: Population, services: int, positions: Sequence[Position], backend_port: int) -> Paths:
    """Return the targets for a cell.

    All measured Services have their endpoints on the measured node, so that no path has one hop more than another.
    """
    vips = []
    for position in positions:
        index = population.measured(services, position)
        endpoints = tuple(pod.address for pod in population.pods(index))
        vips.append((position, Target(str(position), population.plan.vip(index), PORT, endpoints)))
    last = population.pods(population.measured(services, Position.LAST))[0].address
    return Paths(tuple(vips), Target(DIRECT, last, backend_port, (last,)))


def check_request(where: Paths) -> Connect:
    """Return the few connections that show whether the VIPs answer from the right endpoints."""
    return Connect(where.targets, rounds=1, block=_PROBES, timeout_ms=2000, limit=60)


def check(result: ConnectResult) -> tuple[str, ...]:
    """Return what is wrong with a mode's forwarding, one line per target; empty when all answers are right."""
    found = [(label, _troubles(figures)) for label, figures in result.targets.items()]
    return tuple(f"{label}: {', '.join(troubles)}" for label, troubles in found if troubles)


def _troubles(figures: ConnectFigures) -> list[str]:
    found = [f"{count} x {name}" for name, count in sorted(figures.errors.items())]
    if figures.timeouts:
        found.append(f"{figures.timeouts} without an answer")
    if figures.wrong:
        found.append(f"{figures.wrong} answered by an endpoint of another Service")
    return found


def connect_request(where: Paths, connections: int, warmup: int, block: int, limit: float) -> Connect:
    """Return the measurement of at least ``connections`` new connections per target, in interleaved blocks."""
    return Connect(where.targets, rounds=-(-connections // block), block=block, warmup=warmup, limit=limit)


def established_request(where: Paths, count: int, limit: float) -> Established:
    """Return the control: round trips on connections that exist, over the last VIP and directly."""
    return Established((where.vips[-1][1], where.direct), count, warmup=min(20, count), limit=limit)


def record_connect(recorder: Recorder, where: Paths, request: Connect, result: ConnectResult) -> None:
    """Record new connections: the call itself, the first answer, and the kernel's handshake RTT.

    A connection without an answer is a censored sample: it took at least the limit. One that failed is too, as in the
    load: whoever waited for it would wait still. Raises MeasurementError, and records nothing, when a target was not
    connected to as often as asked, when an endpoint of another Service answered, or when more than MOST_UNANSWERED of
    a target's connections got no answer.
    """
    _trust(request, result)
    for position, target in where.vips:
        _record(recorder, Metric.FORWARDING_CONNECT, position, request, result.targets[target.label])
    _record(recorder, Metric.FORWARDING_DIRECT, Position.NONE, request, result.targets[DIRECT])


def bare_request(where: Paths, connections: int, warmup: int, block: int, limit: float) -> Connect:
    """Return the same connections to the endpoint alone, for the time before there are any rules."""
    return Connect((where.direct,), rounds=-(-connections // block), block=block, warmup=warmup, limit=limit)


def record_bare(recorder: Recorder, request: Connect, result: ConnectResult) -> None:
    """Record what a connection costs without any rules. Raises MeasurementError as ``record_connect`` does.

    ``forwarding.direct`` is no such zero point: with iptables, a new connection to an endpoint walks the rules of all
    Services before it finds that none is for it.
    """
    _trust(request, result)
    _record(recorder, Metric.FORWARDING_BARE, Position.NONE, request, result.targets[DIRECT], alone=True)


def record_established(recorder: Recorder, where: Paths, request: Established, result: EstablishedResult) -> None:
    """Record round trips on established connections; position ``none`` is the direct one.

    Trouble ends a connection, and what was to follow on it is missing. Raises MeasurementError, and records nothing,
    when more than MOST_UNANSWERED of a connection's round trips are, or when the time limit cut them short.
    """
    found = [_missing_round_trips(target.label, request, result) for target in request.targets]
    if problems := [problem for problem in found if problem]:
        raise MeasurementError("; ".join(problems))
    places = {where.vips[-1][1].label: where.vips[-1][0], DIRECT: Position.NONE}
    for label, position in places.items():
        figures = result.targets[label]
        for values, censored in ((figures.rtt_ns, False), (figures.censored_ns, True)):
            recorder.add_all(
                Metric.FORWARDING_ESTABLISHED,
                Scenario.STEADY,
                values,
                censored=censored,
                position=position,
                path=CLUSTER_IP,
            )


def _missing_round_trips(label: str, request: Established, result: EstablishedResult) -> str:
    figures = result.targets[label]
    if result.complete and request.count - len(figures.rtt_ns) <= MOST_UNANSWERED * request.count:
        return ""
    return f"{label}: {len(figures.rtt_ns)} of {request.count} round trips ({_why_so_few(figures)})"


def _why_so_few(figures: EstablishedFigures) -> str:
    if figures.errors:
        return ", ".join(f"{count} x {name}" for name, count in sorted(figures.errors.items()))
    return "one got no answer" if figures.timeouts else _CUT_SHORT


def _trust(request: Connect, result: ConnectResult) -> None:
    """Raise MeasurementError unless every target was connected to as often as asked, and answered as it should."""
    asked = request.rounds * request.block
    found = []
    for target in request.targets:
        figures = result.targets[target.label]
        failed = sum(figures.errors.values())
        made = len(figures.first_byte_ns) + len(figures.first_byte_censored_ns) + failed
        if figures.wrong or figures.timeouts + failed > MOST_UNANSWERED * asked:
            found.append(f"{target.label}: of {asked} connections {', '.join(_troubles(figures))}")
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
    position: Position,
    request: Connect,
    figures: ConnectFigures,
    *,
    alone: bool = False,
) -> None:
    limit_ns = request.timeout_ms * NS_PER_MS
    series = [(metric, figures.connect_ns, figures.connect_censored_ns)]
    if not alone:
        series.append((Metric.FORWARDING_FIRST_BYTE, figures.first_byte_ns, figures.first_byte_censored_ns))
    asked = request.rounds * request.block
    for name, values, timeouts in series:
        failed = (limit_ns,) * (asked - len(values) - len(timeouts))
        for some, censored in ((values, False), ((*timeouts, *failed), True)):
            recorder.add_all(name, Scenario.STEADY, some, censored=censored, position=position, path=CLUSTER_IP)
    if not alone:
        rtt_ns = tuple(rtt * NS_PER_US for rtt in figures.rtt_us)
        recorder.add_all(
            Metric.FORWARDING_RTT, Scenario.STEADY, rtt_ns, censored=False, position=position, path=CLUSTER_IP
        )
