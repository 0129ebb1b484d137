"""Reads a node's kernel state, in one exec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from proxybench.errors import ProxierError
from proxybench.hosts.batch import run_together
from proxybench.nodes.kernel import legacy, nft, readings
from proxybench.nodes.kernel.legacy import APPLETS
from proxybench.nodes.kernel.shell import MISSING
from proxybench.nodes.kernel.state import KernelState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.hosts.base import Completed, Executor
    from proxybench.nodes.node import Node

LOOK_SECONDS = 120.0
"""Time limit of all readings together: an emulated node may have to list the rules of ten thousand Services."""


@dataclass(frozen=True)
class Tools:
    """What a node has for looking and removing.

    ``iptables`` holds the multi-call program of a backend ("legacy", "nft"), where it is not ``xtables-…-multi`` on
    the PATH. ``python`` (3.8 or later, standard library) speaks netlink, so that ipvsadm and conntrack are not needed.
    ``exclusive``: nobody else uses the node, so that its tracked connections may be forgotten.
    """

    iptables: Mapping[str, str] = field(default_factory=dict)
    python: str = "python3"
    exclusive: bool = True

    @classmethod
    def of(cls, node: Node, *, exclusive: bool = True) -> Self:
        """Return those of a node; ``exclusive`` as in ``Traits`` of its cluster."""
        return cls(node.iptables, node.python, exclusive)


def capture(executor: Executor, tools: Tools, *, limit_s: float = LOOK_SECONDS) -> KernelState:
    """Look everywhere where Service proxies leave something; ``limit_s`` is the time limit of it all, in seconds.

    A tool that is missing is no matter where the kernel lacks what it is for. Raises ProxierError when it is missing
    and something may be there, since not to look is not to find nothing, or when a tool fails; HostError as the
    executor does.
    """
    looks = run_together(executor, commands(tools), timeout=limit_s)
    try:
        return understand(looks)
    except ProxierError as error:
        raise ProxierError(f"{executor.name}: {error}") from error


def commands(tools: Tools) -> list[Sequence[str]]:
    """Return all readings' commands."""
    saves = [legacy.command(applet, tools.iptables) for applet in APPLETS]
    others = (readings.SETS_COMMAND, readings.ADDRESS_COMMAND, readings.IPVS_COMMAND, readings.SYSCTL_COMMAND)
    return [*saves, nft.command(tools.iptables), *others]


def understand(looks: Sequence[Completed]) -> KernelState:
    """Return what the commands' outputs say together. Raises ProxierError as ``capture`` does."""
    *saves, listing, sets, links, servers, settings = looks
    if servers.code or MISSING in {look.code for look in looks}:
        raise ProxierError("grep or awk is missing: the kernel's state cannot be read")
    saved = [legacy.read(applet, look.stdout) for applet, look in zip(APPLETS, saves, strict=True)]
    listed = nft.read(listing.stdout)
    sysctls, tracked = readings.read_sysctls(settings.stdout)
    things = [
        *(thing for one in saved for thing in one.things),
        *listed.things,
        *readings.read_sets(sets.stdout),
        *readings.read_addresses(links.stdout),
        *readings.read_servers(servers.stdout),
    ]
    rules = tuple(count for one in saved for count in one.rules)
    return KernelState(tuple(sorted(things)), rules, sysctls, listed.tables, listed.foreign, tracked)
