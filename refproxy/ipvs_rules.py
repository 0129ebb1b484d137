"""The fixed iptables rules of IPVS mode: a handful that ask the sets, the same for any number of Services. Pure.

As kube-proxy 1.20.2 writes them (tests/golden): a rule that asks a set is there only while the set has members. What
is to be dropped 1.20.2 leaves to the KUBE-MARK-DROP of a kubelet, which newer ones lack; so it is dropped here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refproxy.fixed_tables import FixedTable
from refproxy.ipvs_plan import (
    CLUSTER_IP,
    EXTERNAL_IP,
    EXTERNAL_IP_LOCAL,
    LOAD_BALANCER,
    LOAD_BALANCER_FW,
    LOAD_BALANCER_LOCAL,
    LOAD_BALANCER_SOURCE_CIDR,
    LOAD_BALANCER_SOURCE_IP,
    LOOP_BACK,
    NODE_PORT,
    NODE_PORT_LOCAL,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from refproxy.ipvs_plan import Dropped

NAT = FixedTable(
    b"nat",
    chains=(
        b"KUBE-SERVICES",
        b"KUBE-POSTROUTING",
        b"KUBE-FIREWALL",
        b"KUBE-NODE-PORT",
        b"KUBE-LOAD-BALANCER",
        b"KUBE-MARK-MASQ",
    ),
    jumps=(
        b'PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        b'OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        b'POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    ),
    shared=(b"KUBE-MARK-DROP",),
)
FILTER = FixedTable(
    b"filter",
    chains=(b"KUBE-FORWARD",),
    jumps=(b'FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',),
)

GUARDED_FILTER = FixedTable(
    b"filter",
    chains=(*FILTER.chains, b"KUBE-PROXY-FIREWALL", b"KUBE-SOURCE-RANGES-FIREWALL"),
    jumps=(
        *FILTER.jumps,
        b'INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service firewall" -j KUBE-PROXY-FIREWALL',
    ),
)
"""filter where something is to be dropped: before IPVS takes it, which it does behind INPUT's filter."""

_MASQUERADE_AND_FILTER = "Kubernetes service external ip + port for masquerade and filter purpose"
_LB = "Kubernetes service load balancer ip + port"
# Chain, comment, set, what of a packet is looked up, target: a load balancer's traffic is masqueraded, but for Services
# that keep it local, and dropped where the sources are limited and its own is not among them.
_BALANCED = (
    ("KUBE-SERVICES", "Kubernetes service lb portal", LOAD_BALANCER, "dst,dst", "KUBE-LOAD-BALANCER"),
    ("KUBE-LOAD-BALANCER", f"{_LB} for load balancer with sourceRange", LOAD_BALANCER_FW, "dst,dst", "KUBE-FIREWALL"),
    (
        "KUBE-FIREWALL",
        f"{_LB} + source cidr for packet filter purpose",
        LOAD_BALANCER_SOURCE_CIDR,
        "dst,dst,src",
        "RETURN",
    ),
    ("KUBE-FIREWALL", f"{_LB} + source IP for packet filter purpose", LOAD_BALANCER_SOURCE_IP, "dst,dst,src", "RETURN"),
    ("KUBE-LOAD-BALANCER", f"{_LB} with externalTrafficPolicy=local", LOAD_BALANCER_LOCAL, "dst,dst", "RETURN"),
)
_TAIL = """\
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-FIREWALL -j KUBE-MARK-DROP
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
"""
_FILTER_RULES = b"""\
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack pod source rule" \
-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack pod destination rule" \
-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""


def nat_lines(filled: AbstractSet[str], cluster_cidr: str) -> bytes:
    """Return nat's chains, emptied, and their rules. ``filled`` names the sets that have members.

    Without ``cluster_cidr`` nobody knows which clients are outside: then only traffic that a Service's own address
    sends is masqueraded.
    """
    lines = []
    if LOOP_BACK in filled:
        words = "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"
        lines.append(_ask("KUBE-POSTROUTING", words, LOOP_BACK, "dst,dst,src", "MASQUERADE"))
    lines += [_ask(*rule) for rule in _BALANCED if rule[2] in filled]
    for protocol in ("tcp", "udp"):
        words = f"Kubernetes nodeport {protocol.upper()} port"
        start = f"KUBE-NODE-PORT -p {protocol}"
        if (name := NODE_PORT_LOCAL[protocol]) in filled:
            lines.append(_ask(start, f"{words} with externalTrafficPolicy=local", name, "dst", "RETURN"))
        if (name := NODE_PORT[protocol]) in filled:
            lines.append(_ask(start, f"{words} for masquerade purpose", name, "dst", "KUBE-MARK-MASQ"))
    if CLUSTER_IP in filled:
        words = "Kubernetes service cluster ip + port for masquerade purpose"
        source, match = (f" ! -s {cluster_cidr}", "dst,dst") if cluster_cidr else ("", "src,dst")
        lines.append(_ask(f"KUBE-SERVICES{source}", words, CLUSTER_IP, match, "KUBE-MARK-MASQ"))
    if EXTERNAL_IP in filled:
        lines.append(_ask("KUBE-SERVICES", _MASQUERADE_AND_FILTER, EXTERNAL_IP, "dst,dst", "KUBE-MARK-MASQ"))
        lines += _external(_MASQUERADE_AND_FILTER, EXTERNAL_IP)
    if EXTERNAL_IP_LOCAL in filled:
        lines += _external("Kubernetes service external ip + port with externalTrafficPolicy=local", EXTERNAL_IP_LOCAL)
    lines.append("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\n")
    if CLUSTER_IP in filled:
        lines.append(f"-A KUBE-SERVICES -m set --match-set {CLUSTER_IP} dst,dst -j ACCEPT\n")
    if LOAD_BALANCER in filled:
        lines.append(f"-A KUBE-SERVICES -m set --match-set {LOAD_BALANCER} dst,dst -j ACCEPT\n")
    return _emptied(NAT) + "".join([*lines, _TAIL]).encode()


def filter_lines() -> bytes:
    """Return filter's chain, emptied, and its rules."""
    return _emptied(FILTER) + _FILTER_RULES


def guarded_lines(filled: AbstractSet[str], dropped: Iterable[Dropped]) -> bytes:
    """Return the chains of ``GUARDED_FILTER``, emptied, and their rules."""
    lines = []
    if LOAD_BALANCER_FW in filled:
        words = f"{_LB} for load balancer with sourceRange"
        chain = "KUBE-SOURCE-RANGES-FIREWALL"
        lines.append(_ask("KUBE-PROXY-FIREWALL", words, LOAD_BALANCER_FW, "dst,dst", chain))
        returns = [rule[1:] for rule in _BALANCED if rule[0] == "KUBE-FIREWALL" and rule[2] in filled]
        lines += [*(_ask(chain, *rule) for rule in returns), f"-A {chain} -j DROP\n"]
    for protocol, address, port in dropped:
        where = f"-d {address}/32 -p {protocol}" if address else f"-p {protocol} -m addrtype --dst-type LOCAL"
        words = '-m comment --comment "no local endpoints"'
        lines.append(f"-A KUBE-PROXY-FIREWALL {where} {words} -m {protocol} --dport {port} -j DROP\n")
    return _emptied(GUARDED_FILTER) + _FILTER_RULES + "".join(lines).encode()


def _emptied(table: FixedTable) -> bytes:
    return b"".join(b":%b - [0:0]\n" % name for name in table.chains)


def _ask(start: str, words: str, name: str, match: str, target: str) -> str:
    return f'-A {start} -m comment --comment "{words}" -m set --match-set {name} {match} -j {target}\n'


def _external(words: str, name: str) -> list[str]:
    """Let external traffic through to IPVS when it comes from outside, or is for an address of this node."""
    start = f'-A KUBE-SERVICES -m comment --comment "{words}" -m set --match-set {name} dst,dst'
    return [
        f"{start} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT\n",
        f"{start} -m addrtype --dst-type LOCAL -j ACCEPT\n",
    ]
