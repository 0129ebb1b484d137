"""The relay's event loop: one epoll, a handler per file descriptor, and a few deadlines off the hot path."""

from __future__ import annotations

import select
import time
from collections import deque
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_EVENTS_PER_TURN = 256
_STEPS_PER_TURN = 32


class Timer:
    """A call that is due once; cancelled by setting ``call`` to None."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call


class Loop:
    """Calls handlers as their descriptors become ready; background work is done in small steps between."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._work: deque[Iterator[None]] = deque()
        self._sockets: dict[int, socket] = {}
        self._dead: list[socket] = []
        self._worked_ns = 0
        self._step_began_ns: int | None = None
        self.running = True

    @property
    def worked_ns(self) -> int:
        """CPU time (ns) of background work until now, that of the step at hand included."""
        begun = self._step_began_ns
        return self._worked_ns + (0 if begun is None else time.process_time_ns() - begun)

    def add(self, watched: socket, events: int, handler: Callable[[int], None]) -> None:
        """Watch a socket; the handler is given the events that came."""
        descriptor = watched.fileno()
        self._sockets[descriptor] = watched
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Watch a descriptor for other events; with 0 not at all, not even for errors, which would spin."""
        if events == 0:
            self._silence(descriptor)
            return
        try:
            self._epoll.modify(descriptor, events)
        except FileNotFoundError:
            self._epoll.register(descriptor, events)

    def remove(self, watched: socket) -> None:
        """Watch a socket no more, but keep it open."""
        descriptor = watched.fileno()
        del self._handlers[descriptor], self._sockets[descriptor]
        self._silence(descriptor)

    def discard(self, dead: socket) -> None:
        """Watch a socket no more and close it at the end of this turn.

        Not at once: a new socket would get its number, and with it the events of this turn meant for the old one.
        """
        if dead.fileno() in self._handlers:
            self.remove(dead)
        self._dead.append(dead)

    def bury(self) -> None:
        """Close what was discarded; only background work may call this, for all events of the turn are done then."""
        for dead in self._dead:
            dead.close()
        self._dead.clear()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after so many seconds."""
        timer = Timer(call)
        heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def background(self, work: Iterator[None]) -> None:
        """Run a long job in steps; jobs are done one after the other, as they were given."""
        self._work.append(work)

    def run(self) -> None:
        """Serve until ``running`` is False."""
        handlers = self._handlers
        while self.running:
            for descriptor, events in self._epoll.poll(self._timeout(), _EVENTS_PER_TURN):
                handler = handlers.get(descriptor)
                if handler is not None:  # else discarded by a handler before it in this turn
                    handler(events)
            if self._timers:
                self._run_timers()
            if self._dead:
                self.bury()
            if self._work:
                self._step()

    def close(self) -> None:
        """Close all sockets that are still watched."""
        for watched in list(self._sockets.values()):
            self.discard(watched)
        self.bury()
        self._epoll.close()

    def _silence(self, descriptor: int) -> None:
        with suppress(FileNotFoundError):  # it may be silent already
            self._epoll.unregister(descriptor)

    def _timeout(self) -> float:
        if self._work:
            return 0.0
        while self._timers and self._timers[0][2].call is None:
            heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            call = heappop(self._timers)[2].call
            if call is not None:
                call()

    def _step(self) -> None:
        self._step_began_ns = time.process_time_ns()
        self._advance(self._work[0])
        self._worked_ns, self._step_began_ns = self.worked_ns, None

    def _advance(self, work: Iterator[None]) -> None:
        for _ in range(_STEPS_PER_TURN):
            try:
                next(work)
            except StopIteration:
                self._work.popleft()
                return
