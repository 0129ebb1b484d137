"""Takes the noise out of what tools print, so that a dump made again differs only where kube-proxy does. Pure.

Noise is what differs from one start to the next: dates, packet counters, seeds of hashes, durations, process ids, and
every order that comes of a Go map or of a hash table in the kernel. An order that packets walk is kept.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_COUNTERS = re.compile(r"\[\d+:\d+\]$")
_CHAIN = re.compile(r"^(?::|-A )(\S+)")
_ADDRESS = re.compile(r" -d ([0-9a-f.:]+)/(?:32|128) ")
_PORT = re.compile(r"-p (\w+) .*--dport (\d+)")
_HEADER = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ ")
_STABLE_HEADER = r"\g<1>0101 00:00:00.000000       1 "
_FLAG = re.compile(r"^I.* FLAG: (--.*)\n", re.MULTILINE)
_TIME = re.compile(r'^time="[^"]*" ')  # of a library that does not use klog
_ASKED = '"failed to collect nfacct counter"'  # whenever /metrics is read before the first sync
_ELAPSED = re.compile(r'\belapsed="[^"]+"')
_TOOK = re.compile(r"(yncProxyRules took|NAT rules took|reload took) \S+")  # up to 1.20
_RANDOM_PORT = re.compile(r"(--to-ports |(?<=-j DNAT) --to-destination [0-9.]+:|Proxying for service .* port )\d+")
_DETAILS = "] info: &userspace.ServiceInfo{"  # addresses in memory
_OF_ONE_SERVICE = re.compile(r"[a-z]+-[A-Z2-7]{8}-")
_FOR_ITSELF = re.compile(r" fe80:\S+")
_BLOCKS = ("comment", "set", "map", "chain")
_TRACKED = "/proc/sys/net/netfilter/nf_conntrack_count:"


def normal(what: str, text: str) -> str:
    """Return a dump without its noise; ``what`` is the end of its file's name. Empty: not worth keeping."""
    kind = what.partition(".")[0]
    return _NORMAL[kind](text) if kind in _NORMAL else text


def rules(text: str) -> str:
    """Read one table of ``iptables-save``; empty where kube-proxy has nothing in it.

    Chains are sorted behind the kernel's own. In a chain the order stays, but for rules of Services, whose order is a
    Go map's: they are sorted by address, protocol and port, and the rules of one Service keep their order.
    """
    if "KUBE-" not in text:
        return ""
    lines = [_stable(_COUNTERS.sub("[0:0]", line)) for line in text.splitlines() if not line.startswith("#")]
    heads = [line for line in lines if line.startswith("*")]
    declared = [line for line in lines if line.startswith(":")]
    added = [line for line in lines if line.startswith("-A ")]
    return _text([*heads, *sorted(declared, key=_chain), *sorted(added, key=_rule), "COMMIT"])


def _stable(line: str) -> str:
    """Return a rule without the port that userspace mode listens on, which is another one at each start."""
    return _RANDOM_PORT.sub(r"\g<1>1", line) if re.match(r"-A KUBE-(PORTALS|NODEPORT)-", line) else line


def ruleset(text: str) -> str:
    """Read ``nft list table``: sets, maps and chains of single Services are sorted behind those of all."""
    if not text:
        return ""
    head, _, body = text.strip().removesuffix("}").partition("\n")
    blocks = [block.rstrip() for block in re.split(r"\n+(?=\t\w)", body) if block.strip()]
    return f"{head}\n" + "\n\n".join(sorted(blocks, key=_block)) + "\n}\n"


def servers(text: str) -> str:
    """Read ``ipvsadm -Sn``: each virtual server with its real ones behind it, sorted."""
    return _text(sorted(line.strip() for line in text.splitlines()))


def sets(text: str) -> str:
    """Read ``ipset save``: sets by name, members sorted, without the seeds of their hashes."""
    lines = (re.sub(r" initval \S+", "", line.strip()) for line in text.splitlines())
    return _text(sorted(lines, key=lambda line: (line.split()[1], line.startswith("add"), line)))


def addresses(text: str) -> str:
    """Read ``ip -br address show LINK``: the link's addresses are sorted."""
    lines = (line.split() for line in text.splitlines())
    return _text(" ".join([*words[:2], *sorted(words[2:], key=_by_address)]) for words in lines)


def settings(text: str) -> str:
    """Read ``grep`` of files below /proc/sys; what is left are lines of "name = value"."""
    found = (line.removeprefix("/proc/sys/").partition(":") for line in text.splitlines() if _TRACKED not in line)
    return _text(f"{name.replace('/', '.')} = {value.strip()}" for name, _, value in found)


def log(text: str) -> str:
    """Read klog: one date, time and process for all lines; syncs take 1 s.

    The flags and their defaults are a file of their own, and what it says to us who ask for its metrics is left out.
    """
    lines = (_ELAPSED.sub('elapsed="1s"', _HEADER.sub(_STABLE_HEADER, line)) for line in text.splitlines())
    lines = (_RANDOM_PORT.sub(r"\g<1>1", _TOOK.sub(r"\1 1s", line)) for line in lines if _DETAILS not in line)
    return _FLAG.sub("", _text(_TIME.sub("", line) for line in lines if _ASKED not in line))


def flags(text: str) -> str:
    """Return the flags and their defaults that a log begins with."""
    return _text(_FLAG.findall(text))


def metrics(text: str) -> str:
    """Read /metrics: kube-proxy's own, without buckets; each duration is 1 s, each moment 1 s after the epoch.

    How often /healthz was asked is our doing, and left out.
    """
    lines = [line for line in text.splitlines() if re.match(r"(# \w+ )?kubeproxy_", line)]
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return _text(kept for line in lines if (kept := _metric(line, values)))


def readings(text: str) -> str:
    """Read the outputs of ``nodes.kernel.capture``'s commands, by name, as lines."""
    found: dict[str, list[str]] = json.loads(text)
    for name, lines in found.items():
        found[name] = _READINGS.get(name, _chains)([line for line in lines if line and not line.startswith("#")])
    return json.dumps(found, indent=1) + "\n"


def _metric(line: str, values: dict[str, str]) -> str:
    if line.startswith("#"):
        return line
    series, value = line.rsplit(" ", 1)
    name = series.partition("{")[0]
    if name.endswith("_bucket") or name == "kubeproxy_proxy_healthz_total":
        return ""
    if name.endswith("_timestamp_seconds"):
        value = "1"
    if name.endswith("_seconds_sum"):
        value = values[series.replace("_sum", "_count", 1)]
    return f"{series} {value}"


def _chains(lines: list[str]) -> list[str]:
    """Sort each run of chains' names."""
    found: list[str] = []
    run: list[str] = []
    for line in [*map(_stable, lines), ""]:
        if line.startswith(":"):
            run.append(line)
            continue
        found += [*sorted(run), line]
        run = []
    return found[:-1]


def _tables(lines: list[str]) -> list[str]:
    """Sort what is told of nft's tables by table, and in each the runs of chains' names."""
    blocks: list[list[str]] = [[]]
    for line in _chains(lines):
        if line.startswith(("table ", "rules ")):
            blocks.append([])
        blocks[-1].append(line)
    return [line for block in sorted(blocks, key=_table) for line in block]


def _table(block: list[str]) -> tuple[bool, str]:
    """Tables come before the rules in them."""
    head = block[0] if block else ""
    return head.startswith("rules "), head


def _links(lines: list[str]) -> list[str]:
    """Sort each link's addresses, and leave out those that the kernel drew for itself."""
    return [_FOR_ITSELF.sub("", line) for line in addresses("\n".join(lines)).splitlines()]


def _rule(line: str) -> tuple[bool, str, bool, int, str, int]:
    chain = _name(line)
    address, port = _ADDRESS.search(line), _PORT.search(line)
    where = int(ip_address(address[1])) if address else 0
    protocol, number = (port[1], int(port[2])) if port else ("", 0)
    own, of_service = chain.startswith("KUBE-"), bool(address or port)
    if not own or not re.fullmatch("KUBE-(SERVICES|NODEPORTS|EXTERNAL-SERVICES|PROXY-FIREWALL)", chain):
        return own, chain if own else "", False, 0, "", 0
    return own, chain, not of_service, where, protocol, number


def _chain(line: str) -> tuple[bool, str]:
    name = _name(line)
    return (True, name) if name.startswith("KUBE-") else (False, "")


def _name(line: str) -> str:
    found = _CHAIN.match(line)
    if found is None:
        raise ValueError(f"no chain in: {line}")
    return found[1]


def _block(block: str) -> tuple[int, bool, str]:
    kind, name = (*block.split(), "", "")[:2]
    own = bool(_OF_ONE_SERVICE.match(name))
    return _BLOCKS.index(kind) if kind != "map" else _BLOCKS.index("set"), own, name if own else ""


def _by_address(word: str) -> tuple[int, int]:
    address = ip_address(word.partition("/")[0])
    return address.version, int(address)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


_READINGS: dict[str, Callable[[list[str]], list[str]]] = {
    "sets": sorted,
    "servers": sorted,
    "links": _links,
    "nft": _tables,
    "sysctls": lambda lines: [f"{_TRACKED}0" if line.startswith(_TRACKED) else line for line in lines],
}
_NORMAL: dict[str, Callable[[str], str]] = {
    "iptables-save": rules,
    "ip6tables-save": rules,
    "list-table": ruleset,
    "ipvsadm": servers,
    "ipset": sets,
    "addr": addresses,
    "sysctl": settings,
    "log": log,
    "metrics": metrics,
    "readings": readings,
}
