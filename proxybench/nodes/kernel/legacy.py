"""Service proxies' chains and rules in the legacy backend of iptables, one family at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from proxybench.errors import ProxierError
from proxybench.nodes.kernel.shell import MISSING, PATH
from proxybench.nodes.kernel.state import Thing

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLETS = ("iptables", "ip6tables")
# The KUBE chains' names, the number of the rules in them, and rules of other chains that lead there. Whatever is no
# rule goes through: errors are to be read.
_AWK = (
    "/^-A KUBE-/ { rules++; next } "
    "/^-A / { if ($0 ~ / -[jg] KUBE-/) print; next } "
    "/^:/ { if ($1 ~ /^:KUBE-/) print $1; next } "
    '/^COMMIT/ { print "rules " rules + 0; rules = 0; next } '
    "{ print }"
)
# $1 program, $2 its applet, $3 the file that names the kernel's tables, shown when the program failed, $4 for awk.
_SAVE = PATH + '{ "$1" "$2" 2>&1 || { echo "failed $?"; sed "s/^/loaded /" "$3" 2>/dev/null; }; } | awk "$4"'


class Saved(NamedTuple):
    """What is there: ``rules`` counts the rules within KUBE chains, by place."""

    things: tuple[Thing, ...]
    rules: tuple[tuple[str, int], ...] = ()


def program(backend: str, iptables: Mapping[str, str]) -> str:
    """Return the multi-call program of a backend ("legacy", "nft"): the node's own, else by its usual name."""
    return iptables.get(backend, f"xtables-{backend}-multi")


def command(applet: str, iptables: Mapping[str, str]) -> tuple[str, ...]:
    """Return how to read one family; ``applet`` is "iptables" or "ip6tables"."""
    names = f"/proc/net/{applet.removesuffix('tables')}_tables_names"
    return ("sh", "-c", _SAVE, "look", program("legacy", iptables), f"{applet}-save", names, _AWK)


def read(applet: str, stdout: str) -> Saved:
    """Read what ``command`` printed.

    Raises ProxierError when the program failed, or is missing while the kernel has legacy tables.
    """
    things, rules, place, rest = [], [], "", []
    for line in stdout.splitlines():
        if line.startswith("*"):
            place = f"{applet}-legacy {line[1:]}"
        elif line.startswith(":"):
            things.append(Thing(place, "chain", line[1:]))
        elif line.startswith("-A "):
            things.append(Thing(place, "jump", line))
        elif found := re.fullmatch(r"rules (\d+)", line):
            rules += [(place, int(found[1]))] if int(found[1]) else []
        elif line and not line.startswith("#"):
            rest.append(line)
    _check(f"{applet}-legacy", rest)
    return Saved(tuple(things), tuple(rules))


def _check(label: str, rest: list[str]) -> None:
    codes = [line.removeprefix("failed ") for line in rest if line.startswith("failed ")]
    if not codes:
        return
    loaded = [line.removeprefix("loaded ") for line in rest if line.startswith("loaded ")]
    if int(codes[0]) == MISSING:
        if loaded:
            raise ProxierError(f"{label} is missing, and the kernel holds its tables {', '.join(loaded)}: install it")
        return
    words = " ".join(line for line in rest if not line.startswith(("failed ", "loaded ")))
    raise ProxierError(f"{label} failed: {words or f'exit code {codes[0]}'}")
