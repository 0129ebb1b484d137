"""What removes a Service proxy's things from a kernel: commands, from two states; nothing is run here."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, NamedTuple

from proxybench.nodes.kernel import netlink, nft
from proxybench.nodes.kernel.legacy import program
from proxybench.nodes.kernel.shell import PATH
from proxybench.nodes.kernel.state import added, changed
from proxybench.nodes.kernel.sysctls import path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxybench.nodes.kernel.capture import Tools
    from proxybench.nodes.kernel.state import KernelState, Thing

_RUN = PATH + 'exec "$@"'
_SYSCTL = 'while read -r file value; do printf "%s\\n" "$value" > "$file"; done'


class Command(NamedTuple):
    """A program to run on the node, and its standard input.

    ``needed``: its failure is an error, since what it does cannot be seen when the state is read again.
    """

    argv: tuple[str, ...]
    stdin: str
    needed: bool = False


def commands(before: KernelState, after: KernelState, tools: Tools) -> tuple[Command, ...]:
    """Return what brings ``after`` back to ``before``, in an order in which nothing is still in use.

    A table of iptables-nft that the proxy's rules brought into being goes as a whole, with its hooks, unless somebody
    else has something in it by now. Those of the legacy backend stay, without rules: a kernel cannot drop them.
    """
    places: dict[str, list[Thing]] = {}
    for thing in added(before, after):
        places.setdefault(thing.place, []).append(thing)
    found = [_legacy(place, things, tools) for place, things in places.items() if "tables-legacy " in place]
    found += _nft(before, after, places, tools)
    if sets := places.get("ipset"):
        found.append(_tool(["ipset", "restore"], (f"destroy {thing.name}" for thing in sets)))
    if servers := places.get("ipvs"):
        found.append(_netlink(tools, "ipvs", (thing.name for thing in servers)))
    found += _links(places)
    if settings := changed(before, after):
        lines = (f"{path(name)} {was}" for name, (was, _) in settings.items())
        found.append(Command(("sh", "-c", _SYSCTL), _text(lines)))
    if after.tracked and tools.exclusive:
        found.append(forget_tracked(tools))
    return tuple(found)


def forget_tracked(tools: Tools) -> Command:
    """Return what makes the node forget all connections that it tracks."""
    return _netlink(tools, "conntrack", ())._replace(needed=True)


def _legacy(place: str, things: Sequence[Thing], tools: Tools) -> Command:
    """Empty the chains, remove the jumps, then the chains: in one transaction."""
    chains = _names(things, "chain")
    first = (f":{chain} - [0:0]" for chain in chains)
    return _restore(place, tools, [*first, *_deletions(things), *(f"-X {chain}" for chain in chains)])


def _nft(before: KernelState, after: KernelState, places: Mapping[str, Sequence[Thing]], tools: Tools) -> list[Command]:
    """Remove jumps by iptables, which knows them by their text, and all else by nft, a hundred times faster."""
    whole = _brought(before, after)
    found, lines = [], [f"delete table {thing.name}" for thing in places.get("nft", ())]
    for table in after.tables:
        things = places.get(nft.place(table), ())
        if table in whole:
            lines.append(f"delete table {table}")
            continue
        if jumps := _deletions(things):
            found.append(_restore(nft.place(table), tools, jumps))
        chains = _names(things, "chain")
        lines += [f"{verb} chain {table} {chain}" for verb in ("flush", "delete") for chain in chains]
    return [*found, _tool(["nft", "-f", "-"], lines)] if lines else found


def _brought(before: KernelState, after: KernelState) -> set[str]:
    """Return the tables of iptables-nft that are new and hold nothing but a Service proxy's chains."""
    compat = {f"{family} {table}" for family in ("ip", "ip6") for table in nft.COMPAT_TABLES}
    return compat & set(after.tables) - set(before.tables) - set(after.foreign)


def _names(things: Iterable[Thing], kind: str) -> list[str]:
    return [thing.name for thing in things if thing.kind == kind]


def _deletions(things: Iterable[Thing]) -> list[str]:
    return [f"-D {rule.removeprefix('-A ')}" for rule in _names(things, "jump")]


def _restore(place: str, tools: Tools, lines: Iterable[str]) -> Command:
    """Apply lines to a table, by the backend and family of the place."""
    label, _, table = place.partition(" ")
    applet, _, backend = label.partition("-")
    waits = () if tools.exclusive else ("-w", "30")  # seconds, for a proxy that runs and writes rules, too
    argv = [program(backend, tools.iptables), f"{applet}-restore", *waits, "--noflush"]
    return _tool(argv, [f"*{table}", *lines, "COMMIT"])


def _links(places: Mapping[str, Sequence[Thing]]) -> list[Command]:
    """Delete links, and the addresses of those that stay; a link takes its own addresses with it."""
    links = [thing.name for thing in places.get("links", ())]
    lines = [f"link del {link}" for link in links]
    for place, things in places.items():
        link = place.removeprefix("link ")
        if link != place and link not in links:
            lines += [f"address del {thing.name} dev {link}" for thing in things]
    return [_tool(["ip", "-force", "-batch", "-"], lines)] if lines else []


def _netlink(tools: Tools, what: str, lines: Iterable[str]) -> Command:
    return Command((tools.python, "-c", inspect.getsource(netlink), what), _text(lines))


def _tool(argv: Sequence[str], lines: Iterable[str]) -> Command:
    return Command(("sh", "-c", _RUN, "remove", *argv), _text(lines))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
