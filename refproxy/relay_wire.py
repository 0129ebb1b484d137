"""What the userspace plane and its relay say to each other: JSON messages, each after its length in 4 bytes. Pure.

Plane to relay: ``Batch``, one for all changes of a sync. Relay to plane: ``Answer`` with the ports it listens on, its
CPU time in 8 bytes before the JSON.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from refproxy.relay_balance import Address

_LENGTH = struct.Struct("!I")
_NANOSECONDS = struct.Struct("!Q")


class Port(NamedTuple):
    """One Service port to relay; ``name`` is any word that is unique. ``node_port`` is 0 for none."""

    name: str
    protocol: str
    endpoints: Sequence[Address]
    node_port: int = 0
    affinity_seconds: int = 0


class Batch(NamedTuple):
    """Changes that the relay makes in this order: first the removals."""

    number: int
    removed: Sequence[str]
    ports: Sequence[Port]


class Answer(NamedTuple):
    """What became of a batch: the listening port by name, and a line by name for what could not be opened.

    A name in both is relayed, but without its NodePort. ``followed_ns`` is the CPU time that the relay has spent until
    now on its start and on batches: the rest went to connections.
    """

    number: int
    listening: dict[str, int]
    errors: dict[str, str]
    followed_ns: int = 0


def encode(batch: Batch) -> bytes:
    """Return a batch with its length before it."""
    body = json.dumps(batch, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def encode_answer(answer: Answer, followed: Callable[[], int]) -> bytes:
    """Return an answer with its length before it; ``followed`` tells the CPU time, when the rest is encoded.

    With 10,000 listening ports the encoding is a good part of it.
    """
    body = json.dumps(answer[:-1], separators=(",", ":")).encode()
    return _LENGTH.pack(_NANOSECONDS.size + len(body)) + _NANOSECONDS.pack(followed()) + body


def decode_batch(body: bytes) -> Batch:
    """Read a batch."""
    number, removed, ports = json.loads(body)
    return Batch(
        number,
        removed,
        [
            Port(name, protocol, [(ip, port) for ip, port in endpoints], node_port, affinity)
            for name, protocol, endpoints, node_port, affinity in ports
        ],
    )


def decode_answer(body: bytes) -> Answer:
    """Read an answer."""
    number, listening, errors = json.loads(body[_NANOSECONDS.size :])
    return Answer(number, listening, errors, _NANOSECONDS.unpack_from(body)[0])


class Reader:
    """Cuts a stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes as they come and yield the bodies that are complete."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body
