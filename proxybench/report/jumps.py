"""Jumps: where a number leaves its line between two sizes, as when a proxier changes its ways above some size.

kube-proxy's iptables mode has such a place (its large-cluster mode, above 1,000 endpoints). A jump is told by
``find_step`` at 0.1 % and shown from a tenth of the level before it, unless both ends' readings are as uncertain as
that: a bend of a per cent is no change of ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from proxybench.model import Metric
from proxybench.report.words import MINUS, POSITIONS, SCENARIOS, as_work
from proxybench.stats.curves import MIN_STEP_SIZES, find_step
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.model import Key
    from proxybench.stats.curves import FloatArray, Step
    from proxybench.stats.series import Series

Axis = Literal["services", "endpoints_per_service"]

WATCHED: dict[str, str] = {
    Metric.SYNC_END_TO_END: "sync latency",
    Metric.SYNC_CONTROL_LOOP: "the control loop's sync",
    Metric.CPU_CONTROL_LOOP: "the control loop's CPU time",
    Metric.FORWARDING_CONNECT: "time to connect",
    Metric.FORWARDING_FIRST_BYTE: "time to the first byte",
}
ALPHA = 0.001
LEAST = 0.1
_AXES: tuple[tuple[Axis, str], ...] = (("services", "Services"), ("endpoints_per_service", "endpoints of each Service"))


@dataclass(frozen=True)
class Jump:
    """A step of one curve along ``axis``; ``key`` is that of the curve's first point."""

    key: Key
    axis: Axis
    step: Step

    def sentence(self, name: str) -> str:
        """Say it in words; ``name`` is what its subject is called among the others."""
        noun = dict(_AXES)[self.axis]
        scenario = SCENARIOS.get(self.key.scenario, self.key.scenario)
        where = scenario if self.key.position == "none" else f"{scenario}, {POSITIONS[self.key.position].lower()}"
        sign = "+" if self.step.relative > 0 else MINUS
        percent = f"{sign}{100 * abs(self.step.relative):.0f} %"
        what = WATCHED[self.key.metric]
        what = as_work(what) if self.key.shown_unit == INSTRUCTIONS else what
        return f"{name}, {what} ({where}): {percent} between {self.step.after:,.0f} and {self.step.before:,.0f} {noun}"


def jumps(series: Iterable[Series]) -> tuple[Jump, ...]:
    """Find the jumps of all watched curves with at least five sizes, two repetitions and no time-out."""
    watched = [each for each in series if each.key.metric in WATCHED]
    return tuple(found for axis, _ in _AXES for curve in _curves(watched, axis) if (found := _jump(curve, axis)))


def _curves(series: Iterable[Series], axis: Axis) -> list[list[Series]]:
    grouped: dict[tuple[object, ...], list[Series]] = {}
    other = "endpoints_per_service" if axis == "services" else "services"
    for each in series:
        key = each.key
        names = ("subject", "scenario", "path", "family", "position", "metric", "clock", other)
        grouped.setdefault(tuple(getattr(key, name) for name in names), []).append(each)
    return [
        sorted(curve, key=lambda each: int(getattr(each.key, axis)))
        for _, curve in sorted(grouped.items())
        if len(curve) >= MIN_STEP_SIZES and not any(each.bounded.any() for each in curve)
    ]


def _jump(curve: list[Series], axis: Axis) -> Jump | None:
    by_label = [each.by_label() for each in curve]
    labels = sorted(set.intersection(*(set(each) for each in by_label)))
    values: FloatArray = np.array([[each[label] for each in by_label] for label in labels], dtype=np.float64)
    if not labels or np.any(values <= 0):
        return None
    sizes: FloatArray = np.array([getattr(each.key, axis) for each in curve], dtype=np.float64)
    step = find_step(sizes, values, ALPHA)
    if step is None or abs(step.relative) < LEAST:
        return None
    place = int(np.searchsorted(sizes, step.before))
    height = abs(step.relative) * float(values[:, place - 1].mean())
    # A jump that both ends' readings may explain is none.
    told = height > curve[place - 1].uncertainty + curve[place].uncertainty
    return Jump(curve[0].key, axis, step) if told else None
