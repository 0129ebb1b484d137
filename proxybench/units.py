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


def human(value: float, unit: str) -> str:
    """Write a value with three significant digits in the unit a person would choose: times and bytes have several."""
    if unit == "ns":
        return human_ns(value)
    if unit == "bytes":
        for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
            if abs(value) >= 1024**power:
                return f"{_three_digits(value / 1024**power)} {name}"
    return f"{_three_digits(value)} {unit}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"  # noqa: PLR2004 - what rounds to 1,000


def human_ns(value: float) -> str:
    """Write nanoseconds with three significant digits and the unit a person would choose."""
    for limit, unit in ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs")):
        if abs(value) >= 0.9995 * limit:  # what rounds to 1,000 of the smaller unit is 1 of this one
            digits = ".3g" if abs(value) < 1000 * limit else ".0f"
            return f"{value / limit:{digits}} {unit}"
    return f"{value:.0f} ns"
