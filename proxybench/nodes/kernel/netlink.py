"""A program for the node: removes virtual servers of IPVS, or forgets all tracked connections, over netlink.

Run as ``python -c SOURCE ipvs`` with a server on each line of standard input ("TCP 10.96.0.1:80",
"UDP [fd00::1]:53"), or ``python -c SOURCE conntrack``. It is sent to the node as text, for nodes without ipvsadm and
conntrack: nothing but the standard library of Python 3.8. What could not be removed shows when the kernel is read
again; a refusal ends it with 1 and one line on standard error.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from ipaddress import ip_address

# linux/netlink.h, linux/genetlink.h, linux/ip_vs.h, linux/netfilter/nfnetlink_conntrack.h
_REQUEST, _ACK, _ERROR, _NESTED = 0x1, 0x4, 2, 0x8000
_NETLINK_NETFILTER, _NETLINK_GENERIC = 12, 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_IPVS_DEL_SERVICE, _IPVS_SERVICE = 3, 1
_AF, _PROTOCOL, _ADDRESS, _PORT = 1, 2, 3, 4
_DELETE_TRACKED = 1 << 8 | 2
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_BATCH = 500  # requests in one system call


def message(kind: int, flags: int, payload: bytes) -> bytes:
    """Encode a netlink message."""
    return struct.pack("=IHHII", 16 + len(payload), kind, _REQUEST | flags, 0, 0) + payload


def attribute(kind: int, value: bytes) -> bytes:
    """Encode an attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def delete_server(family: int, server: str) -> bytes:
    """Encode the removal of a virtual server; ``family`` is the number that the kernel gave IPVS."""
    protocol, _, where = server.partition(" ")
    text, _, port = where.rpartition(":")
    address = ip_address(text.strip("[]"))
    fields = (
        attribute(_AF, struct.pack("=H", socket.AF_INET if address.version == 4 else socket.AF_INET6))  # noqa: PLR2004
        + attribute(_PROTOCOL, struct.pack("=H", _PROTOCOLS[protocol]))
        + attribute(_ADDRESS, address.packed.ljust(16, b"\0"))
        + attribute(_PORT, struct.pack("!H", int(port)))
    )
    header = struct.pack("=BBH", _IPVS_DEL_SERVICE, 1, 0)
    return message(family, 0, header + attribute(_IPVS_SERVICE | _NESTED, fields))


def forget_tracked() -> bytes:
    """Encode the deletion of every tracked connection of every family."""
    return message(_DELETE_TRACKED, _ACK, struct.pack("=BBH", socket.AF_UNSPEC, 0, 0))


def family_request() -> bytes:
    """Encode the question for IPVS's number."""
    return message(_CONTROL, 0, struct.pack("=BBH", _GET_FAMILY, 1, 0) + attribute(_FAMILY_NAME, b"IPVS\0"))


def family_number(reply: bytes) -> int:
    """Return IPVS's number from the kernel's answer; raise OSError for a refusal."""
    check(reply)
    position = 20
    while position < len(reply):
        size, kind = struct.unpack_from("=HH", reply, position)
        if kind == _FAMILY_ID:
            return int(struct.unpack_from("=H", reply, position + 4)[0])
        position += size + -size % 4
    raise OSError(0, "the kernel's answer lacks the number of IPVS")


def check(reply: bytes) -> None:
    """Raise OSError when an answer is a refusal."""
    kind = struct.unpack_from("=H", reply, 4)[0]
    if kind == _ERROR:
        code = -struct.unpack_from("=i", reply, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))


def main(what: str) -> None:
    """Do it; raise OSError for a refusal."""
    protocol = _NETLINK_GENERIC if what == "ipvs" else _NETLINK_NETFILTER
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as wire:
        wire.settimeout(30)
        if what == "conntrack":
            wire.send(forget_tracked())
            check(wire.recv(65536))
            return
        wire.send(family_request())
        family = family_number(wire.recv(65536))
        servers = sys.stdin.read().splitlines()
        for start in range(0, len(servers), _BATCH):
            wire.send(b"".join(delete_server(family, server) for server in servers[start : start + _BATCH]))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.exit("%s: %s" % (sys.argv[1], error))  # noqa: UP031 - also for an old Python
