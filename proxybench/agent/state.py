"""What the agent remembers between requests."""

from __future__ import annotations

import errno
import time

from proxybench.agent.fields import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from proxybench.agent.exchange import Talk
    from proxybench.agent.http import Api
    from proxybench.agent.spawn import Process


class PortWalk:
    """Hands out source ports one after the other, so that none is used twice within the range's length.

    A port that comes back too soon meets what the kernel remembers of its former connection: conntrack and IPVS
    keep a reset connection for 10 s, and IPVS may delay or misdirect a SYN that meets one. The range holds 50,000
    ports; a walk that starts at a place given by the clock keeps two agents in a row apart as well. Measurements
    of up to 5,000 connections per second stay clear of all this. ``next`` is the next port's number within the range.
    """

    FIRST = 10240
    COUNT = 50_000

    def __init__(self, start: int | None = None) -> None:
        self.next = (time.monotonic_ns() // 1_000_000) % self.COUNT if start is None else start % self.COUNT

    def bind(self, sock: socket.socket, host: str = "") -> int:
        """Bind ``sock`` to the next free port of the range and return it; raise OpError when none is free.

        ``host`` is the source address ("": whichever the route says).
        """
        for _ in range(self.COUNT):
            port = self.FIRST + self.next
            self.next = (self.next + 1) % self.COUNT
            try:
                sock.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
        raise OpError("no source port is free")


class State:
    """The API's credentials, the spawned processes, walks over source ports, kept connections, and pipes of watches."""

    def __init__(self) -> None:
        self.api: Api | None = None
        self.processes: dict[int, Process] = {}
        self.ports = PortWalk()
        self.talks: dict[str, Talk] = {}
        self.watch_ports = PortWalk(self.ports.next + PortWalk.COUNT // 2)  # they meet after 25,000 ports
        self.watches: dict[int, int] = {}
        self.stood_still = False  # since the request under way began: stopped by a signal, and continued

    def note_continued(self, _number: int, _frame: object) -> None:
        """Note that the agent was stopped: it got SIGCONT."""
        self.stood_still = True
