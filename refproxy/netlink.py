"""Netlink for bulk work: thousands of requests per system call, errors told by request.

Why not pyroute2's sockets: importing any part of it imports all of it (0.14 s of CPU, a fifth of the time that a
whole control loop may take to its first 10 Services), and its encoder takes ten times as long per message as the
kernel needs to handle it. The tests compare every message made here byte for byte with pyroute2's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from refproxy.errors import ProxierError
from refproxy.times import NO_TIME, now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# linux/netlink.h
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLA_F_NESTED = 0x8000
NLA_F_NET_BYTEORDER = 0x4000
NLA_TYPE_MASK = 0x3FFF
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NETLINK_GENERIC = 16
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

# One sendmsg becomes one socket buffer in the kernel. An answer costs the kernel about 1 KiB of our receive buffer,
# so even if every request of a batch failed (the smallest has 40 bytes), the answers would fit.
_BATCH_BYTES = 128 * 1024
_BUFFER_BYTES = 8 * 1024 * 1024
_RECEIVE_BYTES = 64 * 1024
_TIMEOUT = 60.0

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_ERROR = struct.Struct("=i")


class Failure(NamedTuple):
    """A request that the kernel refused: its position in what was sent, and the error number (positive)."""

    position: int
    code: int

    @property
    def words(self) -> str:
        """The error's name; subsystems have numbers of their own above 4096."""
        return os.strerror(self.code) if self.code in errno.errorcode else f"error {self.code}"


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Decode a row of attributes into (type without flags, payload)."""
    at, end = 0, len(data)
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > end:
            raise ProxierError(f"netlink: attribute of {length} bytes at {at} of {end}")
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


class Netlink:
    """One netlink socket; not for several threads. Every call raises ProxierError when the kernel stays silent.

    ``spent`` is the time spent in system calls since the socket was made.
    """

    def __init__(self, protocol: int) -> None:
        self.spent = NO_TIME
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise ProxierError(f"netlink protocol {protocol}: {error.strerror}") from error
        self._socket.settimeout(_TIMEOUT)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            except PermissionError as error:
                self._socket.close()
                raise ProxierError("netlink: large buffers need CAP_NET_ADMIN") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, kind: int, flags: int, payloads: Sequence[bytes], tolerate: Collection[int] = ()) -> list[Failure]:
        """Send requests of one message type and return those that failed otherwise than ``tolerate`` allows.

        Only the last request of each batch asks for an answer; the kernel handles requests in order and reports
        failures unasked, so that answer is also the end of the batch.
        """
        failures: list[Failure] = []
        first = 0
        for count, batch in self._batches(kind, flags | NLM_F_REQUEST, payloads):
            begun = now()
            codes = self._exchange(batch, count)
            self.spent += now() - begun
            failures.extend(Failure(first + index, code) for index, code in codes.items() if code not in tolerate)
            first += count
        return failures

    def dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """Ask for a dump and yield the payload of each message; raise ProxierError when the kernel refuses."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        self._timed_send(header + payload)
        yield from self._replies(self._sequence)

    def ask(self, kind: int, payload: bytes) -> list[bytes]:
        """Send one request that has an answer; return the payloads. Raises OSError with the kernel's error."""
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_ACK
        self._timed_send(_HEADER.pack(_HEADER.size + len(payload), kind, flags, self._sequence, 0) + payload)
        return list(self._replies(self._sequence))

    def _replies(self, sequence: int) -> Iterator[bytes]:
        """Yield payloads until the end of the dump or the acknowledgement; OSError for a refusal."""
        while True:
            for kind, got, payload in self._receive():
                if got != sequence:
                    continue
                if kind in {NLMSG_DONE, NLMSG_ERROR}:
                    code = -_ERROR.unpack_from(payload)[0] if len(payload) >= _ERROR.size else 0
                    if code > 0:
                        raise OSError(code, os.strerror(code))
                    return
                yield payload

    def _batches(self, kind: int, flags: int, payloads: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Join requests into batches of (number, bytes); sequence numbers rise by one."""
        pack, size = _HEADER.pack, _HEADER.size
        sequence = self._sequence
        parts: list[bytes] = []
        total = 0
        last = len(payloads) - 1
        for index, payload in enumerate(payloads):
            sequence += 1
            length = size + len(payload)
            total += length
            closing = total >= _BATCH_BYTES or index == last
            parts.append(pack(length, kind, flags | NLM_F_ACK if closing else flags, sequence, 0))
            parts.append(payload)
            if closing:
                self._sequence = sequence
                yield len(parts) // 2, b"".join(parts)
                parts, total = [], 0

    def _exchange(self, batch: bytes, count: int) -> dict[int, int]:
        """Send one batch and return the error number by index for what failed."""
        first, last = self._sequence - count + 1, self._sequence
        codes: dict[int, int] = {}
        self._put(batch)
        while True:
            for kind, sequence, payload in self._receive_now():
                if kind != NLMSG_ERROR or not first <= sequence <= last:
                    continue  # the late answer to something given up, or a notification
                code = -_ERROR.unpack_from(payload)[0]
                if code:
                    codes[sequence - first] = code
                if sequence == last:
                    return codes

    def _timed_send(self, data: bytes) -> None:
        begun = now()
        self._put(data)
        self.spent += now() - begun

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        begun = now()
        messages = self._receive_now()
        self.spent += now() - begun
        return messages

    def _put(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise ProxierError(f"netlink: {len(data)} bytes could not be sent: {error}") from error

    def _receive_now(self) -> Iterator[tuple[int, int, bytes]]:
        """Return the messages of one datagram as (type, sequence, payload)."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise ProxierError(f"netlink: no answer: {error}") from error
        return messages(data)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Decode a datagram into (type, sequence, payload) of each message."""
    at, end = 0, len(data)
    while at + _HEADER.size <= end:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > end:
            raise ProxierError(f"netlink: message of {length} bytes at {at} of {end}")
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
