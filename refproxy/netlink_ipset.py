"""ipset over nfnetlink: a thousand members per request, and listings as they come from the kernel.

kube-proxy runs `ipset restore`; here the members go straight to the kernel, since a program start costs more than
they do.
"""

from __future__ import annotations

import struct
from socket import inet_aton, inet_ntoa
from typing import TYPE_CHECKING

from refproxy.errors import ProxierError
from refproxy.ipvs_plan import BITMAP_PORT, Member
from refproxy.netlink import (
    NLA_F_NESTED,
    NLA_F_NET_BYTEORDER,
    attribute,
    attributes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from refproxy.netlink import Netlink

# linux/netfilter/nfnetlink.h and ipset/ip_set.h
_SUBSYSTEM = 6 << 8
CREATE = _SUBSYSTEM | 2
DESTROY = _SUBSYSTEM | 3
LIST = _SUBSYSTEM | 7
ADD = _SUBSYSTEM | 9
DELETE = _SUBSYSTEM | 10
TYPE = _SUBSYSTEM | 13
ERRORS = {
    4099: "too many sets",
    4100: "set is in use",
    4102: "a set of that name has another type",
    4104: "the range has a prefix that this kind of set does not take",
    4352: "set is full",
}
_PROTOCOL = 6
_ATTR_PROTOCOL, _ATTR_SETNAME, _ATTR_TYPENAME, _ATTR_REVISION, _ATTR_FAMILY = 1, 2, 3, 4, 5
_ATTR_DATA, _ATTR_ADT, _ATTR_LINENO = 7, 8, 9
_DATA_IP, _DATA_PORT, _DATA_PORT_TO, _DATA_PROTO, _DATA_IP2, _DATA_CIDR2 = 1, 4, 5, 7, 20, 21
_IPADDR_IPV4 = 1
_AF_INET = 2
_AF_UNSPEC = 0
_MEMBERS_PER_REQUEST = 1000  # a nested attribute has at most 65,535 bytes; a member has at most 52

_NFGEN = struct.Struct("=BBH")
_HEAD = struct.Struct("=HH")
_IP = struct.Struct("=HHHH4s")
_PORT = struct.Struct("=HH2sxx")
_PROTO = struct.Struct("=HHBxxx")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("=I")
_PROTOCOLS = {"tcp": 6, "udp": 17}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}


def revision(link: Netlink, kind: str) -> int:
    """Return the newest revision of a type of set that the kernel knows; raise ProxierError when it has none."""
    family = _AF_UNSPEC if kind == BITMAP_PORT else _AF_INET
    payload = _start() + attribute(_ATTR_TYPENAME, kind.encode() + b"\0")
    payload += attribute(_ATTR_FAMILY, bytes([family]))
    try:
        for reply in link.ask(TYPE, payload):
            found = dict(attributes(reply[_NFGEN.size :]))
            return found[_ATTR_REVISION][0]
    except OSError as error:
        raise ProxierError(f"ipset type {kind}: the kernel lacks it ({error.strerror})") from error
    raise ProxierError(f"ipset type {kind}: no answer")


def create_request(name: str, kind: str, kind_revision: int) -> bytes:
    """Encode the making of a set with the default size (65,536 members, or ports 0 to 65535)."""
    family, data = _AF_INET, b""
    if kind == BITMAP_PORT:
        family = _AF_UNSPEC
        data = _port(_DATA_PORT, 0) + _port(_DATA_PORT_TO, 0xFFFF)
    return (
        _start(name)
        + attribute(_ATTR_TYPENAME, kind.encode() + b"\0")
        + attribute(_ATTR_REVISION, bytes([kind_revision]))
        + attribute(_ATTR_FAMILY, bytes([family]))
        + attribute(_ATTR_DATA | NLA_F_NESTED, data)
    )


def name_request(name: str) -> bytes:
    """Encode a request that only names a set: to list or to destroy it."""
    return _start(name)


def member_requests(name: str, members: Sequence[Member]) -> list[bytes]:
    """Encode the adding or deleting of members, a thousand per request."""
    head = _start(name) + attribute(_ATTR_LINENO | NLA_F_NET_BYTEORDER, b"\0\0\0\1")
    return [
        head + attribute(_ATTR_ADT | NLA_F_NESTED, b"".join(map(_member, members[at : at + _MEMBERS_PER_REQUEST])))
        for at in range(0, len(members), _MEMBERS_PER_REQUEST)
    ]


def parse_listing(name: str, replies: Iterable[bytes]) -> Iterator[Member]:
    """Yield the members in the messages of one set's listing."""
    protocol = name.rsplit("-", 1)[-1].lower()
    for reply in replies:
        for kind, value in attributes(reply[_NFGEN.size :]):
            if kind == _ATTR_ADT:
                for _, data in attributes(value):
                    yield _parse_member(name, protocol, dict(attributes(data)))


def _parse_member(name: str, bitmap_protocol: str, data: dict[int, bytes]) -> Member:
    """Decode one member. A bitmap's members have no protocol of their own: the set's name ends in it."""
    port = _U16.unpack(data[_DATA_PORT])[0] if _DATA_PORT in data else 0
    if _DATA_IP not in data:
        return Member(name, bitmap_protocol, "", port)
    number = data[_DATA_PROTO][0] if _DATA_PROTO in data else 0
    source = inet_ntoa(data[_DATA_IP2][4:8]) if _DATA_IP2 in data else ""
    if _DATA_CIDR2 in data:
        source += f"/{data[_DATA_CIDR2][0]}"
    address = inet_ntoa(data[_DATA_IP][4:8])
    return Member(name, _PROTOCOL_NAMES.get(number, str(number)), address, port, source)


def _member(member: Member) -> bytes:
    """Encode one member as a nested attribute."""
    if not member.address:
        data = _port(_DATA_PORT, member.port)
    else:
        data = _ip(_DATA_IP, member.address)
        if member.source:
            source, _, prefix = member.source.partition("/")
            data += _ip(_DATA_IP2, source)
            if prefix:
                data += attribute(_DATA_CIDR2 | NLA_F_NET_BYTEORDER, bytes([int(prefix)]))
        data += _port(_DATA_PORT, member.port) + _PROTO.pack(
            5, _DATA_PROTO | NLA_F_NET_BYTEORDER, _PROTOCOLS[member.protocol]
        )
    return _HEAD.pack(4 + len(data), _ATTR_DATA | NLA_F_NESTED) + data


def _ip(kind: int, address: str) -> bytes:
    return _IP.pack(12, kind | NLA_F_NESTED, 8, _IPADDR_IPV4 | NLA_F_NET_BYTEORDER, inet_aton(address))


def _port(kind: int, port: int) -> bytes:
    return _PORT.pack(6, kind | NLA_F_NET_BYTEORDER, _U16.pack(port))


def _start(name: str = "") -> bytes:
    """Encode the head of every request; without a name where none is asked for."""
    head = _NFGEN.pack(_AF_INET, 0, 0) + attribute(_ATTR_PROTOCOL, bytes([_PROTOCOL]))
    return head + attribute(_ATTR_SETNAME, name.encode() + b"\0") if name else head
