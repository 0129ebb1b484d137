"""A clock that a test owns."""

from __future__ import annotations

from proxybench.units import NS_PER_S


class FakeClock:
    """Time that passes only when somebody sleeps or calls ``advance``; both count on by the same.

    ``now`` is the monotonic time in ns; ``utc`` is that of the day (by default the same number). ``slept`` holds each
    wait in seconds. With ``may_sleep`` false a wait is an AssertionError.
    """

    def __init__(self, now: int = 0, utc: int | None = None, *, may_sleep: bool = True) -> None:
        self.now = now
        self.utc = now if utc is None else utc
        self.slept: list[float] = []
        self._may_sleep = may_sleep

    def monotonic_ns(self) -> int:
        """Return ``now``."""
        return self.now

    def utc_ns(self) -> int:
        """Return ``utc``."""
        return self.utc

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        if not self._may_sleep:
            raise AssertionError(f"a wait of {seconds:g} s where nothing should wait")
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let the time pass without anybody sleeping."""
        self.now += round(seconds * NS_PER_S)
        self.utc += round(seconds * NS_PER_S)
