"""What to remove from a node's kernel, mode by mode, to break a Service behind its proxy's back. Pure.

The parts of one way, from a packet to an endpoint:

| part | iptables | nftables | IPVS | userspace |
| --- | --- | --- | --- | --- |
| service | its rule in KUBE-SERVICES | its element of the map service-ips | its virtual server | its rule |
| endpoints | the rules of its KUBE-SVC chain | the rules of its chain | its real servers | |
| jump | PREROUTING's rule for it | the rules of nat-prerouting | its address on kube-ipvs0 | PREROUTING's rule |
| table | all rules and chains of mangle, nat and filter | the table | all virtual servers | as iptables |
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from proxybench.kube.objects import family_of
from proxybench.model import Family, Mode
from proxybench.subjects.rule_ranks import WALKED_CHAINS, list_argv

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLUSH: Final = 'for t in mangle nat filter; do "$0" "$1" -w 30 -t $t -F && "$0" "$1" -w 30 -t $t -X; done'
_CHAIN_AFTER: Final = ": goto "


class Part(StrEnum):
    """One part of the way from a packet to an endpoint."""

    SERVICE = "service"
    ENDPOINTS = "endpoints"
    JUMP = "jump"
    TABLE = "table"


def look(mode: Mode, part: Part, address: tuple[str, int], program: str) -> tuple[str, ...]:
    """Return the command whose output ``removal`` needs, () for none; ``program`` is iptables' multi-call program.

    ``address`` is the Service's virtual one, with its port (TCP).
    """
    chain, family = WALKED_CHAINS.get(mode), family_of(address[0])
    if chain and part in {Part.SERVICE, Part.ENDPOINTS}:
        return tuple(list_argv(program, chain, family))
    if chain and part is Part.JUMP:
        return tuple(list_argv(program, "PREROUTING", family))
    if mode is Mode.NFTABLES and part is Part.ENDPOINTS:
        return ("nft", "get", "element", *_table(address), "service-ips", _element(address))
    if mode is Mode.IPVS and part is Part.ENDPOINTS:
        return ("ipvsadm", "-S", "-n")
    return ()


def removal(mode: Mode, part: Part, address: tuple[str, int], program: str, looked: str) -> tuple[str, ...] | None:
    """Return the command that removes a part; None where there is none (any more). ``looked`` is what ``look`` said."""
    if mode in WALKED_CHAINS:
        return _of_iptables(WALKED_CHAINS[mode], part, address, program, looked.splitlines())
    return _of_nftables(part, address, looked) if mode is Mode.NFTABLES else _of_ipvs(part, address, looked)


def _of_iptables(
    chain: str, part: Part, address: tuple[str, int], program: str, rules: Sequence[str]
) -> tuple[str, ...] | None:
    applet = _applet(address)
    if part is Part.TABLE:
        return ("sh", "-c", _FLUSH, program, applet)
    nat = (program, applet, "-w", "30", "-t", "nat")
    if part is Part.JUMP:
        found = [shlex.split(one) for one in rules if one.startswith("-A PREROUTING ") and one.endswith(f"-j {chain}")]
    else:
        own = (f" -d {_whole(address)} ", " -p tcp ", f" --dport {address[1]} ")  # its UDP port is another one's rule
        words = [shlex.split(rule) for rule in rules if all(part in rule for part in own)]
        found = [rule for rule in words if "KUBE-MARK-MASQ" not in rule and rule[:2] == ["-A", chain]]
    if not found:
        return None
    if part is not Part.ENDPOINTS:
        return (*nat, "-D", *found[0][1:])
    target = found[0][found[0].index("-j") + 1]
    return (*nat, "-F", target) if target.startswith("KUBE-SVC-") else None


def _of_nftables(part: Part, address: tuple[str, int], looked: str) -> tuple[str, ...] | None:
    table = _table(address)
    if part is Part.SERVICE:
        return ("nft", "delete", "element", *table, "service-ips", _element(address))
    if part is Part.JUMP:
        return ("nft", "flush", "chain", *table, "nat-prerouting")
    if part is Part.TABLE:
        return ("nft", "delete", "table", *table)
    _, found, rest = looked.partition(_CHAIN_AFTER)
    return ("nft", "flush", "chain", *table, rest.split()[0]) if found else None


def _of_ipvs(part: Part, address: tuple[str, int], looked: str) -> tuple[str, ...] | None:
    server = f"[{address[0]}]:{address[1]}" if _is_v6(address) else f"{address[0]}:{address[1]}"
    if part is Part.SERVICE:
        return ("ipvsadm", "-D", "-t", server)
    if part is Part.JUMP:
        return ("ip", "address", "delete", _whole(address), "dev", "kube-ipvs0")
    if part is Part.TABLE:
        return ("ipvsadm", "-C")
    lines = [line.split() for line in looked.splitlines()]
    real = [words[4] for words in lines if words[:4] == ["-a", "-t", server, "-r"]]
    commands = [shlex.join(("ipvsadm", "-d", "-t", server, "-r", one)) for one in real]
    return ("sh", "-c", " && ".join(commands)) if commands else None


def _is_v6(address: tuple[str, int]) -> bool:
    return family_of(address[0]) is Family.IPV6


def _applet(address: tuple[str, int]) -> str:
    return "ip6tables" if _is_v6(address) else "iptables"


def _whole(address: tuple[str, int]) -> str:
    return f"{address[0]}/{128 if _is_v6(address) else 32}"


def _table(address: tuple[str, int]) -> tuple[str, str]:
    return ("ip6" if _is_v6(address) else "ip", "kube-proxy")


def _element(address: tuple[str, int]) -> str:
    return f"{{ {address[0]} . tcp . {address[1]} }}"
