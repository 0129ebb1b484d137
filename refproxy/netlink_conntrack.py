"""Connection tracking over nfnetlink: listing the kernel's UDP entries, and deleting some. Requests as bytes."""

from __future__ import annotations

import struct
from socket import inet_ntoa
from typing import TYPE_CHECKING, NamedTuple

from refproxy.netlink import NLA_F_NESTED, attribute, attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
_SUBSYSTEM = 1 << 8
GET = _SUBSYSTEM | 1
DELETE = _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = 1, 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_FILTER_BY_PROTOCOL = 1 << 3
_UDP = 17
_AF_INET = 2

_NFGEN = struct.Struct("=BBH")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("=I")


class Flow(NamedTuple):
    """One tracked UDP flow: where its first packet was sent to, and the address from which answers come.

    ``name`` are the attributes by which the kernel knows the entry.
    """

    address: str
    port: int
    behind: str
    name: bytes


def list_request() -> bytes:
    """Encode the listing of all IPv4 entries of UDP. Kernels before 5.8 know no filter and list all protocols."""
    protocol = attribute(_TUPLE_PROTO | NLA_F_NESTED, attribute(_PROTO_NUM, bytes([_UDP])))
    flags = attribute(_FILTER_ORIG_FLAGS, _U32.pack(_FILTER_BY_PROTOCOL)) + attribute(_FILTER_REPLY_FLAGS, _U32.pack(0))
    return (
        _NFGEN.pack(_AF_INET, 0, 0)
        + attribute(_TUPLE_ORIG | NLA_F_NESTED, protocol)
        + attribute(_FILTER | NLA_F_NESTED, flags)
    )


def delete_request(flow: Flow) -> bytes:
    """Encode the deletion of exactly one entry."""
    return _NFGEN.pack(_AF_INET, 0, 0) + flow.name


def parse_flows(replies: Iterable[bytes]) -> Iterator[Flow]:
    """Yield the UDP entries of a listing."""
    for reply in replies:
        found = dict(attributes(reply[_NFGEN.size :]))
        if _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
            continue
        there, back = (dict(attributes(found[kind])) for kind in (_TUPLE_ORIG, _TUPLE_REPLY))
        protocol = dict(attributes(there[_TUPLE_PROTO]))
        if protocol[_PROTO_NUM][0] != _UDP:
            continue
        yield Flow(
            inet_ntoa(dict(attributes(there[_TUPLE_IP]))[_IP_DST]),
            _U16.unpack(protocol[_PROTO_DST_PORT])[0],
            inet_ntoa(dict(attributes(back[_TUPLE_IP]))[_IP_SRC]),
            attribute(_TUPLE_ORIG | NLA_F_NESTED, found[_TUPLE_ORIG])
            + b"".join(attribute(kind, found[kind]) for kind in (_ID, _ZONE) if kind in found),
        )
