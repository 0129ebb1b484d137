"""Service proxies' tables in nftables, and their chains and jumps in the tables of iptables' nft backend.

``iptables-nft-save`` asks the kernel once per chain and takes 25 s for the rules of 10,000 Services; ``nft list
chains`` takes 0.2 s. So chains are listed by nft, and iptables is asked for the rules of base chains only: in them
are a proxy's jumps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from proxybench.errors import ProxierError
from proxybench.nodes.kernel.legacy import program
from proxybench.nodes.kernel.shell import MISSING, PATH, failure, unsupported
from proxybench.nodes.kernel.state import Thing

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXY_TABLE = "kube-proxy"  # the name of nftables mode's tables
COMPAT_TABLES = ("filter", "mangle", "nat", "raw", "security")  # of iptables-nft, in the families ip and ip6
# Prints "table ip nat" for each table, and of the compat ones ":KUBE-…" for a proxy's chain, "base ip nat OUTPUT" for
# a chain with a hook, "others" for one that is somebody else's. Whatever is no listing goes through.
_AWK = (
    'function close_chain() { if (chain != "") print "others"; chain = "" } '
    '/^table / { place = $2 " " $3; compat = place ~ /^ip6? (filter|mangle|nat|raw|security)$/; '
    'print "table " place; next } '
    '/^[\\t ]+chain / { close_chain(); if (compat) { if ($2 ~ /^KUBE-/) print ":" $2; else chain = $2 } next } '
    '/^[\\t ]+type .* hook / { if (chain != "") print "base " place " " chain; chain = ""; next } '
    "/^}/ { close_chain(); next } "
    "/^[\\t ]/ || /^$/ { next } "
    "{ print }"
)
# $1 for awk, $2 the multi-call program of iptables' nft backend.
_LIST = PATH + (
    "if ! command -v nft >/dev/null; then "
    '{ [ -e /sys/module/nf_tables ] || "$2" iptables-save; } >/dev/null 2>&1 && echo "failed 127"; exit 0; fi; '
    'found=$({ nft list tables && nft list chains || echo "failed $?"; } 2>&1 | awk "$1"); printf "%s\\n" "$found"; '
    'printf "%s\\n" "$found" | grep "^base " | while read -r _ family table chain; do '
    'echo "rules $family $table"; "$2" "${family}tables" -t "$table" -S "$chain" 2>&1 || echo "unread $?"; done; true'
)


class Listed(NamedTuple):
    """What is there; ``tables`` are all tables ("ip nat"), ``foreign`` those with something of somebody else's."""

    things: tuple[Thing, ...] = ()
    tables: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def command(iptables: Mapping[str, str]) -> tuple[str, ...]:
    """Return how to read all families."""
    return ("sh", "-c", _LIST, "look", _AWK, program("nft", iptables))


def place(table: str) -> str:
    """Return where iptables-nft's things of an nft table are: "ip nat" is "iptables-nft nat"."""
    family, _, name = table.partition(" ")
    return f"{family}tables-nft {name}"


def read(stdout: str) -> Listed:
    """Read what ``command`` printed.

    Raises ProxierError when nft failed, or is missing while the kernel may hold tables, and when iptables' nft backend
    is missing or cannot read a table with a proxy's chains.
    """
    code, words = failure(stdout)
    if code == MISSING:
        raise ProxierError("nft is missing, and the kernel may hold tables of nftables mode: install nftables")
    if code:
        if unsupported(words):
            return Listed()
        raise ProxierError(f"nft failed: {words}")
    things, tables, foreign, unread, table = [], [], [], [], ""
    for line in stdout.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in {"table", "rules"}:
            table = rest
            tables += [rest] if kind == "table" else []
        elif line.startswith(":"):
            things.append(Thing(place(table), "chain", line[1:]))
        elif kind == "-A" and re.search(" -[jg] KUBE-", line):
            things.append(Thing(place(table), "jump", line))
        elif kind in {"others", "-A"}:
            foreign.append(table)
        elif kind == "unread":
            foreign.append(table)
            unread.append((table, int(rest)))
    _check(things, unread)
    things += [Thing("nft", "table", name) for name in dict.fromkeys(tables) if name.endswith(f" {PROXY_TABLE}")]
    return Listed(tuple(things), tuple(sorted(set(tables))), tuple(sorted(set(foreign))))


def _check(things: list[Thing], unread: list[tuple[str, int]]) -> None:
    """Raise ProxierError for a table that iptables could not read although a proxy has chains in it."""
    kube = {thing.place for thing in things}
    for table, code in unread:
        if place(table) in kube:
            why = "is missing" if code == MISSING else "cannot read it"
            raise ProxierError(f"nft table {table} has chains of a Service proxy, and {place(table).split()[0]} {why}")
