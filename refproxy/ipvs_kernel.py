"""The kernel's side of IPVS mode: the device, the sets, the virtual servers; read and changed in bulk."""

from __future__ import annotations

import errno
import logging
import socket
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from refproxy import netlink_ipset as ipset
from refproxy import netlink_ipvs as ipvs
from refproxy import netlink_route as route
from refproxy.errors import ProxierError
from refproxy.ipvs_plan import SETS, State
from refproxy.netlink import (
    NETLINK_GENERIC,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from refproxy.ipvs_plan import Changes, Member
    from refproxy.netlink import Failure
    from refproxy.times import Times

log = logging.getLogger(__name__)

DEVICE = "kube-ipvs0"
_PROC = Path("/proc/net/ip_vs")
_MODPROBE_TIMEOUT = 30.0
# What a request that only repeats what is so already may answer.
_ALREADY = frozenset({errno.EEXIST})
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})


class IpvsKernel(Protocol):
    """What the IPVS plane asks of the kernel. All methods raise ProxierError but ``remove``."""

    @property
    def spent(self) -> Times:
        """Nanoseconds spent in system calls so far."""
        ...

    def prepare(self) -> None:
        """Make the device and the sets; what is there already stays as it is."""
        ...

    def held(self) -> State:
        """Read everything back."""
        ...

    def apply(self, changes: Changes) -> None:
        """Send the requests of ``changes``; the error names the first object that was refused."""
        ...

    def remove(self) -> list[str]:
        """Remove all virtual servers, the device and the sets; return what would not go, one line each."""
        ...


class NetlinkIpvs:
    """Implements IpvsKernel for the network namespace in which it is made."""

    def __init__(self) -> None:
        self._route = Netlink(NETLINK_ROUTE)
        self._netfilter = Netlink(NETLINK_NETFILTER)
        self._generic = Netlink(NETLINK_GENERIC)
        self._family = _ipvs_family(self._generic)
        self._index = 0

    @property
    def spent(self) -> Times:
        """Nanoseconds spent in system calls so far."""
        return self._route.spent + self._netfilter.spent + self._generic.spent

    def prepare(self) -> None:
        """Make the device and the sets; see IpvsKernel."""
        make = NLM_F_CREATE | NLM_F_EXCL
        refused = self._route.send(route.NEW_LINK, make, [route.new_dummy(DEVICE)], _ALREADY)
        _raise("device", refused, [DEVICE])
        self._index = socket.if_nametoindex(DEVICE)
        revisions = {kind: ipset.revision(self._netfilter, kind) for kind in dict.fromkeys(SETS.values())}
        payloads = [ipset.create_request(name, kind, revisions[kind]) for name, kind in SETS.items()]
        _raise("set", self._netfilter.send(ipset.CREATE, NLM_F_CREATE, payloads), list(SETS))

    def held(self) -> State:
        """Read everything back; see IpvsKernel."""
        members = frozenset(member for name in SETS for member in self._members(name))
        addresses = frozenset(
            route.parse_addresses(self._route.dump(route.GET_ADDRESS, route.list_request()), self._index)
        )
        try:
            servers = ipvs.parse_proc(_PROC.read_text())
        except OSError as error:
            raise ProxierError(f"{_PROC}: {error.strerror}") from error
        return State(servers, addresses, members)

    def apply(self, changes: Changes) -> None:
        """Send the requests of ``changes`` in its order; see IpvsKernel."""
        self._change_members(ipset.ADD, changes.members_added)
        new_service = [ipvs.service_request(ipvs.CMD_NEW_SERVICE, *item) for item in changes.servers_added]
        self._send_ipvs(new_service, changes.servers_added, _ALREADY)
        set_service = [ipvs.service_request(ipvs.CMD_SET_SERVICE, *item) for item in changes.servers_changed]
        self._send_ipvs(set_service, changes.servers_changed)
        new_dest = [ipvs.dest_request(ipvs.CMD_NEW_DEST, *item) for item in changes.reals_added]
        self._send_ipvs(new_dest, changes.reals_added, _ALREADY)
        set_dest = [ipvs.dest_request(ipvs.CMD_SET_DEST, *item) for item in changes.reals_changed]
        self._send_ipvs(set_dest, changes.reals_changed)
        self._change_addresses(route.NEW_ADDRESS, NLM_F_CREATE | NLM_F_EXCL, changes.addresses_added, _ALREADY)
        del_dest = [ipvs.dest_removal(*item) for item in changes.reals_removed]
        self._send_ipvs(del_dest, changes.reals_removed, _GONE)
        self._send_ipvs(
            [ipvs.service_removal(name) for name in changes.servers_removed], changes.servers_removed, _GONE
        )
        self._change_addresses(route.DELETE_ADDRESS, 0, changes.addresses_removed, _GONE)
        self._change_members(ipset.DELETE, changes.members_removed)

    def remove(self) -> list[str]:
        """Remove everything; see IpvsKernel."""
        steps: list[tuple[str, Callable[[], list[Failure]]]] = [
            ("virtual servers", lambda: self._generic.send(self._family, 0, [ipvs.flush_request()])),
            (
                f"device {DEVICE}",
                lambda: self._route.send(route.DELETE_LINK, 0, [route.delete_link(DEVICE)], _GONE),
            ),
            *((f"set {name}", lambda name=name: self._destroy(name)) for name in SETS),
        ]
        stayed = []
        for what, step in steps:
            try:
                stayed += [f"{what}: {_words(failure)}" for failure in step()]
            except ProxierError as error:
                stayed.append(f"{what}: {error}")
        return stayed

    def _members(self, name: str) -> list[Member]:
        try:
            replies = self._netfilter.dump(ipset.LIST, ipset.name_request(name))
            return list(ipset.parse_listing(name, replies))
        except OSError as error:
            raise ProxierError(f"set {name}: cannot be listed: {error.strerror}") from error

    def _destroy(self, name: str) -> list[Failure]:
        return self._netfilter.send(ipset.DESTROY, 0, [ipset.name_request(name)], _GONE)

    def _change_members(self, kind: int, members: Iterable[Member]) -> None:
        by_set: defaultdict[str, list[Member]] = defaultdict(list)
        for member in members:
            by_set[member.set_name].append(member)
        for name, group in by_set.items():
            requests = ipset.member_requests(name, group)
            refused = self._netfilter.send(kind, 0, requests)
            _raise("members of set", refused, [name] * len(requests))

    def _change_addresses(self, kind: int, flags: int, addresses: Sequence[str], tolerate: frozenset[int]) -> None:
        requests = [route.address_request(self._index, address) for address in addresses]
        _raise(f"address on {DEVICE}:", self._route.send(kind, flags, requests, tolerate), addresses)

    def _send_ipvs(
        self, requests: Sequence[bytes], objects: Sequence[object], tolerate: frozenset[int] = frozenset()
    ) -> None:
        _raise("IPVS", self._generic.send(self._family, 0, requests, tolerate), objects)


def _ipvs_family(link: Netlink) -> int:
    """Return IPVS's message type; load its module when it is not there yet."""
    try:
        return ipvs.resolve_family(link)
    except OSError:
        log.info("loading the kernel module ip_vs")
    try:
        subprocess.run(["modprobe", "ip_vs"], capture_output=True, timeout=_MODPROBE_TIMEOUT, check=False)
        return ipvs.resolve_family(link)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxierError("this kernel has no IPVS (module ip_vs)") from error


def _raise(what: str, refused: Sequence[Failure], objects: Sequence[object]) -> None:
    """Raise ProxierError that names the first refused object and how many more there are."""
    if not refused:
        return
    first, more = refused[0], len(refused) - 1
    rest = f" (and {more} more)" if more else ""
    raise ProxierError(f"{what} {_spell(objects[first.position])}: {_words(first)}{rest}")


def _words(failure: Failure) -> str:
    return ipset.ERRORS.get(failure.code, failure.words)


def _spell(item: object) -> str:
    """Name a virtual server as tcp/10.96.0.1:80, a real one with its endpoint after an arrow."""
    if not isinstance(item, tuple):
        return str(item)
    if isinstance(item[0], str):
        return f"{item[0]}/{item[1]}:{item[2]}"
    more = f" -> {item[1].address}:{item[1].port}" if hasattr(item[1], "address") else ""
    return _spell(item[0]) + more
