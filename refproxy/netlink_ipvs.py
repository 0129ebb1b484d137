"""IPVS over generic netlink: requests as bytes, and what the kernel holds, read from /proc/net/ip_vs.

The file is read instead of a netlink dump because a dump of real servers is one exchange per virtual server; the
file gives all of them at once.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from socket import inet_aton, inet_ntoa
from typing import TYPE_CHECKING

from refproxy.errors import ProxierError
from refproxy.ipvs_plan import RealServer, ServerId, VirtualServer
from refproxy.netlink import NLA_F_NESTED, attribute, attributes

if TYPE_CHECKING:
    from refproxy.netlink import Netlink

# linux/genetlink.h
GENL_ID_CTRL = 0x10
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2

# linux/ip_vs.h
CMD_NEW_SERVICE = 1
CMD_SET_SERVICE = 2
CMD_DEL_SERVICE = 3
CMD_NEW_DEST = 5
CMD_SET_DEST = 6
CMD_DEL_DEST = 7
CMD_FLUSH = 17
_VERSION = 1
_ATTR_SERVICE = 1
_ATTR_DEST = 2
_SVC_AF, _SVC_PROTOCOL, _SVC_ADDR, _SVC_PORT = 1, 2, 3, 4
_SVC_SCHED_NAME, _SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK = 6, 7, 8, 9
_DEST_ADDR, _DEST_PORT, _DEST_FWD_METHOD, _DEST_WEIGHT = 1, 2, 3, 4
_DEST_U_THRESH, _DEST_L_THRESH, _DEST_ADDR_FAMILY = 5, 6, 11
_FLAG_PERSISTENT = 1
_MASQUERADE = 0
_AF_INET = 2
_PROTOCOLS = {"tcp": 6, "udp": 17}

_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_GENL = struct.Struct("=BBH")
# Address and port of a virtual or real server: two attributes whose types are the same numbers after an offset.
_ADDRESS_PORT = struct.Struct("=HH4sHH2sxx")
_PORT = struct.Struct("!H")
# A real server whole: address, port, method, weight, thresholds, family.
_DEST = struct.Struct("=HH HH4s HH2sxx HHI HHI HHI HHI HHHxx")
_ALL_ONES = b"\xff\xff\xff\xff"


def resolve_family(link: Netlink, name: str = "IPVS") -> int:
    """Return the message type of a generic netlink family; raise OSError(ENOENT) when the kernel has none."""
    payload = _GENL.pack(_CTRL_CMD_GETFAMILY, 1, 0) + attribute(_CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
    for reply in link.ask(GENL_ID_CTRL, payload):
        for kind, value in attributes(reply[_GENL.size :]):
            if kind == _CTRL_ATTR_FAMILY_ID:
                return int(_U16.unpack(value)[0])
    raise ProxierError(f"generic netlink family {name}: the answer has no number")


def service_request(command: int, name: ServerId, server: VirtualServer) -> bytes:
    """Encode the making or changing of a virtual server."""
    nested = _service_start(name) + _service_end(server.scheduler, server.persistence)
    return _command(command) + attribute(_ATTR_SERVICE | NLA_F_NESTED, nested)


def service_removal(name: ServerId) -> bytes:
    """Encode the removal of a virtual server and its real servers."""
    return _service_reference(CMD_DEL_SERVICE, name)


def dest_request(command: int, name: ServerId, real: RealServer) -> bytes:
    """Encode the making or changing of a real server behind a virtual one."""
    return _service_reference(command, name) + _DEST.pack(
        _DEST.size, _ATTR_DEST | NLA_F_NESTED,
        8, _DEST_ADDR, inet_aton(real.address),
        6, _DEST_PORT, _PORT.pack(real.port),
        8, _DEST_FWD_METHOD, _MASQUERADE,
        8, _DEST_WEIGHT, real.weight,
        8, _DEST_U_THRESH, 0,
        8, _DEST_L_THRESH, 0,
        6, _DEST_ADDR_FAMILY, _AF_INET,
    )  # fmt: skip  # one attribute a line


def dest_removal(name: ServerId, real: RealServer) -> bytes:
    """Encode the removal of a real server."""
    nested = _ADDRESS_PORT.pack(8, _DEST_ADDR, inet_aton(real.address), 6, _DEST_PORT, _PORT.pack(real.port))
    nested += attribute(_DEST_ADDR_FAMILY, _U16.pack(_AF_INET))
    return _service_reference(CMD_DEL_DEST, name) + attribute(_ATTR_DEST | NLA_F_NESTED, nested)


def flush_request() -> bytes:
    """Encode the removal of all virtual servers of this network namespace."""
    return _command(CMD_FLUSH)


@lru_cache(maxsize=16)
def _command(command: int) -> bytes:
    return _GENL.pack(command, _VERSION, 0)


@lru_cache(maxsize=4)
def _family_and_protocol(protocol: str) -> bytes:
    return attribute(_SVC_AF, _U16.pack(_AF_INET)) + attribute(_SVC_PROTOCOL, _U16.pack(_PROTOCOLS[protocol]))


@lru_cache(maxsize=64)
def _service_end(scheduler: str, persistence: int) -> bytes:
    """Encode what most virtual servers have in common."""
    flags = _FLAG_PERSISTENT if persistence else 0
    return (
        attribute(_SVC_SCHED_NAME, scheduler.encode() + b"\0")
        + attribute(_SVC_FLAGS, _U32.pack(flags) + _ALL_ONES)
        + attribute(_SVC_TIMEOUT, _U32.pack(persistence))
        + attribute(_SVC_NETMASK, _ALL_ONES)
    )


def _service_start(name: ServerId) -> bytes:
    """Encode what identifies a virtual server."""
    return _family_and_protocol(name.protocol) + _ADDRESS_PORT.pack(
        8, _SVC_ADDR, inet_aton(name.address), 6, _SVC_PORT, _PORT.pack(name.port)
    )


# Requests about one virtual server come one after the other, so a small memory spares most of this work.
@lru_cache(maxsize=64)
def _service_reference(command: int, name: ServerId) -> bytes:
    return _command(command) + attribute(_ATTR_SERVICE | NLA_F_NESTED, _service_start(name))


_LINE = re.compile(
    r"^(?:([A-Z]+) +(\S+) (\w+) +(?:ops )?(?:persistent (\d+) )?"
    r"|  -> ([0-9A-F]{8}):([0-9A-F]{4}) +\w+ +(\d+) )",
    re.MULTILINE,
)
_ENDPOINT_DIGITS = len("0A600101:0050")


def parse_proc(text: str) -> dict[ServerId, VirtualServer]:
    """Parse /proc/net/ip_vs (its persistence is in seconds); what is not TCP or UDP over IPv4 is left out."""
    found: dict[ServerId, VirtualServer] = {}
    reals: set[RealServer] = set()
    above: tuple[ServerId, str, int] | None = None
    for match in _LINE.finditer(text):
        protocol, server, scheduler, persistence, real, real_port, weight = match.groups()
        if protocol is None:
            reals.add(RealServer(_address(real), int(real_port, 16), int(weight)))
            continue
        _keep(found, above, reals)
        reals, above = set(), None
        if protocol in {"TCP", "UDP"} and len(server) == _ENDPOINT_DIGITS:
            name = ServerId(protocol.lower(), _address(server[:8]), int(server[9:], 16))
            above = name, scheduler, int(persistence or 0)
    _keep(found, above, reals)
    return found


def _keep(
    found: dict[ServerId, VirtualServer], server: tuple[ServerId, str, int] | None, reals: set[RealServer]
) -> None:
    if server is not None:
        found[server[0]] = VirtualServer(server[1], server[2], frozenset(reals))


def _address(digits: str) -> str:
    return inet_ntoa(bytes.fromhex(digits))
