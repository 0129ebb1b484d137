"""The lab's network as data, and the one script that builds it: the same on this kernel and in the guest.

    client ──┐                       ┌── pods1   answers for 10.244.0.0/17
             ├── data bridge ── node1 ┘
             │                ├ node2 ── pods2   answers for 10.244.128.0/17
    ctl  ────┴── management bridge to client, node1 and node2

Each is a network namespace. The client sends everything for Services and pods by node1, so that a VIP and its
endpoint are reached over the same path and differ by the rules alone. ``ctl`` holds both bridges and has no default
route: a packet that no rule takes ends there, refused at once, and never leaves the lab. A pod namespace answers for
its whole range (AnyIP), so that 10,000 endpoints cost one route.
"""

from __future__ import annotations

from dataclasses import dataclass

CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/12"
BACKEND_PORT = 8080
CTL = "ctl"
CTL_ADDRESS = "198.18.0.1"


@dataclass(frozen=True)
class LabNode:
    """One node: ``number`` makes its addresses; ``pods`` names its pod namespace, if it has pods."""

    name: str
    number: int
    roles: frozenset[str]
    pod_cidr: str | None = None

    @property
    def management(self) -> str:
        """Its address for SSH and the API."""
        return f"198.18.0.{self.number}"

    @property
    def address(self) -> str:
        """Its address in the data network: the node's InternalIP."""
        return f"198.18.1.{self.number}"

    @property
    def pods(self) -> str | None:
        """The name of its pod namespace."""
        return self.name.replace("node", "pods") if self.pod_cidr else None


@dataclass(frozen=True)
class Topology:
    """The nodes of a lab."""

    nodes: tuple[LabNode, ...]


DEFAULT = Topology(
    nodes=(
        LabNode("client", 10, frozenset({"client"})),
        LabNode("node1", 11, frozenset({"proxy"}), "10.244.0.0/17"),
        LabNode("node2", 12, frozenset({"proxy"}), "10.244.128.0/17"),
    )
)


def script(topology: Topology) -> str:
    """Return a POSIX shell script that builds the network; it needs root and stops at the first error."""
    lines = ["set -e", *_ctl()]
    for node in topology.nodes:
        lines += _node(node, topology)
        if node.pods:
            lines += _pods(node)
    return "\n".join(lines) + "\n"


def _ctl() -> list[str]:
    return [
        f"ip netns add {CTL}",
        f"ip -n {CTL} link set lo up",
        f"ip -n {CTL} link add mgmt type bridge",
        f"ip -n {CTL} addr add {CTL_ADDRESS}/24 dev mgmt",
        f"ip -n {CTL} link set mgmt up",
        f"ip -n {CTL} link add data type bridge",
        f"ip -n {CTL} link set data up",
        _sysctl(CTL, {"net/ipv4/ip_forward": "1", "net/ipv4/icmp_ratelimit": "0"}),
        # xt_physdev brings br_netfilter along, which would run the fabric's frames through ctl's own rules.
        f"ip netns exec {CTL} sh -c 'echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables' 2>/dev/null || true",
    ]


def _node(node: LabNode, topology: Topology) -> list[str]:
    name = node.name
    lines = [f"ip netns add {name}", f"ip -n {name} link set lo up"]
    for network, address in (("mgmt", node.management), ("data", node.address)):
        lines += [
            f"ip -n {CTL} link add {network}{node.number} type veth peer name {network} netns {name}",
            f"ip -n {CTL} link set {network}{node.number} master {network} up",
            f"ip -n {name} addr add {address}/24 dev {network}",
            f"ip -n {name} link set {network} up",
        ]
    lines.append(f"ip -n {name} route add default via {CTL_ADDRESS}")
    if "client" in node.roles:
        gateway = next(peer.address for peer in topology.nodes if "proxy" in peer.roles)
        lines += [f"ip -n {name} route add {cidr} via {gateway}" for cidr in (SERVICE_CIDR, CLUSTER_CIDR)]
        lines.append(_sysctl(name, {"net/ipv4/ip_local_port_range": "1024 65535"}))
        return lines
    lines.append(
        _sysctl(
            name,
            {
                "net/ipv4/ip_forward": "1",
                "net/ipv4/conf/all/rp_filter": "0",
                "net/ipv4/conf/default/rp_filter": "0",
                "net/ipv4/icmp_ratelimit": "0",
            },
        )
    )
    lines += [
        f"ip -n {name} route add {peer.pod_cidr} via {peer.address}"
        for peer in topology.nodes
        if peer.pod_cidr and peer is not node
    ]
    return lines


def _pods(node: LabNode) -> list[str]:
    pods, near, far = node.pods, f"198.18.2.{node.number * 4 + 1}", f"198.18.2.{node.number * 4 + 2}"
    return [
        f"ip netns add {pods}",
        f"ip -n {pods} link set lo up",
        f"ip -n {node.name} link add pods type veth peer name uplink netns {pods}",
        f"ip -n {node.name} addr add {near}/30 dev pods",
        f"ip -n {node.name} link set pods up",
        f"ip -n {pods} addr add {far}/30 dev uplink",
        f"ip -n {pods} link set uplink up",
        f"ip -n {pods} route add default via {near}",
        f"ip -n {pods} route add local {node.pod_cidr} dev lo",
        f"ip -n {node.name} route add {node.pod_cidr} via {far}",
        _sysctl(str(pods), {"net/ipv4/conf/all/rp_filter": "0", "net/core/somaxconn": "4096"}),
    ]


def _sysctl(namespace: str, values: dict[str, str]) -> str:
    writes = "; ".join(f"echo {value} > /proc/sys/{name}" for name, value in values.items())
    return f"ip netns exec {namespace} sh -c '{writes}'"
