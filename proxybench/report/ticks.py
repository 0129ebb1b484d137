"""Where an axis has its marks: round numbers, in powers of two for bytes, no more than there is room for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DECIMAL = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
_BINARY = ((1.0, 1.25, 1.5, 1.75), (1.0, 1.5), (1.0,))


def log_ticks(low: float, high: float, unit: str, most: int = 6) -> list[float]:
    """Return at most ``most`` round numbers from ``low`` to ``high`` (above 0), evenly spaced on a logarithmic axis."""
    base, sets = (2.0, _BINARY) if unit == "bytes" else (10.0, _DECIMAL)
    for factors in sets:
        found = _powers(low, high, base, factors, 1)
        if len(found) <= most:
            return found
    step = 2
    while len(found := _powers(low, high, base, (1.0,), step)) > most:
        step += 1
    return found


def linear_ticks(low: float, high: float, unit: str, most: int = 6) -> list[float]:
    """Return at most ``most`` multiples of a round step from ``low`` to ``high``."""
    base, factors = (2.0, (1.0,)) if unit == "bytes" else (10.0, (1.0, 2.0, 5.0, 10.0))
    least = (high - low) / most
    power = base ** math.floor(math.log(least, base)) if least > 0 else 1.0
    for factor in (*factors, *(factor * base for factor in factors)):
        step = power * factor
        first, last = math.ceil(low / step), math.floor(high / step)
        if step > 0 and last - first < most:
            return [number * step for number in range(first, last + 1)]
    raise AssertionError("a step of twice the base leaves fewer marks than asked for")


def without_overlap(places: Sequence[float], widths: Sequence[float], gap: float) -> list[int]:
    """Return which labels (middles, ascending, and widths) can stand side by side, the last one first of all."""
    kept: list[int] = []
    left = math.inf
    for number in reversed(range(len(places))):
        if places[number] + widths[number] / 2 + gap <= left:
            kept.append(number)
            left = places[number] - widths[number] / 2
    return kept[::-1]


def _powers(low: float, high: float, base: float, factors: Sequence[float], step: int) -> list[float]:
    first, last = math.floor(math.log(low, base)) - 1, math.ceil(math.log(high, base)) + 1
    candidates = (base**power * factor for power in range(first, last + 1) if power % step == 0 for factor in factors)
    return [value for value in candidates if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
