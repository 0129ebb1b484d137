"""ICMP echo, by a raw socket: the program ``ping`` is not on every node."""

from __future__ import annotations

import os
import socket
import struct
import time

from proxybench.agent.fields import OpError, family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

NS_PER_S = 1_000_000_000
ECHO_REPLY, ECHO_REQUEST = 0, 8
HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
PACKET_LIMIT = 2048


def ping(fields: Fields, _state: State) -> dict[str, object]:
    """Send ``count`` echo requests, each after the answer to the one before or ``timeout_ms``; needs root."""
    host = fields.text("host")
    if family_of(host) != socket.AF_INET:
        raise OpError(f"{host} is not an IPv4 address")
    count = fields.whole("count", 1, 1000)
    timeout_ms = fields.whole("timeout_ms", 1, 60_000, 1000)
    fields.finish()
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        raise OpError("a ping needs root") from None
    with sock:
        replies = sum(_echo(sock, host, sequence, timeout_ms) for sequence in range(1, count + 1))
    return {"sent": count, "replies": replies}


def _echo(sock: socket.socket, host: str, sequence: int, timeout_ms: int) -> bool:
    """Send one request; return whether ``host`` answered it in time."""
    own = (os.getpid() & 0xFFFF, sequence)
    blank = HEADER.pack(ECHO_REQUEST, 0, 0, *own)
    try:
        sock.sendto(HEADER.pack(ECHO_REQUEST, 0, checksum(blank), *own), (host, 0))
    except OSError:  # there is no way to it
        return False
    deadline = time.monotonic_ns() + timeout_ms * 1_000_000
    while (left := deadline - time.monotonic_ns()) > 0:
        sock.settimeout(left / NS_PER_S)
        try:
            packet, (peer, _) = sock.recvfrom(PACKET_LIMIT)
        except socket.timeout:
            return False
        start = (packet[0] & 15) * 4  # the length of the IP header
        if len(packet) >= start + HEADER.size:
            kind, _, _, *found = HEADER.unpack_from(packet, start)
            if (kind, peer, tuple(found)) == (ECHO_REPLY, host, own):
                return True
    return False


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
