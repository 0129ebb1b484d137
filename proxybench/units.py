"""Units and clocks: the only place where numbers meet their meaning."""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Time as seen by the orchestrator; injected, so that tests own it."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back."""
        ...

    def utc_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def utc_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        time.sleep(seconds)


_SCALES = {
    "ns": ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs")),
    "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")),
}


def scale(value: float, unit: str) -> tuple[int, str]:
    """Return what to divide values of about this size by, and the unit they are in then: what a person would choose."""
    for divisor, name in _SCALES.get(unit, ()):
        if abs(value) >= 0.9995 * divisor:  # what rounds to 1,000 of the smaller unit is 1 of this one
            return divisor, name
    return 1, unit


def human(value: float, unit: str) -> str:
    """Write a value with three significant digits in the unit a person would choose: times and bytes have several."""
    divisor, name = scale(value, unit)
    number = value / divisor
    whole = abs(number) >= 999.5 or (divisor == 1 and unit == "ns")  # noqa: PLR2004 - what rounds to 1,000
    return f"{number:{'.0f' if whole else '.3g'}} {name}"
