"""How values, shares and verdicts are written for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxybench.gate.outcome import FAMILY_ALPHA
from proxybench.units import INSTRUCTIONS, human, resolved, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.gate.outcome import Comparison, Outcome

NOTHING = "-"


COUNTED = "Times are counts of executed instructions (k, M, G): work, no seconds."
"""What must stand below a table by the instruction clock whose cells lack the noun."""


_TIMES_FROM = 10.0  # of a share: from eleven times on, per cent are no help


def value(number: float, unit: str, uncertainty: float = 0.0, *, bounded: bool = False, noun: bool = True) -> str:
    """Write a value with its unit, which is that of ``Key.shown_unit``, as the report does.

    One that is not resolved is written as what it is less than, a time-out as ``> 20 s``. In a table's cell counted
    instructions go without their ``noun`` (see ``COUNTED``).
    """
    write = _writer(unit, noun=noun)
    return f"> {write(number, unit)}" if bounded else resolved(number, unit, uncertainty, write)


def base_value(item: Comparison, *, noun: bool = True) -> str:
    """Write the base's median."""
    if item.base is None:
        return NOTHING
    return value(item.base, item.key.shown_unit, item.base_uncertainty, bounded=item.base_bounded, noun=noun)


def new_value(item: Comparison, *, noun: bool = True) -> str:
    """Write the new run's median."""
    if item.new is None:
        return NOTHING
    return value(item.new, item.key.shown_unit, item.new_uncertainty, bounded=item.new_bounded, noun=noun)


def _shift(item: Comparison) -> str:
    """Write the shift: one that both readings may explain as what it is at most, to either side."""
    if item.shift is None:
        return NOTHING
    write, unit = _writer(item.key.shown_unit, noun=False), item.key.shown_unit
    unsure = item.base_uncertainty + item.new_uncertainty
    if unsure and abs(item.shift) <= unsure:
        return f"within ±{write(abs(item.shift) + unsure, unit)}"
    return write(item.shift, unit) if item.shift else "0"


def _writer(unit: str, *, noun: bool) -> Callable[[float, str], str]:
    return short if unit == INSTRUCTIONS and not noun else human


def share(number: float | None) -> str:
    """Write a share as signed per cent; a large one as how many times the base that is."""
    if number is None:
        return NOTHING
    return f"{100 * number:+.2f} %" if number < _TIMES_FROM else f"{float(f'{1 + number:.3g}'):,.0f} times"


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


def interval(item: Comparison) -> str:
    """Write the interval, "" for none.

    It has no upper end where the base is no larger than what its probes resolve, or repetitions are too few to tell.
    """
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
        base_value(item, noun=False),
        new_value(item, noun=False),
        _shift(item),
        share(item.relative),
        interval(item) or NOTHING,
        detects,
        NOTHING if item.p is None else f"{item.p:.2g}",
        f"{verdict}: {item.reason}" if item.reason else verdict,
    )


def line(item: Comparison) -> str:
    """Say one comparison in one line."""
    label = item.key.label()
    if item.base is None or item.new is None:
        return f"{label}: {item.verdict.value} ({item.reason})"
    found = interval(item)
    change = f", {share(item.relative)} ({found})" if found else ""
    return f"{label}: {item.verdict.value}, {base_value(item)} -> {new_value(item)}{change}" + (
        f": {item.reason}" if item.reason else ""
    )
