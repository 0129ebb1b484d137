"""What a watch does to one address: new connections, datagrams from one port, or one connection that is held.

Every attempt ends as ``answered``, ``wrong`` (by an endpoint that was not expected), ``refused``, ``unreachable``,
``reset`` (also: closed without a word) or ``silent`` (no answer in time).
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import deque

from proxybench.agent.fields import OpError, family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import PortWalk

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: no TIME_WAIT
LINE_LIMIT = 256
CHUNK = 65_536
LONGEST_WAIT_NS = 10 * NS_PER_S
OUTCOMES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "silent",
}


class Attempt:
    """One connection or datagram: when it was sent, what became of it ("" while that is open), what was heard."""

    __slots__ = ("heard", "outcome", "sent_ns", "sock")

    def __init__(self, sent_ns: int, sock: socket.socket | None = None) -> None:
        self.sent_ns = sent_ns
        self.sock = sock
        self.outcome = ""
        self.heard = b""


class Stretch:
    """So many attempts of one outcome, the first and the last of them sent then."""

    __slots__ = ("count", "first_ns", "last_ns", "outcome")

    def __init__(self, outcome: str, sent_ns: int) -> None:
        self.outcome = outcome
        self.first_ns = self.last_ns = sent_ns
        self.count = 0

    def add(self, sent_ns: int) -> None:
        """Count one more."""
        self.first_ns = min(self.first_ns, sent_ns)
        self.last_ns = max(self.last_ns, sent_ns)
        self.count += 1

    def json(self) -> dict[str, int]:
        """Return the numbers."""
        return {"first_ns": self.first_ns, "last_ns": self.last_ns, "count": self.count}


class Timeline:
    """Outcomes in the order of sending, as stretches of equal ones: when the first and last were sent, and how many.

    ``answers`` holds the same for each endpoint, of what it answered.
    ``gap_ns`` is the longest time between two attempts: what is shorter may have been missed.
    """

    def __init__(self) -> None:
        self._open: deque[Attempt] = deque()
        self._last_ns: int | None = None
        self.stretches: list[Stretch] = []
        self.answers: dict[str, Stretch] = {}
        self.gap_ns = 0

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt that was sent just now."""
        if self._last_ns is not None:
            self.gap_ns = max(self.gap_ns, attempt.sent_ns - self._last_ns)
        self._last_ns = attempt.sent_ns
        self._open.append(attempt)

    def close(self, attempt: Attempt, outcome: str, by: str = "") -> None:
        """Take in what became of an attempt."""
        attempt.outcome = outcome
        if by:
            self.answers.setdefault(by, Stretch(outcome, attempt.sent_ns)).add(attempt.sent_ns)
        while self._open and self._open[0].outcome:
            self._append(self._open.popleft())

    def result(self) -> dict[str, object]:
        """Return it as JSON values; attempts that are still open are left out."""
        stretches = [{"outcome": one.outcome, **one.json()} for one in self.stretches]
        return {
            "stretches": stretches,
            "answers": {by: one.json() for by, one in self.answers.items()},
            "gap_ns": self.gap_ns,
        }

    def _append(self, attempt: Attempt) -> None:
        if not self.stretches or self.stretches[-1].outcome != attempt.outcome:
            self.stretches.append(Stretch(attempt.outcome, attempt.sent_ns))
        self.stretches[-1].add(attempt.sent_ns)


class Watcher(ABC):
    """The common part: an address, and when to try it next. ``expect`` names the endpoints that may answer."""

    _poller: select.epoll

    def __init__(self, fields: Fields, ports: PortWalk) -> None:
        self.label = fields.text("label")
        host = fields.text("host")
        self._family = family_of(host)
        self.address = (host, fields.whole("port", 1, 65535))
        self.interval_ns = fields.whole("interval_ms", 1, 60_000) * NS_PER_MS
        self.timeout_ns = fields.whole("timeout_ms", 1, 60_000) * NS_PER_MS
        expect = fields.maybe_texts("expect")
        fields.finish()
        self._expect = None if expect is None else frozenset(expect)
        self._ports = ports
        self._due_ns = 0
        self.descriptors: dict[int, Attempt] = {}
        self.timeline = Timeline()

    def start(self, poller: select.epoll, due_ns: int) -> None:
        """Be ready to try first at ``due_ns``. Raises OpError when that cannot be."""
        self._poller, self._due_ns = poller, due_ns

    def launch(self, now: int) -> int:
        """Try if it is time to; return when it is next."""
        if now >= self._due_ns:
            self.send(now)
            self._due_ns = now + self.interval_ns
        return self._due_ns

    @abstractmethod
    def send(self, now: int) -> None:
        """Try once."""

    @abstractmethod
    def hear(self, descriptor: int) -> None:
        """Read what arrived."""

    @abstractmethod
    def expire(self, now: int) -> None:
        """Give up what was not answered in time."""

    @abstractmethod
    def deadline_ns(self) -> int:
        """Return until when an answer may still come; 0 when none is awaited."""

    def result(self) -> dict[str, object]:
        """Return what was seen."""
        return self.timeline.result()

    def _judge(self, attempt: Attempt, by: str) -> None:
        good = self._expect is None or by in self._expect
        self.timeline.close(attempt, "answered" if good else "wrong", by)


class Tcp(Watcher):
    """A new connection each time; its answer is the endpoint's first line."""

    def send(self, now: int) -> None:
        """Connect."""
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._ports.bind(sock)
        attempt = Attempt(now, sock)
        self.timeline.add(attempt)
        code = sock.connect_ex(self.address)
        if code in (0, errno.EINPROGRESS):
            self.descriptors[sock.fileno()] = attempt
            self._poller.register(sock.fileno(), select.EPOLLIN)
        else:
            sock.close()
            self.timeline.close(attempt, OUTCOMES.get(code, "unreachable"))

    def hear(self, descriptor: int) -> None:
        """Read the endpoint's line."""
        attempt = self.descriptors[descriptor]
        if attempt.sock is None:
            return
        try:
            piece = attempt.sock.recv(LINE_LIMIT)
        except BlockingIOError:
            # An ICMP error that came while the SYN was under way is not told by recv, and would wake the loop for ever.
            code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._drop(descriptor)
                self.timeline.close(attempt, OUTCOMES.get(code, "unreachable"))
            return
        except OSError as error:
            self._drop(descriptor)
            self.timeline.close(attempt, OUTCOMES.get(error.errno or 0, "reset"))
            return
        attempt.heard += piece
        if b"\n" in attempt.heard:
            self._drop(descriptor)
            self._judge(attempt, attempt.heard.split(b" ", 1)[0].decode("ascii", "replace"))
        elif not piece or len(attempt.heard) >= LINE_LIMIT:
            self._drop(descriptor)
            self.timeline.close(attempt, "reset")

    def expire(self, now: int) -> None:
        """Give up the connections that are too old, which are the first ones."""
        while self.descriptors:
            descriptor, attempt = next(iter(self.descriptors.items()))
            if now - attempt.sent_ns < self.timeout_ns:
                return
            self._drop(descriptor)
            self.timeline.close(attempt, "silent")

    def deadline_ns(self) -> int:
        """Return when the youngest is given up."""
        return max((attempt.sent_ns for attempt in self.descriptors.values()), default=-self.timeout_ns) + (
            self.timeout_ns
        )

    def _drop(self, descriptor: int) -> None:
        attempt = self.descriptors.pop(descriptor)
        if attempt.sock is not None:
            attempt.sock.close()


class Udp(Watcher):
    """Datagrams from one port that is kept: what conntrack remembers of it is what later ones meet.

    An ICMP error is taken for the answer to the oldest datagram that has none; the kernel limits how many it sends, so
    some of those that were refused look silent.
    """

    def start(self, poller: select.epoll, due_ns: int) -> None:
        """Take the port."""
        super().start(poller, due_ns)
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM)
        self._sock.settimeout(0)
        self._ports.bind(self._sock)
        self._sock.connect(self.address)
        self._waiting: dict[int, Attempt] = {}
        self._number = 0
        self.descriptors[self._sock.fileno()] = Attempt(due_ns, self._sock)
        poller.register(self._sock.fileno(), select.EPOLLIN)

    def send(self, now: int) -> None:
        """Send a datagram that bears its number."""
        self._number += 1
        attempt = self._waiting[self._number] = Attempt(now)
        self.timeline.add(attempt)
        for _ in range(2):  # the first call may be told of an earlier datagram's error instead
            try:
                self._sock.send(str(self._number).encode())
            except OSError as error:
                self._refused(error)
            else:
                return

    def hear(self, descriptor: int) -> None:  # noqa: ARG002 - it has but one
        """Read all answers."""
        while True:
            try:
                line, _, payload = self._sock.recv(CHUNK).partition(b"\n")
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
                continue
            attempt = self._waiting.pop(int(payload), None) if payload.isdigit() else None
            if attempt is not None:  # one that was given up stays so
                self._judge(attempt, line.split(b" ", 1)[0].decode("ascii", "replace"))

    def expire(self, now: int) -> None:
        """Give up the datagrams that are too old."""
        while self._waiting:
            number, attempt = next(iter(self._waiting.items()))
            if now - attempt.sent_ns < self.timeout_ns:
                return
            del self._waiting[number]
            self.timeline.close(attempt, "silent")

    def deadline_ns(self) -> int:
        """Return when the youngest is given up."""
        return max((attempt.sent_ns for attempt in self._waiting.values()), default=-self.timeout_ns) + self.timeout_ns

    def _refused(self, error: OSError) -> None:
        if self._waiting:
            attempt = self._waiting.pop(next(iter(self._waiting)))
            self.timeline.close(attempt, OUTCOMES.get(error.errno or 0, "unreachable"))


class Held(Watcher):
    """One connection that was established before: a line is sent again and again, and must come back."""

    def start(self, poller: select.epoll, due_ns: int) -> None:
        """Connect, and wait for the endpoint's first line. Raises OpError when it does not come in time."""
        super().start(poller, due_ns)
        limit_s = self.timeout_ns / NS_PER_S
        host, port = self.address
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.settimeout(limit_s)
        try:
            self._ports.bind(sock)
            sock.connect(self.address)
            sock.recv(LINE_LIMIT)
        except OSError as error:
            raise OpError(f"no connection to {host}:{port} could be held: {error.strerror or error}") from None
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._waiting: deque[int] = deque()  # when each line was sent that has not come back
        self._longest_ns = 0
        self._broken = ""
        self.descriptors[sock.fileno()] = Attempt(due_ns, sock)
        poller.register(sock.fileno(), select.EPOLLIN)

    def send(self, now: int) -> None:
        """Send a line, unless the connection is broken or takes no more."""
        if self._broken:
            return
        try:
            self._sock.send(b".\n")
        except BlockingIOError:
            return
        except OSError as error:
            self._break(OUTCOMES.get(error.errno or 0, "reset"))
            return
        self._waiting.append(now)

    def hear(self, descriptor: int) -> None:  # noqa: ARG002 - it has but one
        """Read what came back."""
        try:
            piece = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(OUTCOMES.get(error.errno or 0, "reset"))
            return
        if not piece:
            self._break("reset")
        for _ in range(min(piece.count(b"\n"), len(self._waiting))):
            self._longest_ns = max(self._longest_ns, time.monotonic_ns() - self._waiting.popleft())

    def expire(self, now: int) -> None:
        """Give up nothing: TCP sends again, so what is late may still come."""

    def deadline_ns(self) -> int:
        """Return until when the last line may come back.

        TCP doubles the time after which it sends again: what was silent for so long may need as long once more.
        """
        if self._broken or not self._waiting:
            return 0
        silent_ns = max(0, self._waiting[-1] - self._waiting[0])
        return self._waiting[-1] + self.timeout_ns + min(silent_ns, LONGEST_WAIT_NS)

    def result(self) -> dict[str, object]:
        """Return what was seen; a connection whose oldest line is overdue is broken, silently."""
        if self._waiting:
            overdue = time.monotonic_ns() - self._waiting[0]
            self._longest_ns = max(self._longest_ns, overdue)
            if overdue >= self.timeout_ns:
                self._broken = self._broken or "silent"
        return {"longest_ns": self._longest_ns, "broken": self._broken}

    def _break(self, how: str) -> None:
        self._broken = how
        if self._waiting:  # it waits no longer: what is left of the watch is no part of the stall
            self._longest_ns = max(self._longest_ns, time.monotonic_ns() - self._waiting[0])
            self._waiting.clear()
        with contextlib.suppress(OSError):
            self._poller.unregister(self._sock.fileno())
        self.descriptors.clear()
        self._sock.close()
