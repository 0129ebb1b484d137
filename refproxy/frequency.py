"""When the next sync may run: kube-proxy's bounded-frequency runner without its goroutines; pure.

Definition: k8s.io/kubernetes/pkg/util/async BoundedFrequencyRunner. A token bucket (one token per minimum interval,
``burst`` at most) lets a request run at once; without a token it waits for the minimum interval after the end of
the last run. Without requests a run comes after the maximum interval.
"""

from __future__ import annotations


class BoundedFrequency:
    """Decides when to run; all times are monotonic nanoseconds given by the caller."""

    def __init__(self, min_ns: int, max_ns: int, now: int, burst: int = 2) -> None:
        self._min = min_ns
        self._max = max(max_ns, min_ns)
        self._full = burst * min_ns
        self._credit = self._full  # of runs, in nanoseconds: one run takes the minimum interval
        self._filled_at = now
        self._last_end = now
        self._next = now + self._max

    @property
    def next(self) -> int:
        """The moment of the next run, as far as is known."""
        return self._next

    def request(self, now: int) -> None:
        """Ask for a run as soon as the limits allow one."""
        self._next = min(self._next, self._possible(now))

    def allows(self, now: int) -> bool:
        """Tell whether a request made now could run at once; changes nothing, so any thread may ask."""
        return self._credit_at(now) >= self._min

    def retry_after(self, now: int, delay_ns: int) -> None:
        """Ask for a run after a failure, ``delay_ns`` from now."""
        self._next = min(self._next, now + delay_ns)

    def due(self, now: int) -> bool:
        """Tell whether a run is due now; if it is, it counts as begun."""
        if now < self._next:
            return False
        possible = self._possible(now)
        if possible > now:
            self._next = possible
            return False
        self._credit -= self._min
        return True

    def ended(self, now: int) -> None:
        """Note the end of a run; the next one is then due after the maximum interval."""
        self._last_end = now
        self._next = now + self._max

    def _possible(self, now: int) -> int:
        """Return the first moment at which the limits allow a run."""
        self._credit = self._credit_at(now)
        self._filled_at = now
        if self._credit >= self._min:
            return now
        return max(self._last_end + self._min, now + self._min - self._credit)

    def _credit_at(self, now: int) -> int:
        return min(self._full, self._credit + now - self._filled_at)
