"""How values, shares and verdicts are written for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxybench.gate.outcome import FAMILY_ALPHA
from proxybench.units import INSTRUCTIONS, human, short

if TYPE_CHECKING:
    from proxybench.gate.outcome import Comparison, Outcome

NOTHING = "-"


COUNTED = "Times are counts of executed instructions (k, M, G): work, no seconds."
"""What must stand below a table by the instruction clock whose cells lack the noun."""


def value(number: float | None, unit: str) -> str:
    """Write a value with its unit, which is that of ``Key.shown_unit``."""
    return NOTHING if number is None else human(number, unit)


def amount(number: float | None, unit: str) -> str:
    """Write a value for a table's cell: counted instructions without their noun (see ``COUNTED``)."""
    return value(number, unit) if unit != INSTRUCTIONS or number is None else short(number, unit)


def share(number: float | None) -> str:
    """Write a share as signed per cent."""
    return NOTHING if number is None else f"{100 * number:+.2f} %"


def clock_name(clock: str) -> str:
    """Name a clock."""
    return "instruction clock" if clock == INSTRUCTIONS else f"{clock} clock"


def columns(outcome: Outcome) -> tuple[str, ...]:
    """Return the heads of the table; that of the interval says with what confidence it holds, and for what."""
    interval = f"Interval ({_level(FAMILY_ALPHA)}, all {outcome.family} at once)"
    return ("Metric", "Point", "Base", "New", "Shift", "Change", interval, "Detects", "p", "Verdict")


def intervals(outcome: Outcome) -> str:
    """Say how the intervals are made, and what the amounts are."""
    counted = f" {COUNTED}" if outcome.clock == INSTRUCTIONS else ""
    return (
        f"The intervals of all {outcome.family} judged numbers hold at once with {_level(FAMILY_ALPHA)} confidence: "
        f"each is one of {_level(FAMILY_ALPHA / outcome.family)} (Bonferroni).{counted}"
    )


def _level(alpha: float) -> str:
    return f"{100 * (1 - alpha):.7g} %"


def _interval(item: Comparison) -> str:
    """Write the interval: without an upper end where the base is no larger than what its probes resolve."""
    if item.low is None or item.high is None:
        return ""
    if math.isfinite(item.high):
        return f"{share(item.low)} to {share(item.high)}"
    return f"above {share(item.low)}" if item.low > -1 else ""


def cells(item: Comparison) -> tuple[str, ...]:
    """Return one table row, in the order of ``columns``."""
    key = item.key
    detects = NOTHING if item.detectable is None else f"{100 * item.detectable:.2f} %"
    verdict = item.verdict.value if item.judged else f"({item.verdict.value})"
    return (
        key.metric,
        key.place(),
        amount(item.base, key.shown_unit),
        amount(item.new, key.shown_unit),
        amount(item.shift, key.shown_unit),
        share(item.relative),
        _interval(item) or NOTHING,
        detects,
        NOTHING if item.p is None else f"{item.p:.2g}",
        f"{verdict}: {item.reason}" if item.reason else verdict,
    )


def line(item: Comparison) -> str:
    """Say one comparison in one line."""
    key, unit = item.key, item.key.shown_unit
    if item.base is None or item.new is None:
        return f"{key.label()}: {item.verdict.value} ({item.reason})"
    interval = _interval(item)
    change = f", {share(item.relative)} ({interval})" if interval else ""
    return f"{key.label()}: {item.verdict.value}, {value(item.base, unit)} -> {value(item.new, unit)}{change}" + (
        f": {item.reason}" if item.reason else ""
    )
