"""The dummy device and its addresses over rtnetlink: requests as bytes, and listings."""

from __future__ import annotations

import struct
from socket import inet_aton, inet_ntoa
from typing import TYPE_CHECKING

from refproxy.netlink import NLA_F_NESTED, attribute, attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# linux/rtnetlink.h, if_link.h, if_addr.h
NEW_LINK = 16
DELETE_LINK = 17
NEW_ADDRESS = 20
DELETE_ADDRESS = 21
GET_ADDRESS = 22
_IFLA_IFNAME = 3
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_AF_INET = 2

_IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, device
_ADDRESS = struct.Struct("=BBBBI HH4s HH4s")


def new_dummy(name: str) -> bytes:
    """Encode the making of a dummy device; it stays down."""
    info = attribute(_IFLA_INFO_KIND, b"dummy\0")
    return (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        + attribute(_IFLA_LINKINFO | NLA_F_NESTED, info)
    )


def delete_link(name: str) -> bytes:
    """Encode the removal of a device by name; its addresses go with it."""
    return _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")


def address_request(index: int, address: str) -> bytes:
    """Encode the adding or removal of address/32 on the device with this index."""
    packed = inet_aton(address)
    return _ADDRESS.pack(_AF_INET, 32, 0, 0, index, 8, _IFA_ADDRESS, packed, 8, _IFA_LOCAL, packed)


def list_request() -> bytes:
    """Encode the listing of all IPv4 addresses of this network namespace."""
    return _IFADDR.pack(_AF_INET, 0, 0, 0, 0)


def parse_addresses(replies: Iterable[bytes], index: int) -> Iterator[str]:
    """Yield the addresses of one device out of a listing."""
    for reply in replies:
        if _IFADDR.unpack_from(reply)[4] != index:
            continue
        for kind, value in attributes(reply[_IFADDR.size :]):
            if kind == _IFA_LOCAL:
                yield inet_ntoa(value)
