"""The canary: from when on does an address answer (or no longer answer), to within one probing interval.

Attempts overlap: a new non-blocking connect is sent every ``interval_us`` while older ones are still pending, so
neither a slow handshake nor a silently dropped SYN stretches the resolution. The gap between the decisive attempt
and the one before it is reported with every result; it is the resolution of that result.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time

from proxybench.agent.fields import OpError, family_of
from proxybench.agent.http import Write, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import PortWalk, State

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: no TIME_WAIT
TCP_SYN_SENT = 2  # first byte of TCP_INFO (include/net/tcp_states.h)
ANSWER_LIMIT_NS = NS_PER_S  # an established connection that says nothing for so long is given up
LINE_LIMIT = 256
LOWEST = 19  # nice value
ACK_LIMIT_S = 10.0  # for acknowledgements that come after the verdicts


def await_(fields: Fields, state: State) -> dict[str, object]:
    """Probe one address until it does as wished, or time is up."""
    probe = _probe(fields, state.ports)
    start = time.monotonic_ns()
    try:
        _run([probe], None, start, 0)
    finally:
        probe.close()
    return probe.result()


def await_all(fields: Fields, state: State) -> dict[str, object]:
    """Probe the first address alone, and once it is decided all others at once, each until it is decided or time is up.

    Probing all of them all the time would be so many times the disturbance. One that answers at its first attempt may
    have answered before: it was no later than that. All time-outs, and the growing of the intervals, count from the
    start of the first probe.
    """
    probes = [_probe(group, state.ports) for group in fields.groups("probes")]
    fields.finish()
    start = time.monotonic_ns()
    try:
        _run(probes[:1], None, start, 0)
        _run(probes[1:], None, start, 0)
    finally:
        for probe in probes:
            probe.close()
    return {"probes": [probe.result() for probe in probes]}


def change(fields: Fields, state: State) -> dict[str, object]:
    """Probe, send the writes, and probe on; both ends of the latency are read from this node's clock.

    The first write is sent once every probe has tried (for a refusal: was answered) at least once, which may
    take ``lead_s``; without probes at once, and ``gap_s`` apart. A probe's time-out counts from the start of the
    probing, which is hardly earlier than the first write. All ends with a write that the API puts off.
    """
    if state.api is None:
        raise OpError("the API is not known; send api first")
    lead_s = fields.number("lead_s", 0.01, 600, 5)
    writes = [Write(group, state.api) for group in fields.groups("writes")]
    probes = [_probe(group, state.ports, must_answer=True) for group in fields.groups("probes", least=0)]
    gap_s = 0.0 if probes else fields.number("gap_s", 0, 60, 0)
    fields.finish()
    writer = Writer(state.api, writes, lead_s, gap_s)
    start = time.monotonic_ns()
    try:
        _run(probes, writer, start, int(lead_s * NS_PER_S))
    finally:
        writer.close()
        for probe in probes:
            probe.close()
    return {
        "write_start_ns": writer.start_ns,
        "ack_ns": writer.ack_ns[-1] if writer.ack_ns else writer.start_ns,
        "acks_ns": writer.ack_ns,
        "statuses": writer.statuses,
        "put_off_s": writer.put_off_s,
        "probes": [probe.result() for probe in probes],
    }


class Attempt:
    """One connect: when it was sent, how long after the one before it (None: it is the first), what it heard."""

    __slots__ = ("gap_ns", "heard", "sent_ns", "sock")

    def __init__(self, sock: socket.socket, sent_ns: int, gap_ns: int | None) -> None:
        self.sock = sock
        self.sent_ns = sent_ns
        self.gap_ns = gap_ns
        self.heard = b""


class Probe:
    """Attempts on one address and the verdict on them.

    ``until`` "answer": success is the first answer line that names a wanted endpoint (any, when ``want`` is null);
    probing then goes on until ``settle_ms`` have passed without an answer of another endpoint.

    ``until`` "refusal": success is a stretch of ``quiet_ms`` at whose beginning an attempt was sent that got no
    answer, and neither did any attempt sent after it. Refused, unreachable, reset and silent all count as no answer;
    a late answer to an attempt sent before the stretch does not end it. With ``must_answer`` there must have been
    an answer first; without, an address that never answered is a success at once. The time reported is when
    the stretch's first attempt was sent, so ``quiet_ms`` adds nothing to it; it must be longer than the slowest
    answer. Answers of unwanted endpoints count as no answer.
    """

    kind = socket.SOCK_STREAM

    def __init__(self, fields: Fields, ports: PortWalk, *, must_answer: bool = False) -> None:
        host = fields.text("host")
        self._family = family_of(host)
        self.address = (host, fields.whole("port", 1, 65535))
        want = fields.maybe_texts("want")
        self._want = None if want is None else frozenset(want)
        until = fields.text("until")
        self._interval_ns = fields.whole("interval_us", 100, 60_000_000, 1000) * NS_PER_US
        self._fraction = fields.number("max_interval_fraction", 0, 1, 0.005)
        self._timeout_ns = int(fields.number("timeout_s", 0.001, 3600) * NS_PER_S)
        self._quiet_ns = fields.whole("quiet_ms", 1, 60_000, 500) * NS_PER_MS
        self._settle_ns = fields.whole("settle_ms", 0, 60_000, 0) * NS_PER_MS
        self._slots = fields.whole("pending", 1, 64, 8)
        fields.finish()
        if until not in ("answer", "refusal"):
            raise OpError("until must be answer or refusal")
        self.until_refusal = until == "refusal"
        self._must_answer = must_answer
        self._ports = ports
        self.pending: dict[socket.socket, Attempt] = {}
        self._quiet: list[tuple[int, int | None]] = []  # sent_ns and gap_ns of attempts since the last answered one
        self._start_ns = self._due_ns = self._sent_ns = self._end_ns = 0
        self._first_ns: int | None = None
        self._decisive: tuple[int, int | None] | None = None  # sent_ns and gap_ns of the attempt that decided
        self._answered_by: str | None = None
        self._last_other_ns: int | None = None
        self.attempts = 0
        self.answers = 0
        self._errors: dict[str, int] = {}

    def start(self, now: int) -> None:
        """Begin at ``now``."""
        self._start_ns = self._due_ns = now

    @property
    def tried(self) -> bool:
        """Whether enough happened for the write to be sent."""
        return self.answers > 0 if self.until_refusal else self.attempts > 0

    def verdict_ns(self) -> int:
        """Return when, if nothing happens until then, the probe is decided."""
        limit = self._start_ns + self._timeout_ns
        if self.until_refusal:
            return min(limit, self._quiet_end_ns() or limit)
        if self._first_ns is None:
            return limit
        return min(limit, max(self._first_ns, self._last_other_ns or 0) + self._settle_ns)

    def finished(self, now: int) -> bool:
        """Decide whether the probe is over, and if so let go of its sockets."""
        if self._end_ns:
            return True
        if now < self.verdict_ns():
            return False
        quiet_end_ns = self._quiet_end_ns()
        if quiet_end_ns and now >= quiet_end_ns:
            self._decisive = self._quiet[0]
            self._first_ns = self._decisive[0]
        self._end_ns = now
        self.close()
        return True

    def launch(self, now: int) -> int:
        """Send an attempt if one is due and there is room; return when the next is due."""
        if now >= self._due_ns and self._room(now):
            self._send()
            growing = int((self._sent_ns - self._start_ns) * self._fraction)
            self._due_ns = self._sent_ns + max(self._interval_ns, growing)
        elif now >= self._due_ns:
            return now + self._interval_ns  # all slots are held by established connections: look again later
        return self._due_ns

    def hear(self, sock: socket.socket) -> None:
        """Read what arrived on an attempt's socket."""
        attempt = self.pending[sock]
        try:
            piece = sock.recv(LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(attempt, errno.errorcode.get(error.errno or 0, "OSError"))
            return
        now = time.monotonic_ns()
        attempt.heard += piece
        if b"\n" in attempt.heard:
            self._drop(attempt)
            self._answered(attempt, attempt.heard.split(b" ", 1)[0].decode("ascii", "replace"), now)
        elif not piece or len(attempt.heard) >= LINE_LIMIT:
            self._failed(attempt, "NOLINE")

    def close(self) -> None:
        """Close all that is pending."""
        for sock in self.pending:
            sock.close()
        self.pending.clear()

    def result(self) -> dict[str, object]:
        """Return what was seen; times are monotonic ns."""
        return {
            "start_ns": self._start_ns,
            "first_ns": self._first_ns,
            "sent_ns": self._decisive[0] if self._decisive else None,
            "interval_at_success_ns": self._decisive[1] if self._decisive else None,
            "last_other_ns": self._last_other_ns,
            "answered_by": self._answered_by,
            "attempts": self.attempts,
            "answers": self.answers,
            "errors": self._errors,
            "end_ns": self._end_ns,
            "censored": self._decisive is None,
        }

    def _quiet_end_ns(self) -> int | None:
        if not self._quiet or (self._must_answer and not self.answers):
            return None
        return self._quiet[0][0] + self._quiet_ns

    def _room(self, now: int) -> bool:
        """Make room for an attempt: the oldest whose SYN is unanswered goes, and what was silent for too long."""
        if len(self.pending) < self._slots:
            return True
        for attempt in self.pending.values():  # in the order of sending
            state = attempt.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state == TCP_SYN_SENT or now - attempt.sent_ns > ANSWER_LIMIT_NS:
                self._failed(attempt, "SILENT")
                return True
        return False

    def _send(self) -> None:
        sock = socket.socket(self._family, self.kind)
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._ports.bind(sock)
        now = time.monotonic_ns()
        attempt = Attempt(sock, now, now - self._sent_ns if self.attempts else None)
        self._sent_ns = now
        self.attempts += 1
        if self.until_refusal:
            self._quiet.append((now, attempt.gap_ns))
        self.pending[sock] = attempt
        code = sock.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            self._failed(attempt, errno.errorcode.get(code, "OSError"))

    def _answered(self, attempt: Attempt, by: str, now: int) -> None:
        if self._want is not None and by not in self._want:
            self._last_other_ns = now
            return
        self.answers += 1
        self._answered_by = by
        self._quiet = [sent for sent in self._quiet if sent[0] > attempt.sent_ns]
        if not self.until_refusal and self._decisive is None:
            self._first_ns, self._decisive = now, (attempt.sent_ns, attempt.gap_ns)

    def _failed(self, attempt: Attempt, name: str) -> None:
        self._errors[name] = self._errors.get(name, 0) + 1
        self._drop(attempt)

    def _drop(self, attempt: Attempt) -> None:
        del self.pending[attempt.sock]
        attempt.sock.close()


class DatagramProbe(Probe):
    """The same with datagrams, each from a port of its own: it meets the rules anew, not what conntrack remembers."""

    kind = socket.SOCK_DGRAM

    def _room(self, now: int) -> bool:  # noqa: ARG002 - of a datagram that is under way nobody knows anything
        """Make room for a datagram: the oldest without an answer goes."""
        if len(self.pending) >= self._slots:
            self._failed(next(iter(self.pending.values())), "SILENT")
        return True

    def _send(self) -> None:
        super()._send()  # its connect() sends nothing, but fails where there is no way
        newest = next(reversed(self.pending.values()), None)
        if newest is None or newest.sent_ns != self._sent_ns:
            return
        try:
            newest.sock.send(b".")
        except OSError as error:
            self._failed(newest, errno.errorcode.get(error.errno or 0, "OSError"))


def _probe(fields: Fields, ports: PortWalk, *, must_answer: bool = False) -> Probe:
    protocol = fields.maybe_text("protocol")
    if protocol not in (None, "udp"):
        raise OpError("protocol must be udp, or absent")
    return (DatagramProbe if protocol else Probe)(fields, ports, must_answer=must_answer)


def _run(probes: list[Probe], writer: Writer | None, start: int, lead_ns: int) -> None:
    """Drive everything from one thread until all probes are decided and all writes are acknowledged.

    With the lowest priority: where prober and control loop share a CPU, an attempt every millisecond would slow the
    very sync that it waits for. While that CPU is busy, attempts come later; their real distance is reported.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    try:
        _drive(probes, writer, start, lead_ns)
    finally:
        with contextlib.suppress(PermissionError):  # only root may raise it again
            os.setpriority(os.PRIO_PROCESS, 0, usual)


def _drive(probes: list[Probe], writer: Writer | None, start: int, lead_ns: int) -> None:
    for probe in probes:
        probe.start(start)
    if writer is not None and not probes:
        writer.start()
    while True:
        now = time.monotonic_ns()
        open_probes = [probe for probe in probes if not probe.finished(now)]
        if not open_probes:
            break
        _start_writer(writer, probes, late=now - start > lead_ns)
        wake = min(min(probe.launch(now), probe.verdict_ns()) for probe in open_probes)
        _step(open_probes, writer, wake)
        if writer is not None and writer.put_off_s is not None:
            return
    if writer is not None:
        _finish_writer(writer)


def _finish_writer(writer: Writer) -> None:
    """Wait for acknowledgements that are slower than the data plane."""
    deadline = time.monotonic_ns() + int((ACK_LIMIT_S + writer.spread_s) * NS_PER_S)
    if writer.start_ns is None:
        raise OpError("the probes ran out of time before the change")
    while not writer.done:
        if time.monotonic_ns() >= deadline:
            raise OpError("the API did not acknowledge the writes in time")
        _step([], writer, deadline)


def _start_writer(writer: Writer | None, probes: list[Probe], *, late: bool) -> None:
    if writer is None or writer.start_ns is not None:
        return
    waiting = [probe for probe in probes if not probe.tried]
    if not waiting:
        writer.start()
    elif late:
        host, port = waiting[0].address
        raise OpError(f"{host}:{port} did not answer before the change")


def _step(probes: list[Probe], writer: Writer | None, wake: int) -> None:
    """Wait for events until ``wake`` and handle them."""
    owners = {sock: probe for probe in probes for sock in probe.pending}
    reads: list[socket.socket] = list(owners)
    sends: list[socket.socket] = []
    if writer is not None and writer.start_ns is not None and not writer.done:
        reads.append(writer.sock)
        sends = [writer.sock] if writer.wants_to_send else []
    pause_s = max(0, wake - time.monotonic_ns()) / NS_PER_S
    readable, writable, _ = select.select(reads, sends, [], pause_s)  # epoll_wait would round up to whole ms
    if writer is not None and (writable or writer.sock in readable):
        writer.step()
    for sock in readable:
        if sock in owners and sock in owners[sock].pending:
            owners[sock].hear(sock)
