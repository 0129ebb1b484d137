"""What a mode of kube-proxy has left in the kernel of a node where another mode runs: told by names. Pure.

Names are kube-proxy's own, of releases 1.20 to 1.37, each to the letter or to its hash. Everything else stays: chains
and sets of kube-router (KUBE-POD-FW-…, KUBE-SRC-…), virtual servers of others, and what kubelets and network plugins
use as well (KUBE-MARK-MASQ, KUBE-MARK-DROP, KUBE-FIREWALL of the filter table, canaries of the kubelet).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxybench.model import Mode
from proxybench.nodes.kernel.removal import commands
from proxybench.nodes.kernel.shell import PATH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxybench.nodes.kernel.capture import Tools
    from proxybench.nodes.kernel.removal import Command
    from proxybench.nodes.kernel.state import KernelState, Thing

_LINK: Final = "kube-ipvs0"
_COMMON: Final = ("nat KUBE-SERVICES", "nat KUBE-POSTROUTING", "filter KUBE-FORWARD", "filter KUBE-PROXY-FIREWALL")
_NAMES: Final[Mapping[Mode, re.Pattern[str]]] = {
    mode: re.compile("|".join(patterns))
    for mode, patterns in {
        Mode.IPTABLES: (
            *_COMMON,
            "nat KUBE-(?:SVC|SEP|FW|XLB|EXT|SVL)-[A-Z2-7]{16}",
            "(?:nat|filter) KUBE-NODEPORTS",
            "filter KUBE-(?:EXTERNAL-)?SERVICES",
            "(?:nat|filter|mangle) KUBE-PROXY-CANARY",
            'filter KUBE-PROXY-FIREWALL "kubernetes load balancer firewall"',
        ),
        Mode.IPVS: (
            *_COMMON,
            "nat KUBE-(?:LOAD-BALANCER|FIREWALL)",
            "(?:nat|filter) KUBE-NODE-PORT",
            "filter KUBE-(?:IPVS-FILTER|IPVS-OUT-FILTER|SOURCE-RANGES-FIREWALL)",
            'filter KUBE-PROXY-FIREWALL "kube-proxy firewall rules"',
        ),
        Mode.USERSPACE: ("nat KUBE-(?:PORTALS|NODEPORT)-(?:CONTAINER|HOST)", "filter KUBE-NODEPORT-NON-LOCAL"),
        Mode.NFTABLES: ("ip6? kube-proxy",),
    }.items()
}
"""A chain by its table and name; a jump by what it leads to, and to one that two modes lead to by its comment, too."""

_SETS: Final = re.compile(
    "KUBE-(?:6-)?(?:CLUSTER-IP|IPVS-IPS|LOOP-BACK|EXTERNAL-IP(?:-LOCAL)?|HEALTH-CHECK-NODE-PORT"
    "|LOAD-BALANCER(?:-(?:FW|LOCAL|SOURCE-IP|SOURCE-CIDR?))?|NODE-PORT-(?:LOCAL-)?(?:TCP|UDP|SCTP-HASH?))"
)
"""Names of IPVS mode's sets; a set's name ends after 31 letters."""

_JUMP: Final = re.compile(r"-A (?:PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) .*-j (KUBE-\S+)")
_COMMENTED: Final = "KUBE-PROXY-FIREWALL"
_NODE_PORT: Final = re.compile(r"add KUBE-(?:6-)?NODE-PORT-(?:LOCAL-)?(TCP|UDP|SCTP)\S* (?:.*:)?(\d+)")

NODE_PORTS_COMMAND: Final = ("sh", "-c", PATH + "ipset save 2>/dev/null | grep -E '^add KUBE-(6-)?NODE-PORT-' || true")
"""Prints the members of IPVS mode's sets of node ports."""


def read_node_ports(stdout: str) -> frozenset[tuple[str, str]]:
    """Read what ``NODE_PORTS_COMMAND`` printed: pairs such as ("TCP", "30080")."""
    found = (_NODE_PORT.fullmatch(line) for line in stdout.splitlines())
    return frozenset((one[1], one[2]) for one in found if one)


def left_by(
    old: Mode, new: Mode, state: KernelState, node_ports: Collection[tuple[str, str]] = ()
) -> tuple[Thing, ...]:
    """Return what only ``old`` makes, of all that is there where ``new`` runs; sorted as the state's things are.

    What both modes make is not left: ``new`` writes it anew at its first sync. Of virtual servers those are
    kube-proxy's whose address is on kube-ipvs0, or whose port is one of IPVS mode's node ports.
    """
    if old is new:
        return ()
    ours = {thing.name.partition("/")[0] for thing in state.things if thing.place == f"link {_LINK}"}

    def by_old(thing: Thing) -> bool:
        if thing.kind in {"chain", "jump", "table"}:
            name = _name(thing)
            return bool(_NAMES[old].fullmatch(name)) and not _NAMES[new].fullmatch(name)
        if old is not Mode.IPVS:
            return False
        if thing.kind == "virtual server":
            protocol, where = thing.name.split()
            address, _, port = where.rpartition(":")
            return address.strip("[]") in ours or (protocol, port) in node_ports
        return bool(_SETS.fullmatch(thing.name)) if thing.kind == "set" else _LINK in {thing.name, thing.place[5:]}

    return tuple(thing for thing in state.things if by_old(thing))


def _name(thing: Thing) -> str:
    """Return what a chain, a jump or a table is known by; "" for a jump from somebody else's chain."""
    table = thing.place.rpartition(" ")[2]
    if thing.kind != "jump":
        return f"{table} {thing.name}" if thing.kind == "chain" else thing.name
    found = _JUMP.fullmatch(thing.name)
    if found is None:
        return ""
    comment = re.search(r'--comment ("[^"]*")', thing.name) if found[1] == _COMMENTED else None
    return f"{table} {found[1]}{f' {comment[1]}' if comment else ''}"


def without(state: KernelState, things: Collection[Thing]) -> KernelState:
    """Return a state in which these things are gone, and all else is as it is."""
    gone = frozenset(things)
    return replace(state, things=tuple(thing for thing in state.things if thing not in gone))


def removal(state: KernelState, things: Collection[Thing], tools: Tools) -> tuple[Command, ...]:
    """Return what removes these things from a node that is in use; tables of iptables' backends stay."""
    return commands(without(state, things), state, replace(tools, exclusive=False))
