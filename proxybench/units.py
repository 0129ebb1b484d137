"""Units and clocks: the only place where numbers meet their meaning."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

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


INSTRUCTIONS = "instructions"
"""The unit of counted work, and the clock that counts it."""

_SCALES: dict[str, tuple[tuple[int, str], ...]] = {
    "ns": ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs")),
    INSTRUCTIONS: tuple((10**power, f"{letter} {INSTRUCTIONS}") for power, letter in ((9, "G"), (6, "M"), (3, "k"))),
    "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")),
}


def shown_unit(unit: str, clock: str) -> str:
    """Return the unit in which people are told a number: the instruction clock's nanoseconds are instructions, no time.

    What is stored keeps its unit, so that runs and baselines stay comparable.
    """
    return INSTRUCTIONS if unit == "ns" and clock == INSTRUCTIONS else unit


def scale(value: float, unit: str) -> tuple[int, str]:
    """Return what to divide values of about this size by, and the unit they are in then: what a person would choose."""
    if unit == "ppm":
        return 10_000, "%"
    for divisor, name in _SCALES.get(unit, ()):
        if abs(value) >= 0.9995 * divisor:  # what rounds to 1,000 of the smaller unit is 1 of this one
            return divisor, name
    return 1, unit


def human(value: float, unit: str) -> str:
    """Write a value with three significant digits in the unit a person would choose: times and bytes have several."""
    divisor, name = scale(value, unit)
    number = value / divisor
    whole = abs(number) >= 999.5 or (divisor == 1 and unit in {"ns", INSTRUCTIONS})  # noqa: PLR2004 - as in scale
    return f"{number:{'.0f' if whole else '.3g'}} {name}"


_LEAST = {"ns": NS_PER_US, INSTRUCTIONS: 1_000}
"""What is told from 0: the kernel's accounts of CPU time and kube-proxy's log are in whole microseconds."""


def least(value: float, unit: str, uncertainty: float = 0.0) -> float | None:
    """Return what a value that is not resolved is less than, None for one that is.

    It is not resolved where it is no larger than what it is uncertain by: then it is both together at most. A time of 0
    is less than what is told from 0; of what is counted, 0 is 0.
    """
    if 0 <= value <= uncertainty and uncertainty > 0:
        return value + uncertainty
    return _LEAST.get(unit) if value == 0 else None


def resolved(
    value: float, unit: str, uncertainty: float = 0.0, write: Callable[[float, str], str] | None = None
) -> str:
    """Write a value as ``write`` does (left out: ``human``), or what it is less than: ``< 1 µs``, ``≤ 2 ms``."""
    wording = write or human
    bound = least(value, unit, uncertainty)
    if bound is None:
        return wording(value, unit)
    return f"{'≤' if uncertainty else '<'} {wording(bound, unit)}"


def short(value: float, unit: str) -> str:
    """Write a value as ``human`` does; of instructions and mere counts without the noun, which stands elsewhere."""
    if unit == INSTRUCTIONS:
        return human(value, unit).removesuffix(INSTRUCTIONS).rstrip()
    if unit in _SCALES or unit == "ppm":
        return human(value, unit)
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.4g}"  # noqa: PLR2004 - as in human
