"""Forwarding latency of new connections: which targets, and what the prober's answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.agent.requests import Connect, Established, Target
from proxybench.errors import MeasurementError
from proxybench.kube.objects import PORT
from proxybench.measure.recorder import TRAFFIC
from proxybench.model import Metric, Position, Scenario
from proxybench.units import NS_PER_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.agent.answers import ConnectFigures, ConnectResult, EstablishedResult
    from proxybench.kube.objects import Population
    from proxybench.measure.recorder import Recorder

DIRECT = "direct"
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
    found = []
    for label, figures in result.targets.items():
        problems = [f"{count} x {name}" for name, count in sorted(figures.errors.items())]
        if figures.timeouts:
            problems.append(f"{figures.timeouts} without an answer")
        if figures.wrong:
            problems.append(f"{figures.wrong} answered by an endpoint of another Service")
        if problems:
            found.append(f"{label}: {', '.join(problems)}")
    return tuple(found)


def connect_request(where: Paths, connections: int, warmup: int, block: int, limit: float) -> Connect:
    """Return the measurement of at least ``connections`` new connections per target, in interleaved blocks."""
    return Connect(where.targets, rounds=-(-connections // block), block=block, warmup=warmup, limit=limit)


def established_request(where: Paths, count: int, limit: float) -> Established:
    """Return the control: round trips on connections that exist, over the last VIP and directly."""
    return Established((where.vips[-1][1], where.direct), count, warmup=min(20, count), limit=limit)


def record_connect(recorder: Recorder, where: Paths, result: ConnectResult) -> None:
    """Record new connections: the call itself, the first answer, and the kernel's handshake RTT.

    Raises MeasurementError when answers are wrong, or too many connections failed for the rest to mean anything.
    """
    problems = check(result)
    if problems:
        raise MeasurementError("; ".join(problems))
    for position, target in where.vips:
        _record(recorder, Metric.FORWARDING_CONNECT, position, result.targets[target.label])
    _record(recorder, Metric.FORWARDING_DIRECT, Position.NONE, result.targets[DIRECT])


def bare_request(where: Paths, connections: int, warmup: int, block: int, limit: float) -> Connect:
    """Return the same connections to the endpoint alone, for the time before there are any rules."""
    return Connect((where.direct,), rounds=-(-connections // block), block=block, warmup=warmup, limit=limit)


def record_bare(recorder: Recorder, result: ConnectResult) -> None:
    """Record what a connection costs without any rules. Raises MeasurementError when the endpoint does not answer.

    ``forwarding.direct`` is no such zero point: with iptables, a new connection to an endpoint walks the rules of all
    Services before it finds that none is for it.
    """
    problems = check(result)
    if problems:
        raise MeasurementError("; ".join(problems))
    _record(recorder, Metric.FORWARDING_BARE, Position.NONE, result.targets[DIRECT], alone=True)


def record_established(recorder: Recorder, where: Paths, result: EstablishedResult) -> None:
    """Record round trips on established connections; position ``none`` is the direct one."""
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
                traffic=TRAFFIC,
            )


def _record(
    recorder: Recorder, metric: Metric, position: Position, figures: ConnectFigures, *, alone: bool = False
) -> None:
    series = [(metric, figures.connect_ns, False), (metric, figures.connect_censored_ns, True)]
    if not alone:
        rtt_ns = tuple(rtt * NS_PER_US for rtt in figures.rtt_us)
        series += [
            (Metric.FORWARDING_FIRST_BYTE, figures.first_byte_ns, False),
            (Metric.FORWARDING_FIRST_BYTE, figures.first_byte_censored_ns, True),
            (Metric.FORWARDING_RTT, rtt_ns, False),
        ]
    for name, values, censored in series:
        recorder.add_all(name, Scenario.STEADY, values, censored=censored, position=position, traffic=TRAFFIC)
