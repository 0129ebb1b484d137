"""Where each Service's rule stands in the order in which the kernel walks them, read back from the kernel. Pure.

kube-proxy writes the rules of KUBE-SERVICES in the order of a Go map, which is another one at each start: the
Service that was made last may stand anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxybench.model import Family, Mode
from proxybench.subjects.driver import rule_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WALKED_CHAINS: Final[Mapping[Mode, str]] = {
    Mode.IPTABLES: "KUBE-SERVICES",
    Mode.USERSPACE: "KUBE-PORTALS-CONTAINER",  # what comes from outside of the node walks this one
}
"""The chain of the nat table that a new connection walks rule by rule; the other modes look addresses up."""

NODE_PORTS: Final[Mapping[Mode, str]] = {
    Mode.IPTABLES: "KUBE-NODEPORTS",
    Mode.USERSPACE: "KUBE-NODEPORT-CONTAINER",
}
"""The chain of the node ports, which is walked after the other one."""

_RULE: Final = re.compile(r"-A (?P<chain>\S+) (?:\S+ )*?-d (?P<to>[0-9a-f.:]+)/(?:32|128) (?:.* )?-j (?P<target>\S+)")
_PORT_RULE: Final = re.compile(r"-A (?P<chain>\S+) (?:.* )?--dport (?P<port>\d+) (?:.* )?-j (?P<target>\S+)")
_PORT: Final = re.compile(r" --dport (\d+) ")
_PROTOCOL: Final = re.compile(r" -p (\w+) ")
_JUMP: Final = re.compile(r"-A (?P<chain>\S+) .*-j (?P<target>KUBE-(?:SVC|SEP)-\S+)$")
_DNAT: Final = re.compile(r"-A (?P<chain>\S+) .*-j DNAT --to-destination \[?(?P<address>[0-9a-f.:]+)\]?:\d+")
_MARKING: Final = "KUBE-MARK-MASQ"  # stands before the jump and ends nothing


def list_argv(program: str, chain: str, family: Family = Family.IPV4) -> list[str]:
    """Return the command that prints a chain of the nat table, or all ("") of it; ``program`` is the multi-call one."""
    applet = "ip6tables" if family is Family.IPV6 else "iptables"
    return [program, applet, "-w", "30", "-t", "nat", "-S", *([chain] if chain else [])]


def parse_ranks(listing: str, chain: str) -> dict[str, int]:
    """Read ``iptables -t nat -S CHAIN`` (or ``iptables-save``): the rank of what is served, from 1, by ``rule_key``.

    A Service of several ports or protocols has several rules, which stand where they like: each has its own rank. Where
    one has more than one rule, the first of them counts.
    """
    return _ranked(rule_key(rule["to"], *_served(line)) for line, rule in _rules(listing, chain, _RULE))


def parse_port_ranks(listing: str, chain: str) -> dict[str, int]:
    """Read the same of a chain of node ports."""
    return _ranked(rule_key("", *_served(line)) for line, _ in _rules(listing, chain, _PORT_RULE))


def parse_addresses(listing: str, chain: str) -> frozenset[str]:
    """Read the same listing: all addresses that have a rule."""
    return frozenset(rule["to"] for _, rule in _rules(listing, chain, _RULE))


def _rules(listing: str, chain: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    for line in listing.splitlines():
        rule = pattern.match(line)
        if rule and rule["chain"] == chain and rule["target"] != _MARKING:
            yield line, rule


def _served(line: str) -> tuple[int, str]:
    """Return the port and the protocol of a rule; 0 for any port."""
    port, protocol = _PORT.search(line), _PROTOCOL.search(line)
    return int(port[1]) if port else 0, protocol[1] if protocol else "tcp"


def _ranked(keys: Iterator[str]) -> dict[str, int]:
    """Return the number of all that is served; several rules for the same count once."""
    ranks: dict[str, int] = {}
    for key in keys:
        ranks.setdefault(key, len(ranks) + 1)
    return ranks


def parse_places(listing: str, vip: str) -> dict[str, int]:
    """Read the whole nat table: the place, from 1, of each endpoint in the chain of the Service with a ClusterIP.

    Each rule of that chain takes a connection with some probability, and hands the others on to the next one.
    """
    jumps: dict[str, list[str]] = {}
    ends: dict[str, str] = {}
    service = ""
    for line in listing.splitlines():
        rule = _RULE.match(line)
        if rule and rule["to"] == vip and rule["target"].startswith("KUBE-SVC-") and _served(line)[1] == "tcp":
            service = rule["target"]
        if jump := _JUMP.match(line):
            jumps.setdefault(jump["chain"], []).append(jump["target"])
        elif end := _DNAT.match(line):
            ends[end["chain"]] = end["address"]
    found = (ends[target] for target in jumps.get(service, ()) if target in ends)
    return {address: place for place, address in enumerate(found, start=1)}
