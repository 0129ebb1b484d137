from __future__ import annotations

import ipaddress
import shutil
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from proxybench.targets.lab.topology import (
    CLUSTER_CIDR,
    CTL,
    CTL_ADDRESS,
    DEFAULT,
    DUAL_STACK,
    SERVICE_CIDR,
    LabNode,
    Topology,
    script,
    with_clients,
)

BENCHMARKS = ipaddress.ip_network("198.18.0.0/15")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Draw a client and one to four proxy nodes, in any order, with pods or without."""
    proxies = draw(st.integers(1, 4))
    numbers = draw(st.lists(st.integers(2, 60), min_size=proxies + 1, max_size=proxies + 1, unique=True))
    nodes = [LabNode("client", numbers[0], frozenset({"client"}))]
    for index, number in enumerate(numbers[1:], start=1):
        pods = f"10.244.{index * 32}.0/19" if draw(st.booleans()) else None
        nodes.append(LabNode(f"node{index}", number, frozenset({"proxy"}), pods))
    with_pod = draw(st.booleans())
    hosts = [node for node in nodes if node.pod_cidr]
    if hosts and with_pod:
        nodes.append(LabNode("pod1", 61, frozenset({"pod"}), host=hosts[0]))
    return Topology(tuple(draw(st.permutations(nodes))))


def routes(text: str, namespace: str) -> dict[str, str]:
    """Return what a namespace's routes lead to: range to next hop."""
    blocks = text.split(f"ip -n {namespace} -batch - <<'END'\n")[1:]
    lines = [line for block in blocks for line in block.split("\nEND\n")[0].splitlines()]
    found = [line.split()[2:] for line in lines if line.startswith("route add ")]
    return {words[0]: words[2] for words in found if words[1] == "via"}


def test_the_default_is_a_client_and_two_nodes_with_half_of_the_pods_each() -> None:
    assert [(node.name, node.management, node.address, node.pods, node.pod_cidr) for node in DEFAULT.nodes] == [
        ("client", "198.18.0.10", "198.18.1.10", None, None),
        ("node1", "198.18.0.11", "198.18.1.11", "pods1", "10.244.0.0/17"),
        ("node2", "198.18.0.12", "198.18.1.12", "pods2", "10.244.128.0/17"),
        ("pod1", "198.18.0.13", "10.244.0.2", None, None),
    ]


def test_the_default_script_says_what_each_node_knows() -> None:
    text = script(DEFAULT)
    assert routes(text, "client") == {
        "default": "198.18.0.1",
        "10.96.0.0/12": "198.18.1.11",
        "10.244.0.0/16": "198.18.1.11",
        "198.19.0.0/16": "198.18.1.11",
    }
    assert routes(text, "node1") == {
        "default": "198.18.0.1",
        "10.244.128.0/17": "198.18.1.12",
        "10.244.0.0/17": "198.18.2.46",
    }
    assert routes(text, "node2") == {
        "default": "198.18.0.1",
        "10.244.0.0/17": "198.18.1.11",
        "10.244.128.0/17": "198.18.2.50",
    }
    assert routes(text, "pods1") == {"default": "198.18.2.45", "10.244.0.2/32": "198.18.2.45"}
    assert "route add local 10.244.0.0/17 dev lo" in text.splitlines()


def test_a_dual_stack_lab_has_the_same_ways_over_ipv6_and_nothing_else() -> None:
    usual = script(DEFAULT).splitlines()
    added = [line for line in script(DUAL_STACK).splitlines() if line not in usual]
    assert [line for line in added if line.startswith("route ")] == [
        "route add default via fd00:198:18::1",  # the client
        "route add fd00:10:96::/108 via fd00:198:18:1::11",
        "route add fd00:10:244::/48 via fd00:198:18:1::11",
        "route add default via fd00:198:18::1",  # node1
        "route add fd00:10:244:11::/64 via fd00:198:18:2:11::2",
        "route add fd00:10:244:12::/64 via fd00:198:18:1::12",
        "route add default via fd00:198:18:2:11::1",  # its pods
        "route add local fd00:10:244:11::/64 dev lo",
        "route add default via fd00:198:18::1",  # node2
        "route add fd00:10:244:12::/64 via fd00:198:18:2:12::2",
        "route add fd00:10:244:11::/64 via fd00:198:18:1::11",
        "route add default via fd00:198:18:2:12::1",  # its pods
        "route add local fd00:10:244:12::/64 dev lo",
    ]
    assert sum(line.startswith("addr add fd00:198:18:") and line.endswith(" nodad") for line in added) == 11
    assert all("fd00:" in line or "net/ipv6" in line for line in added)


def test_the_pod_that_connects_has_an_address_of_its_nodes_range_and_goes_by_its_node() -> None:
    text = script(DEFAULT)
    assert routes(text, "pod1") == {"default": "198.18.2.53"}
    assert "route add default via 198.18.2.53 src 10.244.0.2" in text.splitlines()
    assert "route add 10.244.0.2/32 dev pod1" in text.splitlines()


def test_ctl_has_no_way_out() -> None:
    assert routes(script(DEFAULT), CTL) == {}


@given(topologies())
def test_every_node_has_a_way_to_every_pod_and_the_client_goes_by_the_first_proxy_node(topology: Topology) -> None:
    text = script(topology)
    first = next(node for node in topology.nodes if "proxy" in node.roles)
    for node in topology.nodes:
        known = routes(text, node.name)
        assert known["default"] == (f"198.18.2.{61 * 4 + 1}" if node.host else CTL_ADDRESS)
        if node.host:
            assert set(known) == {"default"}
        elif "client" in node.roles:
            assert (known[SERVICE_CIDR], known[CLUSTER_CIDR]) == (first.address, first.address)
        else:
            assert set(known) == {"default", *(peer.pod_cidr for peer in topology.nodes if peer.pod_cidr)}
            elsewhere = {peer.pod_cidr: peer.address for peer in topology.nodes if peer.pod_cidr and peer != node}
            assert elsewhere.items() <= known.items()


@given(topologies())
def test_addresses_are_unique_and_of_the_range_for_benchmarks(topology: Topology) -> None:
    words = [line.split() for line in script(topology).splitlines() if line.startswith("addr add ")]
    addresses = [ipaddress.ip_interface(line[2]) for line in words]
    links = [2 * bool(node.pods) + bool(node.host) for node in topology.nodes]
    assert len(addresses) == 1 + 2 * len(topology.nodes) + sum(links)
    assert len(addresses) == len({address.ip for address in addresses})
    pods = [ipaddress.ip_address(node.address) for node in topology.nodes if node.host]
    assert all(address.ip in BENCHMARKS or address.ip in pods for address in addresses)


@given(topologies())
def test_every_namespace_is_made_once_before_it_is_used_and_loopback_is_up(topology: Topology) -> None:
    made: list[str] = []
    used: list[str] = []
    for line in script(topology).splitlines():
        words = line.split()
        if words[:3] == ["ip", "netns", "add"]:
            made.append(words[3])
        elif words[:2] == ["ip", "-n"]:
            assert words[2] in made
            used.append(words[2])
        elif words[:3] == ["ip", "netns", "exec"]:
            assert words[3] in made
    pods = [node.pods for node in topology.nodes if node.pods]
    assert made == [CTL, *(node.name for node in topology.nodes), *pods]
    assert set(used) == set(made)
    assert script(topology).count("\nlink set lo up\n") == len(made)


@given(topologies())
def test_interface_names_fit_the_kernel(topology: Topology) -> None:
    for line in script(topology).splitlines():
        words = line.split()
        for before in ("add", "name", "dev"):
            if line.startswith("link add ") and before in words:
                assert len(words[words.index(before) + 1]) < 16


@given(topologies())
def test_a_shell_can_read_it(topology: Topology) -> None:
    subprocess.run([shutil.which("sh") or "sh", "-n"], input=script(topology), text=True, check=True, timeout=10)
    assert script(topology).splitlines()[0] == "set -e"


def test_further_clients_are_linked_and_routed_as_the_first() -> None:
    lab = with_clients(3)
    assert lab.nodes[:4] == DEFAULT.nodes
    assert [(node.name, node.management, node.address, node.pods) for node in lab.nodes[4:]] == [
        ("client2", "198.18.0.22", "198.18.1.22", None),
        ("client3", "198.18.0.23", "198.18.1.23", None),
    ]
    text = script(lab)
    assert routes(text, "client3") == routes(text, "client")
    assert with_clients(1) == DEFAULT
