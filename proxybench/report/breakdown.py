"""Latencies taken apart: what was waiting, what was work, and whether the parts add up to what the probe saw.

A sum of medians is no median, so the parts are those of one repetition: the one with the median latency. What the parts
lack is *unexplained*; it must be within what both are uncertain by. What they have too much came after the answer: a
log ends a sync when it has tidied up, and no probe waits for that. So it can be no more than the applying of rules: an
answer from before that would be none to this change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.criteria import usual_way
from proxybench.report.shapes import Bar, BarPanel
from proxybench.report.tables import Cell, Table, merged
from proxybench.report.words import DASH, SCENARIOS, clock_short, count, exact, look, short, subject_names, with_clock
from proxybench.units import resolved, shown_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.model import Subject
    from proxybench.stats.series import Series

BEFORE, MAKING, APPLYING, UNSPLIT = (
    "before its sync: delivery, waiting for a turn",
    "making rules",
    "applying them: tool, kernel, tidying up",
    "the sync, not split",
)
WAIT, BUILD, TOOL, KERNEL = "waiting for its turn", "building rules", "in tools it ran", "in system calls"
AFTER, UNEXPLAINED = "after the answer", "unexplained"
_WAYS: tuple[tuple[tuple[str, Metric], ...], ...] = (
    ((BEFORE, Metric.SYNC_BEFORE), (MAKING, Metric.SYNC_MAKING), (APPLYING, Metric.SYNC_APPLYING)),
    ((BEFORE, Metric.SYNC_BEFORE), (UNSPLIT, Metric.SYNC_CONTROL_LOOP)),
    (
        (WAIT, Metric.SYNC_WAIT),
        (BUILD, Metric.SYNC_BUILD),
        (TOOL, Metric.SYNC_TOOL),
        (KERNEL, Metric.SYNC_KERNEL),
    ),
    ((BUILD, Metric.SYNC_BUILD), (TOOL, Metric.SYNC_TOOL), (KERNEL, Metric.SYNC_KERNEL)),
)
"""By kube-proxy's log, by its metrics, and by the reference's own word; the first that a point has is taken."""

_LATE = frozenset({APPLYING, UNSPLIT, TOOL, KERNEL})
"""What the answer may come in the middle of."""

METRICS = tuple(dict.fromkeys(metric for way in _WAYS for _, metric in way))
_SCENARIO_ORDER = list(SCENARIOS)


@dataclass(frozen=True)
class Breakdown:
    """One latency and its parts, in ``unit``, of the repetition with the median latency.

    ``rest`` is the latency without its parts: below 0 where the answer came before their end. It is uncertain by
    ``uncertainty``; the parts of ``within`` of ``repetitions`` add up to their latency.
    """

    subject: Subject
    scenario: str
    services: int
    endpoints: int
    clock: str
    whole: float
    parts: tuple[tuple[str, float], ...]
    uncertainty: float
    within: int
    repetitions: int
    unsure: float = 0.0  # of the latency alone

    @property
    def unit(self) -> str:
        """The unit in which people are told it."""
        return shown_unit("ns", self.clock)

    @property
    def rest(self) -> float:
        """What the parts do not explain."""
        return self.whole - sum(value for _, value in self.parts)

    @property
    def agrees(self) -> bool:
        """Whether its parts add up to it."""
        return _agrees(self.rest, sum(value for name, value in self.parts if name in _LATE), self.uncertainty)

    @property
    def stack(self) -> tuple[tuple[str, float], ...]:
        """The parts until the answer, and what is unexplained, or what came after it."""
        left, kept = self.whole, []
        for name, value in self.parts:
            kept.append((name, min(value, max(0.0, left))))
            left -= value
        return (*kept, (UNEXPLAINED, left) if left > 0 else (AFTER, -left))


def break_down(series: Sequence[Series]) -> list[Breakdown]:
    """Return every latency that can be taken apart, in the order of reading; those that timed out cannot."""
    points: dict[tuple[object, ...], dict[str, Series]] = {}
    for each in usual_way(series):
        key = each.key
        if key.metric == Metric.SYNC_END_TO_END or key.metric in METRICS:
            place = (key.subject, str(key.scenario), key.services, key.endpoints_per_service, str(key.clock))
            points.setdefault(place, {})[key.metric] = each
    found = [one for each in points.values() if (one := _breakdown(each)) is not None]
    return sorted(found, key=lambda each: (each.clock, _rank(each.scenario), each.endpoints, each.services))


def breakdown_panels(found: Sequence[Breakdown]) -> list[BarPanel]:
    """Return one panel per scenario, with a group of stacks per size."""
    labels = subject_names(each.subject for each in found)
    widths = len({each.endpoints for each in found}) > 1
    panels: dict[tuple[str, str], dict[str, list[Bar]]] = {}
    for each in found:
        size = count(each.services, "Service") + (f", {count(each.endpoints, 'endpoint')} each" if widths else "")
        bar = Bar(look(each.subject), labels[each.subject], each.stack, each.whole, uncertainty=each.unsure)
        panels.setdefault((each.scenario, each.clock), {}).setdefault(size, []).append(bar)
    return [
        BarPanel(
            SCENARIOS.get(scenario, scenario),
            with_clock("time until the answer", "ns", clock),
            tuple((size, tuple(bars)) for size, bars in groups.items()),
            unit=shown_unit("ns", clock),
        )
        for (scenario, clock), groups in panels.items()
    ]


def breakdown_table(found: Sequence[Breakdown], clock: str) -> Table:
    """Return one row per latency, with each part, the rest, and whether that is within the uncertainty."""
    labels = subject_names(each.subject for each in found)
    names = list(dict.fromkeys(name for way in _WAYS for name, _ in way))
    clocks = len({each.clock for each in found}) > 1
    shown = [name for name in names if any(name in dict(each.parts) for each in found)]
    heads = (
        *(Cell("Scenario"), Cell("Services", number=True), Cell("Subject")),
        *((Cell("Clock"),) if clocks else ()),
        Cell("Until the answer", number=True),
        *(Cell(name.partition(":")[0].capitalize(), number=True) for name in shown),
        *(Cell("Rest", number=True), Cell("Add up?")),
    )
    return Table(
        f"Of the repetition with the median latency: its parts, and what they leave ({clock})",
        heads,
        merged([_row(each, labels[each.subject], shown, clocks=clocks) for each in found], 2),
        4 if clocks else 3,
    )


def _row(each: Breakdown, label: str, shown: Sequence[str], *, clocks: bool) -> tuple[Cell, ...]:
    parts = dict(each.parts)
    return (
        Cell(SCENARIOS.get(each.scenario, each.scenario)),
        Cell(f"{each.services:,}", sort=str(each.services), number=True),
        Cell(label, mode=look(each.subject)),
        *((Cell(clock_short(each.clock)),) if clocks else ()),
        _amount(
            each.whole,
            each.unit,
            f"± {short(each.uncertainty, each.unit)}" if each.uncertainty else "",
            unsure=each.unsure,
        ),
        *(_amount(parts[name], each.unit) if name in parts else Cell(DASH, number=True) for name in shown),
        _amount(each.rest, each.unit),
        _verdict(each),
    )


def _verdict(each: Breakdown) -> Cell:
    of = f"in {each.within} of {count(each.repetitions, 'repetition')}"
    if each.agrees:
        return Cell("yes", of if each.rest >= 0 else f"answered before the sync's end; {of}", state="pass")
    told = "unexplained" if each.rest > 0 else "too much"
    return Cell(f"no: {short(abs(each.rest), each.unit)} {told}", of, state="fail")


def _amount(value: float, unit: str, detail: str = "", *, unsure: float = 0.0) -> Cell:
    return Cell(resolved(value, unit, unsure, short), detail, exact(value, unit), str(value), number=True)


def _agrees(rest: float, late: float, unsure: float) -> bool:
    """Tell whether parts explain a latency, of which ``late`` may have come after the answer."""
    return -late - unsure <= rest <= unsure


def _breakdown(point: Mapping[str, Series]) -> Breakdown | None:
    whole = point.get(Metric.SYNC_END_TO_END)
    way = next((way for way in _WAYS if all(metric in point for _, metric in way)), None)
    if whole is None or way is None or whole.bounded.any():
        return None
    values = {metric: one.by_label() for metric, one in point.items()}
    labels = [label for label in whole.labels if all(label in values[metric] for _, metric in way)]
    if not labels:
        return None
    latencies = values[Metric.SYNC_END_TO_END]
    middle = sorted(labels, key=lambda label: latencies[label])[(len(labels) - 1) // 2]
    known = [whole.unsure(), *(point[metric].unsure() for _, metric in way)]
    unsure = {label: sum(each[label] for each in known) for label in labels}
    rests = {label: latencies[label] - sum(values[metric][label] for _, metric in way) for label in labels}
    late = {label: sum(values[metric][label] for name, metric in way if name in _LATE) for label in labels}
    key = whole.key
    return Breakdown(
        key.subject,
        str(key.scenario),
        key.services,
        key.endpoints_per_service,
        str(key.clock),
        latencies[middle],
        tuple((name, values[metric][middle]) for name, metric in way),
        unsure[middle],
        sum(_agrees(rest, late[label], unsure[label]) for label, rest in rests.items()),
        len(labels),
        whole.unsure()[middle],
    )


def _rank(scenario: str) -> int:
    return _SCENARIO_ORDER.index(scenario) if scenario in _SCENARIO_ORDER else len(_SCENARIO_ORDER)
