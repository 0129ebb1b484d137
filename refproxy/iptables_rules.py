"""The chains and rules of kube-proxy 1.20.2's iptables mode, as the text that iptables-restore reads.

Pure and in bytes. Every Service port becomes a ``Block`` once; a sync joins the blocks. Rules are spelled as
``iptables-save`` spells them, and their matches stand in kube-proxy's order, so that a connection walks the
same rules with the same matches. Source of names and rules: pkg/proxy/iptables/proxier.go of Kubernetes
1.20.2, checked against dumps of the real program.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from refproxy import ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from refproxy.plane import Endpoint, ServicePort, ServicePortKey

LARGE_CLUSTER_ENDPOINTS = 1000
"""Above so many endpoints kube-proxy leaves the comments out of the KUBE-SVC and KUBE-SEP chains."""

FILTER_CHAINS = (b"KUBE-SERVICES", b"KUBE-EXTERNAL-SERVICES", b"KUBE-FORWARD")
NAT_CHAINS = (b"KUBE-SERVICES", b"KUBE-NODEPORTS", b"KUBE-POSTROUTING", b"KUBE-MARK-MASQ")
CANARY = b"KUBE-PROXY-CANARY"
MARK_DROP = b"KUBE-MARK-DROP"  # the kubelet's: kube-proxy only makes sure that it is there
SERVICE_PREFIXES = (b"KUBE-SVC-", b"KUBE-SEP-", b"KUBE-XLB-", b"KUBE-FW-")

_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = [bytes((first, second)) for first in _BASE32 for second in _BASE32]

_PORTALS = b'-m comment --comment "kubernetes service portals"'
_EXTERNAL = b'-m comment --comment "kubernetes externally-visible service portals"'
_NEW = b"-m conntrack --ctstate NEW "
_FORWARDING = b'-m comment --comment "kubernetes forwarding rules"'
_SNAT = b'-m comment --comment "kubernetes service traffic requiring SNAT"'

JUMPS: dict[bytes, tuple[bytes, ...]] = {
    b"filter": (
        b"INPUT " + _NEW + _EXTERNAL + b" -j KUBE-EXTERNAL-SERVICES",
        b"FORWARD " + _FORWARDING + b" -j KUBE-FORWARD",
        b"FORWARD " + _NEW + _PORTALS + b" -j KUBE-SERVICES",
        b"FORWARD " + _NEW + _EXTERNAL + b" -j KUBE-EXTERNAL-SERVICES",
        b"OUTPUT " + _NEW + _PORTALS + b" -j KUBE-SERVICES",
    ),
    b"mangle": (),
    b"nat": (
        b"PREROUTING " + _PORTALS + b" -j KUBE-SERVICES",
        b"OUTPUT " + _PORTALS + b" -j KUBE-SERVICES",
        b'POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    ),
}
"""The rules in the kernel's own chains, top first, without the verb."""

_FORWARD_RULES = (
    b"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
    b"-A KUBE-FORWARD " + _FORWARDING + b" -m mark --mark 0x4000/0x4000 -j ACCEPT\n"
)
_FORWARD_POD_RULES = b"".join(
    b'-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack pod %s rule" '
    b"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n" % side
    for side in (b"source", b"destination")
)
_MASQUERADE_RULES = (
    b"-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
    b"-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n"
    b"-A KUBE-POSTROUTING " + _SNAT + b" -j MASQUERADE --random-fully\n"
    b"-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
)
_NODEPORTS_JUMP = (
    b'-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule '
    b'in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n'
)


class Block(NamedTuple):
    """One Service port's share of the tables: chains and rules, each a run of whole lines."""

    names: tuple[bytes, ...]  # of its own nat chains
    chains: bytes  # their declarations
    services: bytes  # rules in nat's KUBE-SERVICES
    node_ports: bytes  # rules in nat's KUBE-NODEPORTS
    rules: bytes  # rules in its own chains
    filter_services: bytes  # rules in filter's KUBE-SERVICES
    filter_external: bytes  # rules in filter's KUBE-EXTERNAL-SERVICES


def chain_name(prefix: bytes, key: ServicePortKey, endpoint: str = "") -> bytes:
    """Return kube-proxy's name: prefix and 16 letters of base32(SHA-256(key, protocol, endpoint))."""
    digest = sha256(f"{key}{key.protocol}{endpoint}".encode()).digest()
    high, low = int.from_bytes(digest[:5]), int.from_bytes(digest[5:10])
    # Spelled out: base64.b32encode takes twice as long, which was a quarter of the time to build a Service's rules.
    pairs = (
        _PAIRS[high >> 30],
        _PAIRS[high >> 20 & 1023],
        _PAIRS[high >> 10 & 1023],
        _PAIRS[high & 1023],
        _PAIRS[low >> 30],
        _PAIRS[low >> 20 & 1023],
        _PAIRS[low >> 10 & 1023],
        _PAIRS[low & 1023],
    )
    return prefix + b"".join(pairs)


def build_block(port: ServicePort, cluster_cidr: str, node_ip: str = "", *, comments: bool) -> Block:
    """Build everything that one Service port puts into the tables; ``comments`` as in small clusters.

    Where only some sources may use a load balancer, the node itself may if ``node_ip`` is one of them.
    """
    if not port.endpoints:
        return _refusing(port)
    key = port.key
    service = chain_name(b"KUBE-SVC-", key)
    pairs = _pairs(key, port.endpoints)
    targets = [name for name, _ in pairs]
    if port.leaving and port.local_only:
        pairs += _pairs(key, [item for item in port.outer_endpoints if item not in port.endpoints])
    names = [service, *(name for name, _ in pairs)]
    note = b' -m comment --comment "%b"' % str(key).encode() if comments else b""
    rules = [
        _balance(service, targets, note, port.affinity_seconds),
        *_deliver(port, pairs, note),
    ]
    outside = service
    if port.local_only:
        outside = chain_name(b"KUBE-XLB-", key)
        names.append(outside)
        rules.append(_local_only(port, outside, service, pairs, cluster_cidr, note))
    firewall = b""
    if port.ingress_ips:
        firewall = chain_name(b"KUBE-FW-", key)
        names.append(firewall)
        rules.append(_firewall(port, firewall, outside, node_ip))
    return Block(
        names=tuple(names),
        chains=b"".join([b":%b - [0:0]\n" % name for name in names]),
        services=_cluster_ip(port, service, cluster_cidr) + _external_ips(port, outside) + _ingress(port, firewall),
        node_ports=_node_port(port, outside),
        rules=b"".join(rules),
        filter_services=_refused_sources(port, b"KUBE-SERVICES", firewall) if port.source_ranges else b"",
        filter_external=_refused_outside(port, firewall) if port.local_only or port.source_ranges else b"",
    )


def _pairs(key: ServicePortKey, endpoints: Iterable[Endpoint]) -> list[tuple[bytes, Endpoint]]:
    return [(chain_name(b"KUBE-SEP-", key, f"{item.ip}:{item.port}"), item) for item in endpoints]


def nat_table(blocks: Sequence[Block], written: Sequence[Block], stale: Iterable[bytes] = ()) -> list[bytes]:
    """Return the pieces of an input for the nat table: all blocks' rules in the chains that they share, in their order.

    The blocks' own chains are only those of ``written``, the others stay as they are; ``stale`` chains are deleted.
    """
    old = sorted(stale)
    return [
        b"*nat\n",
        _declare([*NAT_CHAINS, *old]),
        *[block.chains for block in written],
        _MASQUERADE_RULES,
        *[block.services for block in blocks],
        _NODEPORTS_JUMP,
        *[block.node_ports for block in blocks],
        *[block.rules for block in written],
        *[b"-X %b\n" % name for name in old],
        b"COMMIT\n",
    ]


def filter_table(blocks: Sequence[Block], cluster_cidr: str) -> list[bytes]:
    """Return the pieces of the whole filter table."""
    return [
        b"*filter\n",
        _declare(FILTER_CHAINS),
        _FORWARD_RULES,
        _FORWARD_POD_RULES if cluster_cidr else b"",
        *[block.filter_services for block in blocks if block.filter_services],
        *[block.filter_external for block in blocks if block.filter_external],
        b"COMMIT\n",
    ]


def _declare(names: Iterable[bytes]) -> bytes:
    return b"".join([b":%b - [0:0]\n" % name for name in names])


def _match(port: ServicePort, address: str, word: str, number: int) -> bytes:
    """Return the matches of one address and port, in the order that kube-proxy loads them."""
    protocol = port.key.protocol
    where = f"-d {address}/32 " if address else ""
    return (f'{where}-p {protocol} -m comment --comment "{port.key}{word}" -m {protocol} --dport {number}').encode()


def _cluster_ip(port: ServicePort, service: bytes, cluster_cidr: str) -> bytes:
    match = _match(port, port.cluster_ip, " cluster IP", port.port)
    jump = b"-A KUBE-SERVICES %b -j %b\n" % (match, service)
    if not cluster_cidr:
        return jump
    return b"-A KUBE-SERVICES ! -s %b %b -j KUBE-MARK-MASQ\n%b" % (cluster_cidr.encode(), match, jump)


def _external_ips(port: ServicePort, outside: bytes) -> bytes:
    lines = []
    for address in port.external_ips:
        start = b"-A KUBE-SERVICES " + _match(port, address, " external IP", port.port)
        if not port.local_only:
            lines.append(start + b" -j KUBE-MARK-MASQ\n")
        foreign = b" -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL"
        lines.append(b"%b%b -j %b\n" % (start, foreign, outside))
        lines.append(b"%b -m addrtype --dst-type LOCAL -j %b\n" % (start, outside))
    return b"".join(lines)


def _ingress(port: ServicePort, firewall: bytes) -> bytes:
    """Return the rules that lead a load balancer's traffic, as it comes from outside, to its chain."""
    matches = [_match(port, address, " loadbalancer IP", port.port) for address in port.ingress_ips]
    return b"".join([b"-A KUBE-SERVICES %b -j %b\n" % (match, firewall) for match in matches])


def _firewall(port: ServicePort, chain: bytes, outside: bytes, node_ip: str) -> bytes:
    """Return the chain of a load balancer's traffic: what comes from the right sources goes on, the rest is dropped."""
    note = f' -m comment --comment "{port.key} loadbalancer IP"'.encode()
    lines = []
    for address in port.ingress_ips:
        if not port.local_only:
            lines.append(b"-A %b%b -j KUBE-MARK-MASQ\n" % (chain, note))
        sources = [f" -s {source}" if source != ranges.EVERYBODY else "" for source in port.source_ranges]
        if node_ip and any(ranges.contains(source, node_ip) for source in port.source_ranges):
            sources.append(f" -s {address}/32")  # the node's own traffic to the address may loop back to it
        lines += [b"-A %b%b%b -j %b\n" % (chain, source.encode(), note, outside) for source in sources or [""]]
        if sources and not port.local_only:  # else filter lets it pass by its mark, before it could drop it
            lines.append(b"-A %b%b -j MARK --set-xmark 0x0/0x4000\n" % (chain, note))
        lines.append(b"-A %b%b -j %b\n" % (chain, note, MARK_DROP))
    return b"".join(lines)


def _node_port(port: ServicePort, outside: bytes) -> bytes:
    if not port.node_port:
        return b""
    match = _match(port, "", "", port.node_port)
    source = b"-s 127.0.0.0/8 " if port.local_only else b""
    return b"-A KUBE-NODEPORTS %b%b -j KUBE-MARK-MASQ\n-A KUBE-NODEPORTS %b -j %b\n" % (
        source,
        match,
        match,
        outside,
    )


def _balance(chain: bytes, targets: Sequence[bytes], note: bytes, affinity: int) -> bytes:
    """Return a service chain: sticky clients first, then each endpoint with an equal chance."""
    start = b"-A %b%b" % (chain, note)
    lines = [_sticky(start, name, affinity) for name in targets] if affinity else []
    left = len(targets)
    for name in targets:
        lines.append(b"%b%b -j %b\n" % (start, _chance(left), name))
        left -= 1
    return b"".join(lines)


def _chance(left: int) -> bytes:
    return b" -m statistic --mode random --probability %.10f" % (1 / left) if left > 1 else b""


def _sticky(start: bytes, name: bytes, seconds: int) -> bytes:
    return b"%b -m recent --rcheck --seconds %d --reap --name %b --mask 255.255.255.255 --rsource -j %b\n" % (
        start,
        seconds,
        name,
        name,
    )


def _deliver(port: ServicePort, pairs: Iterable[tuple[bytes, Endpoint]], note: bytes) -> list[bytes]:
    """Return the endpoint chains: an endpoint's own connections are masqueraded, all are sent."""
    protocol = port.key.protocol.encode()
    lines = []
    for name, (ip, number, _) in pairs:
        remember = b""
        if port.affinity_seconds:
            remember = b" -m recent --set --name %b --mask 255.255.255.255 --rsource" % name
        address = ip.encode()
        lines.append(
            b"-A %b -s %b/32%b -j KUBE-MARK-MASQ\n-A %b -p %b%b%b -m %b -j DNAT --to-destination %b:%d\n"
            % (name, address, note, name, protocol, note, remember, protocol, address, number)
        )
    return lines


def _local_only(
    port: ServicePort,
    chain: bytes,
    service: bytes,
    pairs: Iterable[tuple[bytes, Endpoint]],
    cluster_cidr: str,
    note: bytes,
) -> bytes:
    """Return the chain of outside traffic that stays on this node and keeps the client's address."""
    local = [name for name, item in pairs if item.local]
    start = b"-A %b" % chain
    key = str(port.key).encode()
    lines = []
    if cluster_cidr:
        reason = b'"Redirect pods trying to reach external loadbalancer VIP to clusterIP"'
        lines.append(b"%b -s %b -m comment --comment %b -j %b\n" % (start, cluster_cidr.encode(), reason, service))
    for words, target in (
        (b"masquerade LOCAL traffic for %b LB IP", b"KUBE-MARK-MASQ"),
        (b"route LOCAL traffic for %b LB IP to service chain", service),
    ):
        comment = words % key
        lines.append(b'%b -m comment --comment "%b" -m addrtype --src-type LOCAL -j %b\n' % (start, comment, target))
    if not local:
        lines.append(b'%b -m comment --comment "%b has no local endpoints" -j %b\n' % (start, key, MARK_DROP))
    if port.affinity_seconds:
        lines += [_sticky(start + note, name, port.affinity_seconds) for name in local]
    for index, name in enumerate(local):
        comment = b"Balancing rule %d for %b" % (index, key)
        chance = _chance(len(local) - index)
        lines.append(b'%b -m comment --comment "%b"%b -j %b\n' % (start, comment, chance, name))
    return b"".join(lines)


def _refusing(port: ServicePort) -> Block:
    """Return the block of a Service port without endpoints: connections are refused, not lost."""
    word = " has no endpoints"
    end = b" -j REJECT --reject-with icmp-port-unreachable\n"
    inner = b"-A KUBE-SERVICES " + _match(port, port.cluster_ip, word, port.port) + end
    return Block((), b"", b"", b"", b"", inner, _outer(port, word, end))


def _outer(port: ServicePort, word: str, end: bytes) -> bytes:
    """Return filter's rules for what comes to a Service port's addresses from outside and that nat sent nowhere."""
    lines = [
        b"-A KUBE-EXTERNAL-SERVICES " + _match(port, address, word, port.port) + end
        for address in (*port.external_ips, *port.ingress_ips)
    ]
    if port.node_port:
        protocol = port.key.protocol
        rule = (
            f'-A KUBE-EXTERNAL-SERVICES -p {protocol} -m comment --comment "{port.key}{word}" '
            f"-m addrtype --dst-type LOCAL -m {protocol} --dport {port.node_port}"
        )
        lines.append(rule.encode() + end)
    return b"".join(lines)


def _refused_outside(port: ServicePort, firewall: bytes) -> bytes:
    """Return what drops that comes from outside to a node without a local endpoint, or from a source not let in.

    1.20.2 leaves both to the KUBE-MARK-DROP of a kubelet, which newer ones lack: they would be refused, or sent on.
    These are the rules of kube-proxy today.
    """
    if port.local_only and not port.outer_endpoints:
        return _outer(port, " has no local endpoints", b" -j DROP\n")
    return _refused_sources(port, b"KUBE-EXTERNAL-SERVICES", firewall)


def _refused_sources(port: ServicePort, chain: bytes, firewall: bytes) -> bytes:
    """Return what drops traffic to a load balancer that its chain in nat did not let through."""
    if not port.source_ranges:
        return b""
    word = f" traffic not accepted by {firewall.decode()}"
    matches = [_match(port, address, word, port.port) for address in port.ingress_ips]
    return b"".join([b"-A %b %b -j DROP\n" % (chain, match) for match in matches])
