"""Which rules of iptables a new connection walks: the kernel's way through chains, over ``iptables-save``. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from refproxy.iptables_save import Match, Option, Rule
    from tests.iptables_dump import Table

FORWARDED = (("nat", "PREROUTING"), ("filter", "FORWARD"), ("nat", "POSTROUTING"))
BY_IPVS = (("nat", "PREROUTING"), ("filter", "INPUT"), ("filter", "OUTPUT"), ("nat", "POSTROUTING"))
"""IPVS takes a packet to a local address between INPUT's filter and its nat, and sends it on through OUTPUT."""


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, on a node with the addresses ``local``; ``sets`` are ipset's members by set."""

    source: str
    destination: str
    protocol: str
    port: int
    local: frozenset[str] = frozenset()
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mark: int = 0
    translated: bool = False


class Walk(NamedTuple):
    """The rules that were looked at, one after the other, and where the packet went at last ("" for a dropped one)."""

    rules: tuple[Rule, ...]
    end: str

    @property
    def matches(self) -> int:
        """How many matches the rules hold, comments and all."""
        return sum(len(rule.matches) for rule in self.rules)


def walk(tables: Mapping[str, Table], packet: Packet, path: Sequence[tuple[str, str]], server: str = "") -> Walk:
    """Send a packet along the hooks of a path.

    Where endpoints are drawn by lot the last one is taken, behind all other rules. ``server`` is the endpoint that
    IPVS sends it to, before OUTPUT.
    """
    seen: list[Rule] = []
    for table, chain in path:
        if chain == "OUTPUT":
            packet = replace(packet, destination=server, translated=True)
        verdict, packet = _traverse(tables[table].rules, chain, packet, seen)
        if verdict in {"DROP", "REJECT"}:
            return Walk(tuple(seen), "")
    return Walk(tuple(seen), packet.destination)


def _traverse(rules: Sequence[Rule], chain: str, packet: Packet, seen: list[Rule]) -> tuple[str, Packet]:
    """Walk one chain and those that it leads to; return the verdict, "" at the chain's end."""
    for rule in _of(rules, chain):
        seen.append(rule)
        if not _matches(rule, packet):
            continue
        if rule.target in {"ACCEPT", "DROP", "REJECT", "RETURN", "MASQUERADE"}:
            return ("" if rule.target == "RETURN" else rule.target), packet
        if rule.target == "MARK":
            value, _, mask = rule.target_options[0].values[0].partition("/")
            packet = replace(packet, mark=packet.mark & ~int(mask, 0) ^ int(value, 0))
        elif rule.target == "DNAT":
            return "DNAT", replace(packet, destination=rule.target_options[0].values[0], translated=True)
        elif rule.target:
            verdict, packet = _traverse(rules, rule.target, packet, seen)
            if verdict or rule.goto:
                return verdict, packet
    return "", packet


def _of(rules: Sequence[Rule], chain: str) -> Iterator[Rule]:
    return (rule for rule in rules if rule.chain == chain)


def _matches(rule: Rule, packet: Packet) -> bool:
    return all(_header(option, packet) for option in rule.header) and all(
        _match(match, packet) for match in rule.matches
    )


def _header(option: Option, packet: Packet) -> bool:
    name, value = option.name, option.values[0]
    if name == "--protocol":
        return (value == packet.protocol) != option.negated
    address = packet.source if name == "--source" else packet.destination
    return (ip_address(address.partition(":")[0]) in ip_network(value)) != option.negated


def _match(match: Match, packet: Packet) -> bool:
    if match.module in {"comment", "nfacct"}:
        return True
    if match.module in {"recent", "statistic"}:  # nobody has come before; the lot falls on the last
        return match.module == "recent" and any(option.name == "--set" for option in match.options)
    return all(_option(match.module, option, packet) != option.negated for option in match.options)


def _option(module: str, option: Option, packet: Packet) -> bool:
    value = option.values[0] if option.values else ""
    if option.name == "--dport":
        return int(value) == packet.port
    if option.name == "--ctstate":
        return bool({"NEW", *(["DNAT"] if packet.translated else [])} & set(value.split(",")))
    if option.name == "--mark":
        wanted, _, mask = value.partition("/")
        return packet.mark & int(mask, 0) == int(wanted, 0)
    if option.name in {"--src-type", "--dst-type"}:
        address = packet.source if option.name == "--src-type" else packet.destination
        return address.partition(":")[0] in packet.local
    if option.name == "--match-set":
        return bool(_members(option.values[1], packet) & packet.sets.get(value, frozenset()))
    if option.name == "--physdev-is-in":
        return False
    raise NotImplementedError(f"{module}: {option}")


def _members(directions: str, packet: Packet) -> set[str]:
    """Return what may be looked up: of "dst,dst,src" address, protocol and port, address; of "dst" address or port."""
    words = directions.split(",")
    address = {"src": packet.source, "dst": packet.destination.partition(":")[0]}
    if len(words) == 1:
        return {address[directions], str(packet.port)}
    place = [address[words[0]], f"{packet.protocol}:{packet.port}", *(address[word] for word in words[2:])]
    return {",".join(place)}
