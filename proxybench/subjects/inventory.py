"""What a proxy has in the kernel: for which addresses there are rules, and how many chains. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxybench.model import Family, Mode
from proxybench.subjects.rule_ranks import WALKED_CHAINS, parse_addresses
from proxybench.subjects.rule_ranks import list_argv as nat_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

_ELEMENT: Final = re.compile(r"([0-9a-f.:]+) \. (?:tcp|udp|sctp) \. \d+ ")
_SERVER: Final = re.compile(r"^-A -[tu] \[?([0-9a-f.:]+?)\]?:\d+ ", re.MULTILINE)
_MAPS: Final = ("service-ips", "no-endpoint-services")


@dataclass(frozen=True)
class Inventory:
    """``vips`` are the addresses that have rules; ``chains`` counts the proxy's chains, where the mode has any."""

    vips: frozenset[str]
    chains: int


def list_argv(mode: Mode, program: str, family: Family) -> tuple[str, ...]:
    """Return the command that lists it; ``program`` is iptables' multi-call program."""
    if mode in WALKED_CHAINS:
        return tuple(nat_rules(program, "", family))
    if mode is Mode.NFTABLES:
        return ("nft", "list", "table", "ip6" if family is Family.IPV6 else "ip", "kube-proxy")
    return ("ipvsadm", "-S", "-n")


def read(mode: Mode, listing: str) -> Inventory:
    """Read what the command printed."""
    lines = listing.splitlines()
    if mode in WALKED_CHAINS:
        vips = parse_addresses(listing, WALKED_CHAINS[mode])
        return Inventory(vips, sum(line.startswith("-N KUBE-") for line in lines))
    if mode is Mode.NFTABLES:
        return Inventory(frozenset(_elements(lines)), sum(line.startswith("\tchain ") for line in lines))
    return Inventory(frozenset(_SERVER.findall(listing)), 0)


def _elements(lines: list[str]) -> Iterator[str]:
    """Yield the addresses of the maps that lead to Services."""
    inside = False
    for line in lines:
        if line.startswith("\t") and not line.startswith("\t\t"):
            inside = any(line.startswith(f"\tmap {name} ") for name in _MAPS)
        elif inside and (found := _ELEMENT.search(line.strip() + " ")):
            yield found[1]
