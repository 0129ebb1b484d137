"""Requests made here have the bytes that pyroute2 makes for the same request; answers read back as they were sent."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic import ipvs as pyroute_ipvs
from pyroute2.netlink.nfnetlink.ipset import ipset_msg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from refproxy import netlink, netlink_ipset, netlink_ipvs, netlink_route
from refproxy.errors import ProxierError
from refproxy.ipvs_plan import SETS, Member, RealServer, ServerId, VirtualServer
from refproxy.times import NO_TIME

HEADER = 16
WEB = ServerId("tcp", "10.96.1.1", 80)
DNS = ServerId("udp", "10.96.1.6", 53)


def payload(message: Any, kind: int = 0) -> bytes:
    message["header"]["type"] = kind
    message.encode()
    return bytes(message.data[HEADER:])


def ipvs_message(command: int, **parts: dict[str, Any]) -> bytes:
    message = pyroute_ipvs.ipvsmsg()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [
        (
            f"IPVS_CMD_ATTR_{part.upper()}",
            {"attrs": [(f"IPVS_{'SVC' if part == 'service' else 'DEST'}_ATTR_{k}", v) for k, v in fields.items()]},
        )
        for part, fields in parts.items()
    ]
    return nested(payload(message))


def nested(data: bytes) -> bytes:
    """Set the flag that pyroute2 leaves out at the top of IPVS's attributes; the kernel takes both."""
    out, at = bytearray(data), 4
    while at < len(out):
        length, kind = struct.unpack_from("=HH", out, at)
        struct.pack_into("=H", out, at + 2, kind | netlink.NLA_F_NESTED)
        at += (length + 3) & ~3
    return bytes(out)


def name_of(server: ServerId) -> dict[str, Any]:
    number = {"tcp": 6, "udp": 17}[server.protocol]
    return {"AF": 2, "PROTOCOL": number, "ADDR": server.address, "PORT": server.port}


@pytest.mark.parametrize("name", [WEB, DNS])
@pytest.mark.parametrize(("scheduler", "persistence"), [("rr", 0), ("wlc", 10800)])
@pytest.mark.parametrize("command", [netlink_ipvs.CMD_NEW_SERVICE, netlink_ipvs.CMD_SET_SERVICE])
def test_virtual_server(name: ServerId, scheduler: str, persistence: int, command: int) -> None:
    server = VirtualServer(scheduler, persistence, frozenset())
    fields = {
        **name_of(name),
        "SCHED_NAME": scheduler,
        "FLAGS": {"flags": 1 if persistence else 0, "mask": 0xFFFFFFFF},
        "TIMEOUT": persistence,
        "NETMASK": "255.255.255.255",
    }
    assert netlink_ipvs.service_request(command, name, server) == ipvs_message(command, service=fields)


def test_removals_and_flush() -> None:
    assert netlink_ipvs.service_removal(DNS) == ipvs_message(netlink_ipvs.CMD_DEL_SERVICE, service=name_of(DNS))
    dest = {"ADDR": "10.244.0.1", "PORT": 8080, "ADDR_FAMILY": 2}
    assert netlink_ipvs.dest_removal(WEB, RealServer("10.244.0.1", 8080)) == ipvs_message(
        netlink_ipvs.CMD_DEL_DEST, service=name_of(WEB), dest=dest
    )
    assert netlink_ipvs.flush_request() == ipvs_message(netlink_ipvs.CMD_FLUSH)


@pytest.mark.parametrize("command", [netlink_ipvs.CMD_NEW_DEST, netlink_ipvs.CMD_SET_DEST])
def test_real_server(command: int) -> None:
    dest = {
        "ADDR": "10.244.0.1",
        "PORT": 8080,
        "FWD_METHOD": 0,
        "WEIGHT": 1,
        "U_THRESH": 0,
        "L_THRESH": 0,
        "ADDR_FAMILY": 2,
    }
    assert netlink_ipvs.dest_request(command, WEB, RealServer("10.244.0.1", 8080)) == ipvs_message(
        command, service=name_of(WEB), dest=dest
    )


def test_device_and_addresses() -> None:
    link = ifinfmsg()
    link["attrs"] = [("IFLA_IFNAME", "kube-ipvs0"), ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "dummy")]})]
    # pyroute2 sets no flag on the nest; the kernel takes both.
    theirs = payload(link).replace(struct.pack("=HH", 16, 18), struct.pack("=HH", 16, 18 | netlink.NLA_F_NESTED))
    assert netlink_route.new_dummy("kube-ipvs0") == theirs
    link = ifinfmsg()
    link["attrs"] = [("IFLA_IFNAME", "kube-ipvs0")]
    assert netlink_route.delete_link("kube-ipvs0") == payload(link)
    address = ifaddrmsg()
    address["family"], address["prefixlen"], address["index"] = 2, 32, 7
    address["attrs"] = [("IFA_ADDRESS", "10.96.1.1"), ("IFA_LOCAL", "10.96.1.1")]
    assert netlink_route.address_request(7, "10.96.1.1") == payload(address)


def set_message(command: int, *attributes: list[Any]) -> bytes:
    message = ipset_msg()
    message["nfgen_family"] = 2
    message["attrs"] = [["IPSET_ATTR_PROTOCOL", 6], *attributes]
    return payload(message, command)


def ip(kind: str, address: str) -> list[Any]:
    return [kind, {"attrs": [["IPSET_ATTR_IPADDR_IPV4", address]]}]


MEMBERS = [
    (
        Member("KUBE-CLUSTER-IP", "tcp", "10.96.1.1", 80),
        [ip("IPSET_ATTR_IP", "10.96.1.1"), ["IPSET_ATTR_PORT", 80], ["IPSET_ATTR_PROTO", 6]],
    ),
    (
        Member("KUBE-LOOP-BACK", "udp", "10.244.0.1", 5353, "10.244.0.1"),
        [
            ip("IPSET_ATTR_IP", "10.244.0.1"),
            ip("IPSET_ATTR_IP2", "10.244.0.1"),
            ["IPSET_ATTR_PORT", 5353],
            ["IPSET_ATTR_PROTO", 17],
        ],
    ),
    (
        Member("KUBE-LOAD-BALANCER-SOURCE-CIDR", "tcp", "203.0.113.1", 80, "192.0.2.0/24"),
        [
            ip("IPSET_ATTR_IP", "203.0.113.1"),
            ip("IPSET_ATTR_IP2", "192.0.2.0"),
            ["IPSET_ATTR_CIDR2", 24],
            ["IPSET_ATTR_PORT", 80],
            ["IPSET_ATTR_PROTO", 6],
        ],
    ),
    (Member("KUBE-NODE-PORT-TCP", "tcp", "", 30080), [["IPSET_ATTR_PORT", 30080]]),
]


@pytest.mark.parametrize(("member", "fields"), MEMBERS)
def test_members_and_back(member: Member, fields: list[Any]) -> None:
    (request,) = netlink_ipset.member_requests(member.set_name, [member])
    # be32 of pyroute2 carries no flag for the byte order, which the kernel's policy asks for.
    theirs = set_message(
        netlink_ipset.ADD,
        ["IPSET_ATTR_SETNAME", member.set_name],
        ["IPSET_ATTR_LINENO", 1],
        ["IPSET_ATTR_ADT", {"attrs": [["IPSET_ATTR_DATA", {"attrs": fields}]]}],
    ).replace(struct.pack("=HH", 8, 9), struct.pack("=HH", 8, 9 | 0x4000))
    assert request == theirs
    assert list(netlink_ipset.parse_listing(member.set_name, [request])) == [member]


def test_a_thousand_members_a_request() -> None:
    members = [Member("KUBE-NODE-PORT-TCP", "tcp", "", port) for port in range(30000, 32500)]
    requests = netlink_ipset.member_requests("KUBE-NODE-PORT-TCP", members)
    assert len(requests) == 3
    assert list(netlink_ipset.parse_listing("KUBE-NODE-PORT-TCP", requests)) == members


@pytest.mark.parametrize("kind", ["hash:ip,port", "bitmap:port"])
def test_making_a_set(kind: str) -> None:
    bitmap = kind == "bitmap:port"
    data = [["IPSET_ATTR_PORT_FROM", 0], ["IPSET_ATTR_PORT_TO", 65535]] if bitmap else []
    assert netlink_ipset.create_request("KUBE-X", kind, 5) == set_message(
        netlink_ipset.CREATE,
        ["IPSET_ATTR_SETNAME", "KUBE-X"],
        ["IPSET_ATTR_TYPENAME", kind],
        ["IPSET_ATTR_REVISION", 5],
        ["IPSET_ATTR_FAMILY", 0 if bitmap else 2],
        ["IPSET_ATTR_DATA", {"attrs": data}],
    )
    assert len(max(SETS, key=len)) < 32  # the kernel's limit for a name


PROC = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600101:0050 rr  
  -> 0AF40102:1F90      Masq    1      0          12        
  -> 0AF4000B:1F90      Masq    0      3          0         
UDP  0A600106:0035 rr persistent 10800 FFFFFFFF
FWM  00000001 rr  
  -> 0AF40109:1F90      Masq    1      0          0         
TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr  
  -> [2001:0db8:0000:0000:0000:0000:0000:0002]:0050      Masq    1      0          0         
TCP  0A600102:0050 wlc ops 
"""  # noqa: W291 - the kernel ends lines with blanks


def test_what_the_kernel_holds() -> None:
    assert netlink_ipvs.parse_proc(PROC) == {
        WEB: VirtualServer("rr", 0, frozenset({RealServer("10.244.1.2", 8080), RealServer("10.244.0.11", 8080, 0)})),
        DNS: VirtualServer("rr", 10800, frozenset()),
        ServerId("tcp", "10.96.1.2", 80): VirtualServer("wlc", 0, frozenset()),
    }


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=40))))
def test_attributes_read_back(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind | netlink.NLA_F_NESTED, value) for kind, value in items)
    assert list(netlink.attributes(data)) == items


def test_broken_lengths_are_errors() -> None:
    with pytest.raises(ProxierError, match=r"^netlink: attribute of 3 bytes at 0 of 4$"):
        list(netlink.attributes(struct.pack("=HH", 3, 1)))
    with pytest.raises(ProxierError, match=r"^netlink: message of 40 bytes at 0 of 16$"):
        list(netlink.messages(struct.pack("=IHHII", 40, 1, 0, 0, 0)))


def test_addresses_of_one_device() -> None:
    mine = netlink_route.address_request(7, "10.96.1.1")
    other = netlink_route.address_request(8, "10.96.1.2")
    assert list(netlink_route.parse_addresses([mine, other], 7)) == ["10.96.1.1"]


class FakeSocket:
    """Stands for the kernel: refuses the requests whose payload says so."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []
        self.answers: list[bytes] = []

    def send(self, data: bytes) -> int:
        batch = []
        at = 0
        while at < len(data):
            length, _, flags, sequence, _ = struct.unpack_from("=IHHII", data, at)
            code = struct.unpack_from("=i", data, at + 16)[0]
            batch.append((flags, code))
            if code or flags & netlink.NLM_F_ACK:
                self.answers.append(struct.pack("=IHHIIi", 36, 2, 0, sequence, 0, -code) + data[at : at + 16])
            at += length
        self.batches.append(batch)
        return len(data)

    def recv(self, _: int) -> bytes:
        return self.answers.pop(0)


def test_failures_are_told_by_position_and_only_the_last_of_a_batch_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = netlink.Netlink.__new__(netlink.Netlink)
    fake = FakeSocket()
    monkeypatch.setattr(link, "_socket", fake, raising=False)
    monkeypatch.setattr(link, "_sequence", 0, raising=False)
    monkeypatch.setattr(link, "spent", NO_TIME, raising=False)
    codes = [0] * 4000
    codes[7], codes[2500], codes[3999] = 17, 2, 22
    payloads = [struct.pack("=i", code) + bytes(60) for code in codes]
    assert link.send(1, 0, payloads, {17}) == [netlink.Failure(2500, 2), netlink.Failure(3999, 22)]
    assert [len(batch) for batch in fake.batches] == [1639, 1639, 722]
    for batch in fake.batches:
        assert [bool(flags & netlink.NLM_F_ACK) for flags, _ in batch] == [False] * (len(batch) - 1) + [True]
    assert fake.answers == []
    assert link.send(1, 0, []) == []


def test_failure_words() -> None:
    assert netlink.Failure(0, 2).words == "No such file or directory"
    assert netlink.Failure(0, 4352).words == "error 4352"
