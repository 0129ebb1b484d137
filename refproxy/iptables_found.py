"""What the kernel's tables hold before a full sync or a clean-up, read from ``iptables-save``; pure, bytes in and out.

This is not the parser of ``iptables_save``: with 10,000 Services the output has 100,000 lines, and a control loop
only needs the names of chains and the few rules that are not its own. Two searches find them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refproxy.iptables_rules import (
    CANARY,
    FILTER_CHAINS,
    JUMPS,
    MARK_DROP,
    NAT_CHAINS,
    SERVICE_PREFIXES,
)
from refproxy.iptables_save import parse_rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refproxy.iptables_save import Rule

_TABLE = re.compile(rb"^\*(\S+)\n(.*?)^COMMIT$", re.MULTILINE | re.DOTALL)
_OWN = re.compile(rb"^:(\S+) - ", re.MULTILINE)
_FOREIGN = re.compile(rb"^-A (?!KUBE-)(.*)$", re.MULTILINE)
_TARGET = re.compile(rb" -[jg] (\S+)")

FIXED_CHAINS: dict[bytes, tuple[bytes, ...]] = {
    b"filter": (*FILTER_CHAINS, CANARY),
    b"mangle": (CANARY,),
    b"nat": (*NAT_CHAINS, CANARY, MARK_DROP),
}
"""The chains that do not depend on Services, by table."""


@dataclass(frozen=True)
class FoundTable:
    """One table as it was found: all chains that are not the kernel's, and the rules outside KUBE- chains.

    ``held`` tells whether the kubelet's KUBE-MARK-DROP has rules: then it is the kubelet's, and stays.
    """

    chains: frozenset[bytes]
    foreign: tuple[bytes, ...]
    held: bool = False

    @property
    def service_chains(self) -> set[bytes]:
        """The chains of Service ports and endpoints."""
        return {name for name in self.chains if name.startswith(SERVICE_PREFIXES)}


NOTHING = FoundTable(frozenset(), ())


def find(saved: bytes) -> dict[bytes, FoundTable]:
    """Read the output of ``iptables-save`` for all tables; one that was never used is not in it."""
    return {
        name: FoundTable(frozenset(_OWN.findall(body)), tuple(_FOREIGN.findall(body)), b"\n-A %b " % MARK_DROP in body)
        for name, body in _TABLE.findall(saved)
    }


def missing_chains(found: Mapping[bytes, FoundTable], table: bytes) -> list[bytes]:
    """Return the fixed chains that the table lacks."""
    there = found.get(table, NOTHING).chains
    return [name for name in FIXED_CHAINS[table] if name not in there]


def missing_jumps(found: Mapping[bytes, FoundTable], table: bytes) -> list[bytes]:
    """Return the jumps that the kernel's own chains lack, in their order."""
    there = {read_jump(rule) for rule in found.get(table, NOTHING).foreign}
    return [jump for jump in JUMPS[table] if read_jump(jump) not in there]


def read_jump(rule: bytes) -> Rule | None:
    """Return a rule's canonical form, None for one that cannot be a jump of ours.

    Those are somebody else's, with options and comments in encodings that nobody here has to understand.
    """
    return parse_rule(f"-A {rule.decode(errors='replace')}") if b"KUBE-" in rule else None


def base_input(found: Mapping[bytes, FoundTable]) -> bytes:
    """Return the restore input that adds the fixed chains and jumps that are missing; empty when none is."""
    pieces = []
    for table in FIXED_CHAINS:
        chains, jumps = missing_chains(found, table), missing_jumps(found, table)
        if chains or jumps:
            pieces.append(b"*%b\n" % table)
            pieces += [b":%b - [0:0]\n" % name for name in chains]
            pieces += [b"-I %b\n" % jump for jump in reversed(jumps)]
            pieces.append(b"COMMIT\n")
    return b"".join(pieces)


def removal_input(found: Mapping[bytes, FoundTable]) -> bytes:
    """Return the restore input that removes every chain of ours and every rule that leads to one."""
    pieces = []
    for table, content in found.items():
        fixed = set(FIXED_CHAINS.get(table, ())) - ({MARK_DROP} if content.held else set())
        ours = sorted(content.chains & (fixed | content.service_chains))
        if not ours:
            continue
        jumps = [rule for rule in content.foreign if _leads_to(rule, set(ours))]
        pieces.append(b"*%b\n" % table)
        pieces += [b":%b - [0:0]\n" % name for name in ours]
        pieces += [b"-D %b\n" % jump for jump in jumps]
        pieces += [b"-X %b\n" % name for name in ours]
        pieces.append(b"COMMIT\n")
    return b"".join(pieces)


def _leads_to(rule: bytes, chains: set[bytes]) -> bool:
    target = _TARGET.search(rule)
    return target is not None and target[1] in chains
