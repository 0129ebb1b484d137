"""Which of a kernel's rules name an address, of those that a packet can reach.

A chain that nothing leads to any more does nothing: kube-proxy's iptables mode lets those of a deleted Service stay
until it next tidies up, at most a syncPeriod later. So rules are followed from the hooks on.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from proxybench.errors import ProxierError
from proxybench.hosts.batch import run_together
from proxybench.nodes.kernel.capture import LOOK_SECONDS
from proxybench.nodes.kernel.legacy import program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from proxybench.hosts.base import Completed, Executor
    from proxybench.nodes.kernel.capture import Tools

_SET_OR_MAP = ("set ", "map ")


def mentions(executor: Executor, tools: Tools, addresses: Sequence[str], *, limit_s: float = LOOK_SECONDS) -> list[str]:
    """Return the lines that name one of these IPv4 addresses: rules, members of sets, virtual and real servers.

    Raises ProxierError when no tool could be asked, and HostError as the executor does.
    """
    try:
        return understand(run_together(executor, commands(tools), timeout=limit_s), addresses)
    except ProxierError as error:
        raise ProxierError(f"{executor.name}: {error}") from error


def understand(looks: Sequence[Completed], addresses: Sequence[str]) -> list[str]:
    """Return the same from what the commands said: both backends' rules, nft's table, sets, servers, links."""
    *saves, table, sets, servers, links = looks
    if all(look.code for look in (*saves, table)):
        raise ProxierError("neither iptables nor nft can be asked for rules")
    lines = [line for save in saves for line in reachable(*parse_iptables(save.stdout))]
    lines += reachable(*parse_nft(table.stdout))
    lines += [line for line in sets.stdout.splitlines() if line.startswith("add ")]
    lines += [_readable(line) for line in servers.stdout.splitlines()]
    lines += [line for line in links.stdout.splitlines() if line.startswith("kube-")]
    return naming(lines, addresses)


def commands(tools: Tools) -> list[Sequence[str]]:
    """Return how to look at everything."""
    path = ("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return [
        *((*path, program(backend, tools.iptables), "iptables-save") for backend in ("legacy", "nft")),
        (*path, "nft", "list", "table", "ip", "kube-proxy"),
        (*path, "ipset", "save"),
        (*path, "cat", "/proc/net/ip_vs"),
        (*path, "ip", "-br", "address"),
    ]


def naming(lines: Iterable[str], addresses: Sequence[str]) -> list[str]:
    """Return the lines that hold one of these addresses as a whole."""
    words = re.compile(rf"(?<![\d.])(?:{'|'.join(map(re.escape, addresses))})(?![\d.])")
    return [line.strip() for line in lines if words.search(line)]


Chains = dict[str, list[str]]


def parse_iptables(saved: str) -> tuple[Chains, list[str]]:
    """Read ``iptables-save``: the rules of each chain, and the chains with a hook; names hold their table."""
    chains: Chains = {}
    roots, table = [], ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[f"{table} {name}"] = []
            roots += [f"{table} {name}"] if policy != "-" else []
        elif line.startswith("-A "):
            chains.setdefault(f"{table} {line.split()[1]}", []).append(line)
    return chains, roots


def parse_nft(listed: str) -> tuple[Chains, list[str]]:
    """Read ``nft list table``: the same. Elements of sets and maps are looked up by rules, so each is a root."""
    chains: Chains = {}
    roots, block = [], ""
    for line in map(str.strip, listed.splitlines()):
        if line.endswith("{") and line.startswith(("chain ", *_SET_OR_MAP)):
            block = line.removesuffix("{").strip()
            chains[block] = []
            roots += [block] if block.startswith(_SET_OR_MAP) else []
        elif line == "}":
            block = ""
        elif block:
            chains[block].append(line)
            roots += [block] if re.match(r"type \w+ hook ", line) else []
    return chains, roots


def reachable(chains: Mapping[str, Sequence[str]], roots: Iterable[str]) -> Iterator[str]:
    """Yield the rules of every chain that the roots lead to."""
    left, known = list(roots), set(roots)
    while left:
        name = left.pop()
        place, _, _ = name.rpartition(" ")
        for rule in chains.get(name, ()):
            yield rule
            for target in re.findall(r"(?:-[jg]|jump|goto) (\S+?),?(?= |$)", rule):
                nexts = {f"{place} {target}", f"chain {target}"} & set(chains) - known
                known |= nexts
                left += nexts


def _readable(line: str) -> str:
    """Write the addresses of a line of /proc/net/ip_vs, which are hexadecimal, as usual: "TCP 10.96.0.1:80 rr"."""
    return re.sub(
        r"\b([0-9A-F]{8}):([0-9A-F]{4})\b", lambda found: f"{_address(found[1])}:{int(found[2], 16)}", line.strip()
    )


def _address(text: str) -> str:
    return str(ip_address(bytes.fromhex(text)))
