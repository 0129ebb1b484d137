"""How long a part of a sync took, by two clocks at once.

What a program or the kernel takes is a wait of the loop's, and counts by the monotonic clock. What the loop builds
itself counts by its thread's CPU time: the threads that read watches share the interpreter with it, and a busy
machine lets their answers arrive in the middle of it in one repetition and not in the next.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds of the monotonic clock and of this thread's CPU: a moment, or the difference of two."""

    elapsed_ns: int = 0
    cpu_ns: int = 0

    def __add__(self, other: Times) -> Times:
        return Times(self.elapsed_ns + other.elapsed_ns, self.cpu_ns + other.cpu_ns)

    def __sub__(self, other: Times) -> Times:
        return Times(self.elapsed_ns - other.elapsed_ns, self.cpu_ns - other.cpu_ns)


NO_TIME = Times()


def now() -> Times:
    """Return this moment."""
    return Times(time.monotonic_ns(), time.thread_time_ns())
