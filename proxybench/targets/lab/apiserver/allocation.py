"""The addresses and node ports of Services: which are taken, and new ones for those that ask for none.

Unlike on a real API server, several Services may ask for the same address: populations in several namespaces share one
plan of addresses.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, Final

from proxybench.targets.lab.apiserver.defaults import EXTERNAL_NAME, HEADLESS, NODE_PORT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.targets.lab.apiserver.problems import Problems
    from proxybench.targets.lab.apiserver.status import Object

SERVICE_CIDR: Final = "10.96.0.0/12"  # kubeadm's default; a client may choose addresses outside of it
FIRST_NODE_PORT: Final = 30_000
LAST_NODE_PORT: Final = 32_767

Key = tuple[str, str]  # namespace and name
NodePort = tuple[int, str]  # number and protocol


class Allocations:
    """Who has which address and node port.

    New ones are handed out from the end of each range downwards, as clients that choose for themselves tend to begin
    at its start.
    """

    def __init__(self, cidr: str = SERVICE_CIDR) -> None:
        """Start with nothing taken."""
        network = ipaddress.IPv4Network(cidr)
        self._first_address = int(network.network_address) + 1
        self._last_address = int(network.broadcast_address) - 1
        self._next_address = self._last_address
        self._next_port = LAST_NODE_PORT
        self._addresses: Counter[str] = Counter()
        self._ports: dict[NodePort, Key] = {}

    def complete(self, key: Key, spec: Object, problems: Problems) -> None:
        """Give a valid Service what it left to the server; note what it asks for that it cannot have."""
        if spec["type"] == EXTERNAL_NAME:
            return
        if not spec.get("clusterIP"):
            self._complete_address(spec, problems)
        if spec["type"] in NODE_PORT_TYPES:
            self._complete_ports(key, spec, problems)

    def take(self, key: Key, spec: Object) -> None:
        """Note what a stored Service has."""
        self._addresses.update(_addresses(spec))
        self._ports.update(dict.fromkeys(_node_ports(spec), key))

    def release(self, spec: Object) -> None:
        """Note that a Service has gone, or is about to be replaced."""
        for address in _addresses(spec):
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        for port in _node_ports(spec):
            self._ports.pop(port, None)

    def _complete_address(self, spec: Object, problems: Problems) -> None:
        if spec["ipFamilies"][0] != "IPv4":
            problems.invalid("spec.ipFamilies[0]", spec["ipFamilies"][0], "not configured on this cluster")
        elif spec["ipFamilyPolicy"] == "RequireDualStack":
            why = "this cluster is not configured for dual-stack services"
            problems.invalid("spec.ipFamilyPolicy", "RequireDualStack", why)
        elif address := self._free_address():
            spec["clusterIP"], spec["clusterIPs"], spec["ipFamilies"] = address, [address], ["IPv4"]
        else:
            problems.invalid("spec.clusterIPs", [], "failed to allocate a serviceIP: range is full")

    def _complete_ports(self, key: Key, spec: Object, problems: Problems) -> None:
        wanted = spec["type"] == "NodePort" or spec["allocateLoadBalancerNodePorts"]
        mine = {number for number, _ in _node_ports(spec)}
        for index, port in enumerate(spec.get("ports") or ()):
            field = f"spec.ports[{index}].nodePort"
            number = port.get("nodePort")
            if not number:
                if wanted and (found := self._free_port(mine)):
                    port["nodePort"] = found
                    mine.add(found)
                elif wanted:
                    problems.invalid(field, 0, "failed to allocate a nodePort: range is full")
            elif not FIRST_NODE_PORT <= number <= LAST_NODE_PORT:
                valid = f"The range of valid ports is {FIRST_NODE_PORT}-{LAST_NODE_PORT}"
                problems.invalid(field, number, f"provided port is not in the valid range. {valid}")
            elif self._ports.get((number, port["protocol"]), key) != key:
                problems.invalid(field, number, "provided port is already allocated")
        if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or self._free_port(mine)

    def _free_address(self) -> str:
        for _ in range(self._last_address - self._first_address + 1):
            address = str(ipaddress.IPv4Address(self._next_address))
            self._next_address -= 1
            if self._next_address < self._first_address:
                self._next_address = self._last_address
            if address not in self._addresses:
                return address
        return ""

    def _free_port(self, mine: set[int]) -> int:
        """Return a number that is free for all protocols, or 0."""
        taken = {number for number, _ in self._ports} | mine
        for _ in range(FIRST_NODE_PORT, LAST_NODE_PORT + 1):
            number = self._next_port
            self._next_port = number - 1 if number > FIRST_NODE_PORT else LAST_NODE_PORT
            if number not in taken:
                return number
        return 0


def _addresses(spec: Object) -> Iterator[str]:
    return (address for address in spec.get("clusterIPs") or () if address != HEADLESS)


def _node_ports(spec: Object) -> Iterator[NodePort]:
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"], port["protocol"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"], "TCP"
