"""Latency of new and of established connections: tight loops of blocking sockets around a monotonic clock.

Between two readings of the clock there is nothing but the call that is measured: sockets are made, bound and set up
before, values go into arrays made beforehand, answers are judged afterwards, and the garbage collector is off.
Kernel time limits (SO_SNDTIMEO, SO_RCVTIMEO) keep the calls truly blocking; Python's own would add a poll to each.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import socket
import struct
import time
from array import array

from proxybench.agent import schedule
from proxybench.agent.fields import OpError, family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.agent.fields import Fields
    from proxybench.agent.state import PortWalk, State

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: a close sends RST and leaves no TIME_WAIT
TCPI_RTT_OFFSET = 68  # of tcpi_rtt in struct tcp_info (include/uapi/linux/tcp.h): 8 bytes, then 15 u32 before it
LINE_LIMIT = 256
SETTLE_S = 0.002  # before a block: whoever relayed the block before is done with its resets then
NEWLINE = 10
MESSAGE = b"proxybench established round trip\n"
DATAGRAM = b"proxybench request\n"


class Target:
    """One address to connect to; ``expect`` holds the endpoints that may answer (None: any).

    With ``protocol`` "udp" a datagram is sent to it, and one awaited from it, instead of a connection.
    """

    def __init__(self, fields: Fields) -> None:
        self.label = fields.text("label")
        host = fields.text("host")
        self.family = family_of(host)
        self.address = (host, fields.whole("port", 1, 65535))
        expect = fields.maybe_texts("expect")
        protocol = fields.text("protocol", "tcp")
        fields.finish()
        if protocol not in ("tcp", "udp"):
            raise OpError("protocol must be tcp or udp")
        self.kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        self.expect = frozenset(text.encode() for text in expect) if expect else None


class Series:
    """What was measured for one target. Arrays are as long as the number of attempts, filled up to ``size``.

    ``order`` names who answered each connection, if that is asked for.
    """

    def __init__(self, attempts: int, *, ordered: bool = False) -> None:
        self.order: list[bytes] | None = [] if ordered else None
        self.connect = array("q", bytes(8 * attempts))
        self.first_byte = array("q", bytes(8 * attempts))
        self.rtt = array("q", bytes(8 * attempts))
        self.connected = 0
        self.answered = 0
        self.answers: dict[bytes, int] = {}
        self.wrong = 0
        self.errors: dict[str, int] = {}
        self.connect_timeouts = 0
        self.answer_timeouts = 0

    def result(self, limit_ns: int) -> dict[str, object]:
        """Return everything. A time-out while connecting censors both latencies, a later one only the second."""
        order = {} if self.order is None else {"order": [ip.decode("ascii", "replace") for ip in self.order]}
        return {
            **order,
            "connect_ns": self.connect[: self.connected].tolist(),
            "first_byte_ns": self.first_byte[: self.answered].tolist(),
            "rtt_us": self.rtt[: self.answered].tolist() if self.connected else [],
            "answers": {ip.decode("ascii", "replace"): count for ip, count in self.answers.items()},
            "wrong": self.wrong,
            "errors": self.errors,
            "timeouts": self.connect_timeouts + self.answer_timeouts,
            "connect_censored_ns": [limit_ns] * self.connect_timeouts,
            "first_byte_censored_ns": [limit_ns] * (self.connect_timeouts + self.answer_timeouts),
        }


def connect(fields: Fields, state: State) -> dict[str, object]:
    """Measure new connections to all targets, interleaved in blocks, the first target rotated by round."""
    targets = _targets(fields)
    rounds = fields.whole("rounds", 1, 100_000)
    block = fields.whole("block", 1, 256)
    warmup = fields.whole("warmup", 0, 100_000, 0)
    timeout_ms = fields.whole("timeout_ms", 1, 60_000, 1000)
    limit_s = fields.number("limit_s", 0.001, 3600, 120)
    ordered = bool(fields.whole("ordered", 0, 1, 0))
    fields.finish()
    deadline = time.monotonic_ns() + int(limit_s * NS_PER_S)
    prober = _Prober(state.ports, timeout_ms, deadline)
    with _Quiet():
        for target in targets:
            prober.block(target, warmup, Series(warmup))
        series = {target.label: Series(rounds * block, ordered=ordered) for target in targets}
        for target in interleaved(targets, rounds):
            prober.block(target, block, series[target.label])
    return {
        "targets": {label: one.result(timeout_ms * NS_PER_MS) for label, one in series.items()},
        "complete": time.monotonic_ns() < deadline,
    }


def interleaved(targets: list[Target], rounds: int) -> Iterator[Target]:
    """Yield every target once per round, each round beginning with the next one."""
    for number in range(rounds):
        shift = number % len(targets)
        yield from targets[shift:] + targets[:shift]


class _Prober:
    def __init__(self, ports: PortWalk, timeout_ms: int, deadline_ns: int) -> None:
        self._ports = ports
        self._limit = timeval(timeout_ms)
        self._deadline_ns = deadline_ns

    def block(self, target: Target, count: int, series: Series) -> None:
        """Connect ``count`` times in batches whose sockets are made first; stop early at the deadline."""
        while count > 0 and time.monotonic_ns() < self._deadline_ns:
            size = min(count, 256)
            count -= size
            socks = [self._prepared(target) for _ in range(size)]
            time.sleep(SETTLE_S)
            measure = _measure if target.kind == socket.SOCK_STREAM else _exchange
            try:
                for sock in socks:
                    if measure(sock, target, series) > self._deadline_ns:
                        return
            finally:
                for sock in socks:
                    sock.close()

    def _prepared(self, target: Target) -> socket.socket:
        sock = socket.socket(target.family, target.kind)
        if target.kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._limit)
        self._ports.bind(sock)
        if target.kind == socket.SOCK_DGRAM:
            sock.connect(target.address)  # so that an ICMP error reaches it; no packet is sent
        return sock


_BUFFER = bytearray(LINE_LIMIT)


def _measure(sock: socket.socket, target: Target, series: Series) -> int:
    """Connect once, store what was seen, close; return the last reading of the clock."""
    clock = time.monotonic_ns
    address = target.address
    buffer = _BUFFER
    connected = 0
    start = clock()
    try:
        sock.connect(address)
        connected = clock()
        size = sock.recv_into(buffer)
        now = clock()
        while size and buffer[size - 1] != NEWLINE:  # a line in pieces: rare
            more = sock.recv_into(memoryview(buffer)[size:])
            now = clock()
            size = size + more if more else 0
    except OSError as error:
        now = clock()
        if connected:
            series.connect[series.connected] = connected - start
            series.connected += 1
        _count_error(series, error, established=connected > 0)
        sock.close()
        return now
    series.connect[series.connected] = connected - start
    series.connected += 1
    if size:
        _count_answer(sock, target, series, now - start, bytes(buffer[: buffer.find(b" ")]))
    else:
        series.errors["NOLINE"] = series.errors.get("NOLINE", 0) + 1
    sock.close()
    return now


def _exchange(sock: socket.socket, target: Target, series: Series) -> int:
    """Send one datagram and wait for the answer, store what was seen, close; return the last reading of the clock."""
    clock = time.monotonic_ns
    buffer = _BUFFER
    start = clock()
    try:
        sock.send(DATAGRAM)
        sock.recv_into(buffer)
        now = clock()
    except OSError as error:
        now = clock()
        _count_error(series, error, established=True)
    else:
        _store_answer(target, series, now - start, bytes(buffer[: buffer.find(b" ")]))
    sock.close()
    return now


def _count_answer(sock: socket.socket, target: Target, series: Series, first_byte_ns: int, by: bytes) -> None:
    # The client has sent no data, so tcpi_rtt is still the handshake's, although it is read after the answer.
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCPI_RTT_OFFSET + 4)
    series.rtt[series.answered] = struct.unpack_from("I", info, TCPI_RTT_OFFSET)[0]
    _store_answer(target, series, first_byte_ns, by)


def _store_answer(target: Target, series: Series, first_byte_ns: int, by: bytes) -> None:
    series.first_byte[series.answered] = first_byte_ns
    series.answered += 1
    series.answers[by] = series.answers.get(by, 0) + 1
    if series.order is not None:
        series.order.append(by)
    if target.expect is not None and by not in target.expect:
        series.wrong += 1


def _count_error(series: Series, error: OSError, *, established: bool) -> None:
    # A blocking call that meets its SO_*TIMEO fails with EAGAIN (recv) or EINPROGRESS (connect), socket(7).
    if established and error.errno == errno.EAGAIN:
        series.answer_timeouts += 1
    elif not established and error.errno in (errno.EINPROGRESS, errno.EAGAIN, errno.ETIMEDOUT):
        series.connect_timeouts += 1
    else:
        name = errno.errorcode.get(error.errno or 0, "OSError")
        series.errors[name] = series.errors.get(name, 0) + 1


def established(fields: Fields, state: State) -> dict[str, object]:
    """Measure the round trip of one line on one connection per target; the targets take turns line by line."""
    targets = _targets(fields)
    count = fields.whole("count", 1, 1_000_000)
    warmup = fields.whole("warmup", 0, 100_000, 0)
    timeout_ms = fields.whole("timeout_ms", 1, 60_000, 1000)
    limit_s = fields.number("limit_s", 0.001, 3600, 120)
    fields.finish()
    deadline = time.monotonic_ns() + int(limit_s * NS_PER_S)
    lines = [_Line(target, count, timeout_ms, state.ports) for target in targets]
    try:
        with _Quiet():
            for number in range(warmup + count):
                if time.monotonic_ns() >= deadline:
                    break
                for line in lines:
                    line.round_trip(keep=number >= warmup)
    finally:
        for line in lines:
            line.close()
    return {
        "targets": {line.label: line.result() for line in lines},
        "complete": time.monotonic_ns() < deadline,
    }


class _Line:
    """One established connection and the round trips on it; after the first trouble it is used no more."""

    def __init__(self, target: Target, count: int, timeout_ms: int, ports: PortWalk) -> None:
        self.label = target.label
        self._limit_ns = timeout_ms * NS_PER_MS
        self._rtt = array("q", bytes(8 * count))
        self._size = 0
        self._timeouts = 0
        self._errors: dict[str, int] = {}
        self._buffer = bytearray(LINE_LIMIT)
        self._sock: socket.socket | None = socket.socket(target.family, socket.SOCK_STREAM)
        limit = timeval(timeout_ms)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ports.bind(self._sock)
        try:
            self._sock.connect(target.address)
            self._read_line(self._sock)
        except OSError as error:
            self._failed(error)

    def round_trip(self, *, keep: bool) -> None:
        """Send a line and wait for it to come back."""
        sock = self._sock
        if sock is None:
            return
        clock = time.monotonic_ns
        start = clock()
        try:
            sock.send(MESSAGE)
            self._read_line(sock)
            took = clock() - start
        except OSError as error:
            self._failed(error)
            return
        if keep:
            self._rtt[self._size] = took
            self._size += 1

    def close(self) -> None:
        """Let go of the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def result(self) -> dict[str, object]:
        """Return the round trips in ns; a time-out stands as one censored value."""
        return {
            "rtt_ns": self._rtt[: self._size].tolist(),
            "errors": self._errors,
            "timeouts": self._timeouts,
            "censored_ns": [self._limit_ns] * self._timeouts,
        }

    def _read_line(self, sock: socket.socket) -> None:
        buffer = self._buffer
        while True:
            size = sock.recv_into(buffer)
            if not size:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            if buffer[size - 1] == NEWLINE:
                return

    def _failed(self, error: OSError) -> None:
        if error.errno in (errno.EAGAIN, errno.EINPROGRESS, errno.ETIMEDOUT):
            self._timeouts += 1
        else:
            name = errno.errorcode.get(error.errno or 0, "OSError")
            self._errors[name] = self._errors.get(name, 0) + 1
        self.close()


class _Quiet:
    """Keeps what is not measured away from the measurement: the garbage collector, and other processes' turns.

    On a CPU that the prober shares with whoever answers, a handshake wakes that one in the middle of connect(), and
    the scheduler may let it run first: the latency would then hold its work or not, as luck will have it. With
    real-time priority the prober goes on until it waits. Without the right to it (not root) it stays as it was.
    """

    def __init__(self) -> None:
        self._policy = os.SCHED_OTHER

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._policy = schedule.policy()
        with contextlib.suppress(PermissionError):
            schedule.use(os.SCHED_FIFO, schedule.PRIORITY)

    def __exit__(self, *_details: object) -> None:
        with contextlib.suppress(PermissionError):
            schedule.use(self._policy)
        gc.enable()
        gc.unfreeze()


def timeval(milliseconds: int) -> bytes:
    """Return a C struct timeval."""
    return struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)


def _targets(fields: Fields) -> list[Target]:
    targets = [Target(group) for group in fields.groups("targets")]
    labels = [target.label for target in targets]
    if len(set(labels)) != len(labels):
        raise OpError("targets must have different labels")
    return targets
