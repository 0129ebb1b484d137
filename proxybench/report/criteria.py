"""What a reader decides by: each criterion's numbers per subject, and how many times one subject's another's are.

A ratio is taken within each repetition, in which the subjects followed each other at once; its 95 % interval is over
repetitions, widened by what the numbers are uncertain by (``proxybench.stats.uncertainty``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from proxybench.model import CLUSTER_IP, NO_PATH, Family, Metric, Mode, Position, Scenario
from proxybench.report.words import TIMES
from proxybench.stats.intervals import Interval, centre_interval
from proxybench.stats.uncertainty import ratio_reach
from proxybench.units import NS_PER_S, least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.stats.series import Series

    Label = tuple[str, int]

FEW = 5
"""A figure that rests on fewer repetitions says so."""
WIDE = 3.0
"""An interval whose ends lie further apart than this factor is told in words."""


@dataclass(frozen=True)
class Criterion:
    """One row: the first of ``scenarios`` and ``positions`` that the run has is shown.

    ``per`` names a second metric of the same point that the first is divided by: CPU per second of watching. With
    ``split``, two rows follow: what was waiting before the sync, and the rest; with ``taxed``, one that
    tells how many times a connection on a node without rules it is. Modes in ``without`` mean something else by it. A
    ``control`` should not differ between subjects: what it differs by, the machine did. With ``waits``, waiting for a
    turn is in it, as in all that is split.
    """

    title: str
    detail: str
    metric: Metric
    scenarios: tuple[Scenario, ...]
    positions: tuple[Position, ...] = (Position.NONE,)
    per: Metric | None = None
    split: bool = False
    taxed: bool = False
    control: bool = False
    waits: bool = False
    without: tuple[Mode, ...] = ()


_RULES = (Position.LAST, Position.MIDDLE, Position.FIRST)
_SYNC, _CPU = Metric.SYNC_END_TO_END, Metric.CPU_CONTROL_LOOP


def _sync(title: str, detail: str, scenario: Scenario) -> Criterion:
    return Criterion(title, detail, _SYNC, (scenario,), _RULES, split=True)


CRITERIA = (
    _sync("Cold start", "until all probed Services answer", Scenario.COLD_START),
    # A Service answers with the first of its endpoints: of many, IPVS writes one after the other.
    Criterion(
        "Cold start, all written",
        "first full sync, by its own word",
        Metric.SYNC_PROGRAMMED,
        (Scenario.COLD_START,),
        waits=True,
    ),
    Criterion("Cold start, CPU", "with all children", _CPU, (Scenario.COLD_START,)),
    _sync("New Service", "Service, then its endpoints", Scenario.NEW_SERVICE),
    Criterion("New Service, CPU", "of the control loop", _CPU, (Scenario.NEW_SERVICE,)),
    _sync("One Service added", "endpoints there before", Scenario.ADD_ONE),
    Criterion("One Service added, CPU", "of the control loop", _CPU, (Scenario.ADD_ONE,)),
    _sync("One endpoint changed", "until it answers", Scenario.CHANGE_ENDPOINT),
    Criterion("One endpoint changed, CPU", "of the control loop", _CPU, (Scenario.CHANGE_ENDPOINT,)),
    Criterion(
        "Removed endpoint",
        "its last answer, as another takes its place",
        Metric.SYNC_STALE,
        (Scenario.CHANGE_ENDPOINT,),
        _RULES,
        waits=True,
    ),
    Criterion(
        "Removed endpoint", "its last answer, one of several", _SYNC, (Scenario.REMOVE_ENDPOINT,), _RULES, waits=True
    ),
    _sync("One Service deleted", "until refused", Scenario.DELETE_ONE),
    Criterion("Idle, CPU per second", "nothing changes", _CPU, (Scenario.IDLE,), per=Metric.CPU_WINDOW),
    Criterion("Memory", "largest resident set", Metric.MEMORY_RESIDENT, (Scenario.COLD_START,)),
    Criterion(
        "New connection, Service", "first byte, last rule", Metric.FORWARDING_FIRST_BYTE, (Scenario.STEADY,), _RULES
    ),
    Criterion(
        "New connection, Service",
        "connect(), last rule",
        Metric.FORWARDING_CONNECT,
        (Scenario.STEADY,),
        _RULES,
        taxed=True,
        without=(Mode.USERSPACE,),
    ),
    Criterion(
        "New connection, endpoint", "connect(), rules present", Metric.FORWARDING_DIRECT, (Scenario.STEADY,), taxed=True
    ),
    Criterion(
        "New connection, no rules",
        "connect(), before the start: the control",
        Metric.FORWARDING_BARE,
        (Scenario.STEADY,),
        control=True,
    ),
)

WAITING = "of it, before its sync"
WORK = "of it, from then on"
TAX = "against a node without rules"
_WAITS = (Metric.SYNC_BEFORE, Metric.SYNC_WAIT)  # by kube-proxy's log, and by the reference's own word


@dataclass(frozen=True)
class Figure:
    """One subject's number: a value per repetition in ``unit``; with ``bounded`` the median is only a lower bound.

    Each is true within ``± uncertainty``. ``watched``: it is what happened to fall into a window of seconds, such as
    some garbage collection, so that a single one tells no ratio.
    """

    values: Mapping[Label, float]
    unit: str
    bounded: bool
    uncertainty: float = 0.0
    watched: bool = False

    @property
    def median(self) -> float:
        """The median of the repetitions' values."""
        return float(np.median(list(self.values.values())))

    @property
    def share(self) -> float:
        """What the median is uncertain by, as a share of it."""
        if not self.uncertainty:
            return 0.0
        return self.uncertainty / self.median if self.median > 0 else math.inf

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what it is known to lie, as far as that matters: from 0 where it is not resolved, else itself."""
        if self.bounded:
            return self.median, math.inf
        bound = least(self.median, self.unit, self.uncertainty)
        return (self.median, self.median) if bound is None else (0.0, bound)

    @property
    def by_chance(self) -> bool:
        """Whether it is of one window only."""
        return self.watched and len(self.values) == 1

    @property
    def few(self) -> bool:
        """Whether it rests on too few repetitions to lean on."""
        return len(self.values) < FEW


@dataclass(frozen=True)
class Row:
    """What a criterion's numbers are, by subject.

    ``part``: it is a part of the row before. ``waits``: waiting is in it.
    """

    metric: Metric
    title: str
    detail: str
    found: Mapping[Subject, Figure]
    part: bool = False
    control: bool = False
    waits: bool = False


def rows_of(series: Sequence[Series]) -> list[Row]:
    """Return the rows that some series hold, which are of one size and one clock; of several ways, the usual one."""
    rows = []
    usual = usual_way(series)
    for criterion in CRITERIA:
        scenario, found = _figures(criterion, usual)
        if found and scenario is not None:
            told = (criterion.metric, criterion.title, criterion.detail)
            rows.append(Row(*told, found, control=criterion.control, waits=criterion.split or criterion.waits))
            rows += _split(found, scenario, usual) if criterion.split else []
            rows += _taxed(found, criterion.metric, usual) if criterion.taxed else []
    return rows


def usual_way(series: Sequence[Series]) -> list[Series]:
    """Return those over a ClusterIP, or over no way at all: of IPv4, or of IPv6 where there is nothing else."""
    plain = [each for each in series if each.key.path in {CLUSTER_IP, NO_PATH}]
    return [each for each in plain if each.key.family == Family.IPV4] or plain


def ratio(base: Figure, other: Figure) -> tuple[float, Interval | None] | None:
    """Return how many times the first's number the second's is, and its 95 % interval, paired by repetition.

    None where a value is 0, not resolved, only a bound, or what fell into one window: there is no ratio then. The
    interval is None for a single repetition.
    """
    labels = sorted(base.values.keys() & other.values.keys())
    pairs = np.array([(base.values[label], other.values[label]) for label in labels], dtype=np.float64)
    if base.by_chance or other.by_chance:
        return None
    if {base.bounds[0], other.bounds[0]} & {0.0} or base.bounded or other.bounded or not labels or np.any(pairs <= 0):
        return None
    ratios = pairs[:, 1] / pairs[:, 0]
    middle, interval = float(np.median(ratios)), centre_interval(ratios)
    if interval is None:
        return middle, None
    below, above = ratio_reach(other.share, base.share)
    return middle, Interval(float(interval.low * np.exp(-below)), float(interval.high * np.exp(above)))


def _figures(criterion: Criterion, series: Sequence[Series]) -> tuple[Scenario | None, dict[Subject, Figure]]:
    for scenario in criterion.scenarios:
        for position in criterion.positions:
            found = figures_at(criterion.metric, scenario, position, series)
            found = {subject: figure for subject, figure in found.items() if subject.mode not in criterion.without}
            if found and criterion.per:
                rates = _joined(found, figures_at(criterion.per, scenario, position, series), _per_second)
                return scenario, {subject: replace(rate, watched=True) for subject, rate in rates.items()}
            if found:
                return scenario, found
    return None, {}


def figures_at(
    metric: Metric, scenario: Scenario, position: Position, series: Iterable[Series]
) -> dict[Subject, Figure]:
    """Return each subject's figure of a metric at one point; ``series`` are of one way (see ``usual_way``)."""
    wanted = (metric, scenario, position)
    return {
        each.key.subject: Figure(
            each.by_label(),
            each.key.shown_unit,
            bool(np.count_nonzero(each.bounded) * 2 >= each.bounded.size),
            each.uncertainty,
        )
        for each in series
        if (each.key.metric, each.key.scenario, each.key.position) == wanted
    }


def _split(whole: Mapping[Subject, Figure], scenario: Scenario, series: Sequence[Series]) -> list[Row]:
    """Return the parts of a latency: before its sync (delivery and waiting for a turn), and the rest, paired."""
    waits: dict[Subject, Figure] = {}
    for metric in reversed(_WAITS):
        waits.update(figures_at(metric, scenario, Position.NONE, series))
    known = {subject: figure for subject, figure in waits.items() if subject in whole and not whole[subject].bounded}
    work = _joined({subject: whole[subject] for subject in known}, known, lambda all_, wait: max(0.0, all_ - wait))
    if not known:
        return []
    return [
        Row(Metric.SYNC_BEFORE, WAITING, "delivery, and the rate limiter", known, part=True, waits=True),
        Row(Metric.SYNC_END_TO_END, WORK, "rules made, applied, seen", work, part=True, waits=True),
    ]


def _taxed(found: Mapping[Subject, Figure], metric: Metric, series: Sequence[Series]) -> list[Row]:
    """Return how many times a connection on a node without rules it takes, paired."""
    bare = figures_at(Metric.FORWARDING_BARE, Scenario.STEADY, Position.NONE, series)
    times = _joined(found, bare, lambda value, zero: value / max(1.0, zero))
    shown = {subject: replace(figure, unit=TIMES) for subject, figure in times.items()}
    return [Row(metric, TAX, "paired by repetition", shown, part=True)] if shown else []


def _joined(
    found: Mapping[Subject, Figure], others: Mapping[Subject, Figure], join: Callable[[float, float], float]
) -> dict[Subject, Figure]:
    """Join each subject's two numbers, repetition by repetition; those that lack the second are left out.

    ``join`` grows with the first and falls with the second: with the first as large and the second as small as they may
    be, it says what the result is uncertain by.
    """
    result = {}
    for subject, figure in found.items():
        second = others[subject] if subject in others else Figure({}, figure.unit, bounded=False)
        labels = figure.values.keys() & second.values.keys()
        pairs = {label: (figure.values[label], second.values[label]) for label in sorted(labels)}
        values = {label: join(one, two) for label, (one, two) in pairs.items()}
        if values:
            most = [join(one + figure.uncertainty, two - second.uncertainty) for one, two in pairs.values()]
            unsure = float(np.median(np.array(most) - list(values.values())))
            result[subject] = Figure(values, figure.unit, figure.bounded, unsure)
    return result


def _per_second(value: float, window: float) -> float:
    """Return CPU time per second of the window, in ns per second."""
    return value * NS_PER_S / max(1.0, window)
