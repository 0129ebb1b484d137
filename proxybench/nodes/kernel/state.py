"""A node's kernel state as data, and the difference of two for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from proxybench.nodes.kernel.sysctls import SYSCTLS

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED = 3  # so many of one kind are named, more are counted


class Thing(NamedTuple):
    """One thing that a Service proxy made.

    ``place`` is where ("iptables-legacy nat", "nft", "link kube-ipvs0"), ``kind`` what ("chain", "jump", "table",
    "set", "virtual server", "link", "address"), ``name`` which. A jump's name is its whole rule: "-A OUTPUT …".
    """

    place: str
    kind: str
    name: str


@dataclass(frozen=True)
class KernelState:
    """What Service proxies have in a node's kernel.

    ``things`` are sorted; one that is there twice stands there twice. ``rules`` counts the rules within their chains,
    by place, where that is cheap: in iptables' legacy backend. ``sysctls`` are pairs of name and value, of those that
    the kernel has. ``tables`` are all nft tables ("ip nat"), ``foreign`` those of iptables-nft that hold chains or
    rules of somebody else's. ``tracked`` is the number of connections that conntrack knows; two states that differ in
    it alone are equal.
    """

    things: tuple[Thing, ...] = ()
    rules: tuple[tuple[str, int], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    tables: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    tracked: int = field(default=0, compare=False)


def added(before: KernelState, after: KernelState) -> tuple[Thing, ...]:
    """Return what is there after and was not before, sorted."""
    return tuple(sorted((Counter(after.things) - Counter(before.things)).elements()))


def changed(before: KernelState, after: KernelState) -> dict[str, tuple[str, str]]:
    """Return the settings that changed: what they were, and what they are.

    One that was absent had the kernel's default; one whose default nobody knows has not changed.
    """
    found, old = {}, dict(before.sysctls)
    for name, value in after.sysctls:
        was = old.get(name, SYSCTLS.get(name))
        if was is not None and was != value:
            found[name] = (was, value)
    return found


def diff(before: KernelState, after: KernelState) -> tuple[str, ...]:
    """Return the difference in lines for people: what came, what went, which settings changed; empty for none."""
    old = dict(before.rules)
    more = {place: count - old.get(place, 0) for place, count in after.rules}
    lines = _lines(added(before, after), more)
    lines += [f"gone: {line}" for line in _lines(added(after, before), {})]
    lines += [f"sysctl {name}: {was} became {value}" for name, (was, value) in changed(before, after).items()]
    return tuple(lines)


def _lines(things: Iterable[Thing], rules: dict[str, int]) -> list[str]:
    places: dict[str, dict[str, list[str]]] = {}
    for thing in things:
        places.setdefault(thing.place, {}).setdefault(thing.kind, []).append(thing.name)
    lines = []
    for place, kinds in places.items():
        words = [_words(kind, names) for kind, names in kinds.items()]
        if "chain" in kinds and rules.get(place, 0) > 0:
            words.insert(1, _count(rules[place], "rule"))
        lines.append(f"{place}: {', '.join(words)}")
    return lines


def _words(kind: str, names: list[str]) -> str:
    if kind == "jump":
        chains = sorted({rule.split()[1] for rule in names})
        return f"{_count(len(names), 'jump')} from {' and '.join(chains)}"
    if len(names) <= _NAMED:
        return f"{_plural(kind, len(names))} {' '.join(names)}"
    return f"{_count(len(names), kind)} ({names[0]} …)"


def _count(number: int, kind: str) -> str:
    return f"{number:,} {_plural(kind, number)}"


def _plural(kind: str, number: int) -> str:
    if number == 1:
        return kind
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"
