"""The lab's network as data, and the one script that builds it: the same on this kernel and in the guest.

                                      ┌── pod1    a pod of node1 that connects
    client ──┐                       ├── pods1   answers for 10.244.0.0/17
             ├── data bridge ── node1 ┘
             │                ├ node2 ── pods2   answers for 10.244.128.0/17
    ctl  ────┴── management bridge to client, node1, node2 and pod1

Each is a network namespace. The client sends everything for Services and pods by node1, so that a VIP and its
endpoint are reached over the same path and differ by the rules alone. pod1 has an address of node1's range and a
namespace of its own: what two pods of one namespace send each other would not pass the node. ``ctl`` holds both bridges
and has no default route: a packet that no rule takes ends there, unanswered, and never leaves the lab. A pod namespace
answers for its whole range (AnyIP), so that 10,000 endpoints cost one route.

A dual-stack lab has all of that, but SSH and the API, over IPv6 as well: fd00:198:18:1::N for the data network,
fd00:10:244:N::/64 for pods. The usual lab has none of it: an address more is work for a Service proxy.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/12"
CLUSTER_CIDR6 = "fd00:10:244::/48"
SERVICE_CIDR6 = "fd00:10:96::/108"  # the widest that Kubernetes takes
EXTERNAL_CIDR = "198.19.0.0/16"
"""For external IPs and load balancers' addresses of Services."""
BACKEND_PORT = 8080
CTL = "ctl"
CTL_ADDRESS = "198.18.0.1"
_CTL_ADDRESS6 = "fd00:198:18::1"


@dataclass(frozen=True)
class LabNode:
    """One node: ``number`` makes its addresses; ``pods`` names its pod namespace, if it has pods.

    One with a ``host`` is no node but a single pod on that one, with an address of its range: what has a shell to
    connect from.
    """

    name: str
    number: int
    roles: frozenset[str]
    pod_cidr: str | None = None
    host: LabNode | None = None

    @property
    def management(self) -> str:
        """Its address for SSH and the API."""
        return f"198.18.0.{self.number}"

    @property
    def address(self) -> str:
        """Its address in the data network: the node's InternalIP; that of a pod: in the range of its node's pods."""
        if self.host and self.host.pod_cidr:
            return str(ipaddress.ip_network(self.host.pod_cidr)[_POD])
        return f"198.18.1.{self.number}"

    @property
    def address6(self) -> str:
        """Its IPv6 address in the data network of a dual-stack lab."""
        return f"fd00:198:18:1::{self.number}"

    @property
    def pod_cidr6(self) -> str | None:
        """The IPv6 range of its pods in a dual-stack lab."""
        return f"fd00:10:244:{self.number}::/64" if self.pod_cidr else None

    @property
    def pods(self) -> str | None:
        """The name of its pod namespace."""
        return self.name.replace("node", "pods") if self.pod_cidr else None


@dataclass(frozen=True)
class Topology:
    """The nodes of a lab, and whether they have addresses of IPv6, too."""

    nodes: tuple[LabNode, ...]
    dual_stack: bool = False

    def with_role(self, role: str) -> tuple[LabNode, ...]:
        """Return the nodes that have the role ("client", "proxy", "pod"), in order."""
        return tuple(node for node in self.nodes if role in node.roles)


_POD = 2  # of a range; what answers has addresses from 16 on
_NODE1 = LabNode("node1", 11, frozenset({"proxy"}), "10.244.0.0/17")
DEFAULT = Topology(
    nodes=(
        LabNode("client", 10, frozenset({"client"})),
        _NODE1,
        LabNode("node2", 12, frozenset({"proxy"}), "10.244.128.0/17"),
        LabNode("pod1", 13, frozenset({"pod"}), host=_NODE1),
    )
)
DUAL_STACK = replace(DEFAULT, dual_stack=True)


def with_clients(count: int, lab: Topology = DEFAULT) -> Topology:
    """Return the lab with so many clients: client, client2, …, each linked as the first is."""
    more = (LabNode(f"client{number}", 20 + number, frozenset({"client"})) for number in range(2, count + 1))
    return replace(lab, nodes=(*lab.nodes, *more))


def script(topology: Topology) -> str:
    """Return a POSIX shell script that builds the network; it needs root and stops at the first error.

    One ``ip -batch`` per namespace: on an emulated processor every program that is started counts.
    """
    lines = ["set -e", *(f"ip netns add {name}" for name in namespaces(topology))]
    links, inside = _fabric(topology), {CTL: _ctl()}
    for node in topology.nodes:
        inside[node.name] = _node(node, topology)
        if node.pods:
            inside[node.pods] = _pods(node, topology)
    if topology.dual_stack:
        for name, commands in _over_ipv6(topology).items():
            inside[name] += commands
    lines += _batch(CTL, links)
    for name, commands in inside.items():
        lines += _batch(name, commands)
    for name, values in _sysctls(topology).items():
        # Not every kernel has every one: a bridge's come with a module.
        files = {f"/proc/sys/{key}": value for key, value in values.items()}
        writes = "; ".join(f"[ ! -e {file} ] || echo {value} > {file}" for file, value in files.items())
        lines.append(f"ip netns exec {name} sh -c '{writes}'")
    return "\n".join(lines) + "\n"


def namespaces(topology: Topology) -> tuple[str, ...]:
    """Return the names of all namespaces."""
    pods = (node.pods for node in topology.nodes if node.pods)
    return (CTL, *(node.name for node in topology.nodes), *pods)


def _batch(namespace: str, commands: list[str]) -> list[str]:
    return [f"ip -n {namespace} -batch - <<'END'", *commands, "END"]


def _fabric(topology: Topology) -> list[str]:
    """Return what makes the bridges and every veth pair, in ctl, and moves the far ends to where they belong."""
    lines = ["link add mgmt type bridge", "link add data type bridge"]
    for node in topology.nodes:
        for network in ("mgmt", "data") if node.host is None else ("mgmt",):
            port = f"{network}{node.number}"
            lines.append(f"link add {port} type veth peer name {network} netns {node.name}")
            lines.append(f"link set {port} master {network} up")
        if node.pods:
            lines.append(f"link add pods{node.number} type veth peer name uplink netns {node.pods}")
            lines.append(f"link set pods{node.number} name pods netns {node.name}")
        if node.host:
            lines.append(f"link add {node.name} type veth peer name uplink netns {node.name}")
            lines.append(f"link set {node.name} netns {node.host.name}")
    return lines


def _ctl() -> list[str]:
    return ["link set lo up", f"addr add {CTL_ADDRESS}/24 dev mgmt", "link set mgmt up", "link set data up"]


def _node(node: LabNode, topology: Topology) -> list[str]:
    if node.host:
        return _pod(node)
    lines = ["link set lo up"]
    for network, address in (("mgmt", node.management), ("data", node.address)):
        lines += [f"addr add {address}/24 dev {network}", f"link set {network} up"]
    lines.append(f"route add default via {CTL_ADDRESS}")
    if "client" in node.roles:
        gateway = next(peer.address for peer in topology.nodes if "proxy" in peer.roles)
        return lines + [f"route add {cidr} via {gateway}" for cidr in (SERVICE_CIDR, CLUSTER_CIDR, EXTERNAL_CIDR)]
    if node.pods:
        near, far = _pod_link(node)
        lines += [f"addr add {near}/30 dev pods", "link set pods up", f"route add {node.pod_cidr} via {far}"]
    for pod in (peer for peer in topology.nodes if peer.host == node):
        near, _ = _pod_link(pod)
        lines += [f"addr add {near}/32 dev {pod.name}", f"link set {pod.name} up"]
        lines.append(f"route add {pod.address}/32 dev {pod.name}")
    others = (peer for peer in topology.nodes if peer.pod_cidr and peer is not node)
    return lines + [f"route add {peer.pod_cidr} via {peer.address}" for peer in others]


def _pod(pod: LabNode) -> list[str]:
    near, _ = _pod_link(pod)
    return [
        "link set lo up",
        f"addr add {pod.management}/24 dev mgmt",
        "link set mgmt up",
        f"addr add {pod.address}/32 dev uplink",
        "link set uplink up",
        f"route add {near}/32 dev uplink",
        f"route add default via {near} src {pod.address}",
    ]


def _pods(node: LabNode, topology: Topology) -> list[str]:
    near, far = _pod_link(node)
    # Beside the range that it answers for, where the longest prefix counts: the pod that is somewhere else.
    away = (f"route add {pod.address}/32 via {near} table local" for pod in topology.nodes if pod.host == node)
    return [
        "link set lo up",
        f"addr add {far}/30 dev uplink",
        "link set uplink up",
        f"route add default via {near}",
        f"route add local {node.pod_cidr} dev lo",
        *away,
    ]


def _over_ipv6(topology: Topology) -> dict[str, list[str]]:
    """Return, by namespace, what makes the same network over IPv6.

    No address is looked for in the network before it is used (nodad): that takes a second.
    """
    inside = {CTL: [f"addr add {_CTL_ADDRESS6}/64 dev mgmt nodad"]}
    gateway = topology.with_role("proxy")[0].address6
    for node in (node for node in topology.nodes if node.host is None):
        lines = inside[node.name] = [
            f"addr add fd00:198:18::{node.number}/64 dev mgmt nodad",
            f"addr add {node.address6}/64 dev data nodad",
            f"route add default via {_CTL_ADDRESS6}",
        ]
        if "client" in node.roles:
            lines += [f"route add {cidr} via {gateway}" for cidr in (SERVICE_CIDR6, CLUSTER_CIDR6)]
            continue
        if node.pods:
            near, far = (f"fd00:198:18:2:{node.number}::{end}" for end in (1, 2))
            lines += [f"addr add {near}/64 dev pods nodad", f"route add {node.pod_cidr6} via {far}"]
            inside[node.pods] = [
                f"addr add {far}/64 dev uplink nodad",
                f"route add default via {near}",
                f"route add local {node.pod_cidr6} dev lo",
            ]
        others = (peer for peer in topology.nodes if peer.pod_cidr6 and peer is not node)
        lines += [f"route add {peer.pod_cidr6} via {peer.address6}" for peer in others]
    return inside


def _pod_link(node: LabNode) -> tuple[str, str]:
    """Return the addresses of the link between a node and its pods: the node's end, the pods' end."""
    return f"198.18.2.{node.number * 4 + 1}", f"198.18.2.{node.number * 4 + 2}"


def _sysctls(topology: Topology) -> dict[str, dict[str, str]]:
    no_filter = {"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0"}
    router = {**no_filter, "net/ipv4/ip_forward": "1"}
    # xt_physdev brings br_netfilter along, which would run the fabric's frames through ctl's own rules.
    values = {CTL: {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "0"}}
    for node in topology.nodes:
        client = {"net/ipv4/ip_local_port_range": "1024 65535"}
        values[node.name] = dict(client if "client" in node.roles else router)
        if node.pods:
            values[node.pods] = {**no_filter, "net/core/somaxconn": "4096"}
    if topology.dual_stack:
        for name in (CTL, *(node.name for node in topology.with_role("proxy"))):
            values[name]["net/ipv6/conf/all/forwarding"] = "1"
        values[CTL]["net/bridge/bridge-nf-call-ip6tables"] = "0"
    return values
