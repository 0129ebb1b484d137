"""Which UDP flows are stale after a change, and how the kernel is told: the bytes are pyroute2's own."""

from __future__ import annotations

import itertools
import logging
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg

from refproxy import netlink, udp_flows
from refproxy import netlink_conntrack as conntrack
from refproxy.errors import ProxierError
from refproxy.netlink import Failure
from refproxy.netlink_conntrack import Flow
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.times import NO_TIME, Times
from refproxy.udp_flows import Face, KernelConnections, Stale, UdpMemory, stale_between

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

A, B = Endpoint("10.244.0.1", 53, local=True), Endpoint("10.244.1.2", 53, local=False)
DNS = ServicePort(ServicePortKey("ns", "dns", "dns", "udp"), "10.96.0.10", 53, (A, B))
WEB = ServicePort(ServicePortKey("ns", "web", "", "tcp"), "10.96.0.11", 80, (A,))
VIP = Face("10.96.0.10")
FULL = replace(DNS, external_ips=("192.0.2.1",), node_port=30053)
FACES = {VIP, Face("192.0.2.1"), Face("", 30053)}


@pytest.mark.parametrize(
    ("old", "new", "whole", "behind"),
    [
        pytest.param(None, FULL, FACES, set(), id="a new Service"),
        pytest.param(FULL, None, FACES, set(), id="a Service that is gone"),
        pytest.param(None, replace(FULL, endpoints=()), set(), set(), id="a new Service without endpoints"),
        pytest.param(replace(FULL, endpoints=()), FULL, FACES, set(), id="the first endpoint"),
        pytest.param(FULL, replace(FULL, endpoints=()), FACES, set(), id="the last endpoint is gone"),
        pytest.param(replace(FULL, endpoints=(A,)), FULL, set(), set(), id="one endpoint more"),
        pytest.param(
            FULL, replace(FULL, endpoints=(B,)), set(), {(face, "10.244.0.1") for face in FACES}, id="one endpoint less"
        ),
        pytest.param(
            DNS,
            replace(DNS, endpoints=(A._replace(port=5353), B)),
            set(),
            {(VIP, "10.244.0.1")},
            id="another port of an endpoint",
        ),
        pytest.param(DNS, replace(DNS, endpoints=(A._replace(local=False), B)), set(), set(), id="not local any more"),
        pytest.param(DNS, FULL, FACES - {VIP}, set(), id="more addresses"),
        pytest.param(
            FULL,
            replace(DNS, endpoints=(A,)),
            FACES - {VIP},
            {(VIP, "10.244.1.2")},
            id="fewer addresses and an endpoint less",
        ),
    ],
)
def test_what_is_stale(
    old: ServicePort | None, new: ServicePort | None, whole: set[Face], behind: set[tuple[Face, str]]
) -> None:
    assert stale_between([(old, new)]) == Stale(frozenset(whole), frozenset(behind))


def test_which_flows_are_meant() -> None:
    stale = Stale(frozenset({Face("10.96.0.1"), Face("", 30053)}), frozenset({(VIP, "10.244.0.1")}))
    assert stale.holds(Flow("10.96.0.1", 5, "10.244.0.9", b""))
    assert stale.holds(Flow("198.18.0.1", 30053, "10.244.0.9", b""))
    assert stale.holds(Flow("10.96.0.10", 53, "10.244.0.1", b""))
    assert not stale.holds(Flow("10.96.0.10", 53, "10.244.1.2", b""))
    assert not stale.holds(Flow("198.18.0.1", 53, "10.244.0.1", b""))


class FakeConnections:
    def __init__(self) -> None:
        self.dropped: list[Stale] = []

    def drop(self, stale: Stale) -> None:
        self.dropped.append(stale)


def test_a_memory_compares_with_the_sync_before_and_times_only_what_it_does() -> None:
    kernel, clock = FakeConnections(), itertools.count(step=7)
    memory = UdpMemory(kernel, lambda: Times(at := next(clock), 2 * at))
    assert memory.settle({WEB.key: WEB, DNS.key: DNS}, None) == Times(7, 14)
    less = replace(DNS, endpoints=(A,))
    assert memory.settle({WEB.key: WEB, DNS.key: less}, {DNS.key}) == Times(7, 14)
    assert memory.settle({WEB.key: WEB, DNS.key: less}, {DNS.key, WEB.key}) == NO_TIME
    more = replace(DNS, endpoints=(A, B))
    assert memory.settle({DNS.key: more}, {WEB.key, DNS.key}) == NO_TIME
    assert memory.settle({}, None) == Times(7, 14)
    assert memory.settle({}, None) == NO_TIME
    assert kernel.dropped == [
        Stale(frozenset({VIP})),
        Stale(behind=frozenset({(VIP, "10.244.1.2")})),
        Stale(frozenset({VIP})),
    ]
    assert next(clock) == 7 * 6


def tuple_of(source: str, destination: str, protocol: int, source_port: int, port: int) -> dict[str, Any]:
    return {
        "attrs": [
            ("CTA_TUPLE_IP", {"attrs": [("CTA_IP_V4_SRC", source), ("CTA_IP_V4_DST", destination)]}),
            (
                "CTA_TUPLE_PROTO",
                {
                    "attrs": [
                        ("CTA_PROTO_NUM", protocol),
                        ("CTA_PROTO_SRC_PORT", source_port),
                        ("CTA_PROTO_DST_PORT", port),
                    ]
                },
            ),
        ]
    }


def pyroutes(*attrs: tuple[str, Any]) -> bytes:
    message = nfct_msg()
    message["nfgen_family"], message["version"], message["res_id"] = 2, 0, 0
    message["attrs"] = list(attrs)
    message.encode()
    return unflagged(bytes(message.data[16:]))


def unflagged(request: bytes) -> bytes:
    """Clear the flag of nested attributes: pyroute2 sets it in the filter only, where the kernel insists on it."""
    out, at = bytearray(request), 4
    while at < len(out):
        length, kind = struct.unpack_from("=HH", out, at)
        struct.pack_into("=H", out, at + 2, kind & ~netlink.NLA_F_NESTED)
        at += 4 if kind & netlink.NLA_F_NESTED else (length + 3) & ~3
    return bytes(out)


def test_the_listing_asks_for_udp_only() -> None:
    assert unflagged(conntrack.list_request()) == pyroutes(
        ("CTA_TUPLE_ORIG", {"attrs": [("CTA_TUPLE_PROTO", {"attrs": [("CTA_PROTO_NUM", 17)]})]}),
        ("CTA_FILTER", {"attrs": [("CTA_FILTER_ORIG_FLAGS", 1 << 3), ("CTA_FILTER_REPLY_FLAGS", 0)]}),
    )


def entry(port: int, protocol: int = 17) -> bytes:
    return pyroutes(
        ("CTA_TUPLE_ORIG", tuple_of("10.244.0.7", "10.96.0.10", protocol, 40_000, port)),
        ("CTA_TUPLE_REPLY", tuple_of("10.244.0.1", "10.244.0.7", protocol, 5353, 40_000)),
        ("CTA_STATUS", 0x18A),
        ("CTA_ID", 0x01020304),
        ("CTA_ZONE", 3),
    )


def test_an_entry_is_read_and_named_by_what_the_kernel_said() -> None:
    found = list(conntrack.parse_flows([entry(53), entry(80, protocol=6), pyroutes(("CTA_ID", 5))]))
    assert [flow[:3] for flow in found] == [("10.96.0.10", 53, "10.244.0.1")]
    assert unflagged(conntrack.delete_request(found[0])) == pyroutes(
        ("CTA_TUPLE_ORIG", tuple_of("10.244.0.7", "10.96.0.10", 17, 40_000, 53)),
        ("CTA_ID", 0x01020304),
        ("CTA_ZONE", 3),
    )


class FakeLink:
    def __init__(self, entries: Sequence[bytes], refused: Sequence[Failure] = ()) -> None:
        self.entries, self.refused = entries, list(refused)
        self.sent: list[Sequence[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sent.append([b"closed"])

    def dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        assert (kind, payload) == (0x101, conntrack.list_request())
        yield from self.entries

    def send(self, kind: int, flags: int, payloads: Sequence[bytes], tolerate: Collection[int] = ()) -> list[Failure]:
        assert (kind, flags, set(tolerate)) == (0x102, 0, {2})
        self.sent.append(payloads)
        return self.refused


def test_only_stale_entries_are_deleted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    link = FakeLink([entry(53), entry(54), entry(30053)])
    monkeypatch.setattr(udp_flows, "Netlink", lambda protocol: link)
    KernelConnections().drop(Stale(frozenset({Face("", 54)}), frozenset({(Face("", 30053), "10.244.0.1")})))
    flows = list(conntrack.parse_flows(link.entries))
    assert link.sent == [[conntrack.delete_request(flow) for flow in flows[1:]], [b"closed"]]
    assert caplog.records == []


def test_a_kernel_that_refuses_is_told_once_and_fails_no_sync(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    link = FakeLink([entry(53)], [Failure(0, 1)])
    monkeypatch.setattr(udp_flows, "Netlink", lambda protocol: link)
    kernel = KernelConnections()
    for _ in range(2):
        kernel.drop(Stale(frozenset({VIP})))
    words = "connection tracking: UDP clients may stay with endpoints that are gone: "
    assert caplog.messages == [f"{words}1 entries could not be deleted: Operation not permitted"]

    def no_socket(protocol: int) -> None:
        raise ProxierError(f"netlink protocol {protocol}: Protocol not supported")

    monkeypatch.setattr(udp_flows, "Netlink", no_socket)
    KernelConnections().drop(Stale(frozenset({VIP})))
    assert caplog.messages[1:] == [f"{words}netlink protocol 12: Protocol not supported"]
