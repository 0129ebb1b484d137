"""The portals of userspace mode: rules that lead a Service's traffic to the relay's port for it. Pure, in bytes.

Chains and rules are those of kube-proxy 1.20.2 (tests/golden), in the spelling of iptables-save.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from refproxy.fixed_tables import FixedTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from refproxy.plane import ServicePort

_CLUSTER_IPS = b'-m comment --comment "handle ClusterIPs; NOTE: this must be before the NodePort rules"'
_NODE_PORTS = (
    b"-m addrtype --dst-type LOCAL "
    b'-m comment --comment "handle service NodePorts; NOTE: this must be the last rule in the chain"'
)
NAT = FixedTable(
    b"nat",
    chains=(b"KUBE-PORTALS-CONTAINER", b"KUBE-PORTALS-HOST", b"KUBE-NODEPORT-CONTAINER", b"KUBE-NODEPORT-HOST"),
    jumps=(
        b"PREROUTING " + _CLUSTER_IPS + b" -j KUBE-PORTALS-CONTAINER",
        b"OUTPUT " + _CLUSTER_IPS + b" -j KUBE-PORTALS-HOST",
    ),
    last_jumps=(
        b"PREROUTING " + _NODE_PORTS + b" -j KUBE-NODEPORT-CONTAINER",
        b"OUTPUT " + _NODE_PORTS + b" -j KUBE-NODEPORT-HOST",
    ),
)
FILTER = FixedTable(
    b"filter",
    chains=(b"KUBE-NODEPORT-NON-LOCAL",),
    jumps=(b'INPUT -m comment --comment "Ensure that non-local NodePort traffic can flow" -j KUBE-NODEPORT-NON-LOCAL',),
)


def nat_rules(port: ServicePort, relay_port: int, host_ip: str) -> tuple[bytes, ...]:
    """Return nat's rules of one Service port, chain first, without verb and line end.

    What comes from elsewhere is redirected to the relay; what this node itself sends goes to ``host_ip``, since
    REDIRECT in OUTPUT would lead to 127.0.0.1. A relay knows no client's address before it has accepted its connection:
    where only some sources may use a load balancer, nobody may.
    """
    redirect = f"-j REDIRECT --to-ports {relay_port}"
    forward = f"-j DNAT --to-destination {host_ip}:{relay_port}"
    here = "-m addrtype --dst-type LOCAL "
    rules = []
    for address in (port.cluster_ip, *(() if port.source_ranges else port.ingress_ips)):
        vip = _match(port, address, port.port)
        rules += [f"KUBE-PORTALS-CONTAINER {vip}{redirect}", f"KUBE-PORTALS-HOST {vip}{forward}"]
    for address in port.external_ips:
        external = _match(port, address, port.port)
        rules += [
            f"KUBE-PORTALS-CONTAINER {external}-m physdev ! --physdev-is-in {redirect}",
            f"KUBE-PORTALS-CONTAINER {external}{here}{redirect}",
            f"KUBE-PORTALS-HOST {external}{here}{forward}",
        ]
    if port.node_port:
        node = _match(port, "", port.node_port)
        rules += [f"KUBE-NODEPORT-CONTAINER {node}{redirect}", f"KUBE-NODEPORT-HOST {node}{forward}"]
    return tuple(rule.encode() for rule in rules)


def filter_rules(port: ServicePort, relay_port: int) -> tuple[bytes, ...]:
    """Return filter's rules of one Service port: a redirected NodePort must get through INPUT."""
    if not port.node_port:
        return ()
    match = _match(port, "", relay_port)
    return (f"KUBE-NODEPORT-NON-LOCAL {match}-m state --state NEW -j ACCEPT".encode(),)


def full_input(table: FixedTable, base: bytes, rules: Iterable[bytes]) -> bytes:
    """Return the lines that empty the table's chains and fill them anew; ``base`` comes first."""
    emptied = b"".join(b":%b - [0:0]\n" % name for name in table.chains)
    return base + emptied + b"".join([b"-A %b\n" % rule for rule in rules])


def change_input(removed: Iterable[bytes], wanted: Iterable[tuple[bytes, bool]], *, counted: bool) -> bytes:
    """Return the lines that remove some rules, then add those of ``wanted`` that are marked True.

    With ``counted``, ``wanted`` is all that the table's chains shall hold, in order, and each rule is inserted at its
    place; else it is appended.
    """
    lines = [b"-D %b\n" % rule for rule in removed]
    places: Counter[bytes] = Counter()
    for rule, is_new in wanted:
        if not counted:
            lines.append(b"-A %b\n" % rule)
            continue
        chain, _, rest = rule.partition(b" ")
        places[chain] += 1
        if is_new:
            lines.append(b"-I %b %d %b\n" % (chain, places[chain], rest))
    return b"".join(lines)


def _match(port: ServicePort, address: str, number: int) -> str:
    protocol = port.key.protocol
    destination = f"-d {address}/32 " if address else ""
    return f'{destination}-p {protocol} -m comment --comment "{port.key}" -m {protocol} --dport {number} '
