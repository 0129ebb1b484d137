"""What a Service proxy leaves in a node's kernel: for each place a command, and a pure reading of what it prints.

Every reading returns a set of lines for people. The difference of two sets, after and before, is what was left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from proxybench.errors import ProxierError
from proxybench.hosts.batch import run_together
from refproxy.iptables_save import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.hosts.base import Completed, Executor

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
)
LOOK_SECONDS = 60.0
"""Time limit of all readings together: after a crash there may be the rules of ten thousand Services to print."""

_COMMAND_MISSING = 127


class Reading(Protocol):
    """One place to look at: the command to run there, and what its output says."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""
        ...

    def parse(self, stdout: str) -> frozenset[str]:
        """Return one line for each thing found. Raises ProxierError for an output that makes no sense."""
        ...


class IptablesReading:
    """Chains named KUBE-…, and rules of other chains that lead to one. ``binary`` is the multi-call program."""

    def __init__(self, binary: str) -> None:
        self.argv = (binary, "iptables-save")

    def parse(self, stdout: str) -> frozenset[str]:
        """Read ``iptables-save``."""
        found = set()
        for name, table in parse(stdout).items():
            found |= {f"iptables {name}: chain {chain}" for chain in table.own_chains if _kube(chain)}
            found |= {
                f"iptables {name}: rule in {rule.chain} to {rule.target}"
                for rule in table.rules
                if _kube(rule.target) and not _kube(rule.chain)
            }
        return frozenset(found)


class IpsetReading:
    """Sets named KUBE-…."""

    argv = ("ipset", "list", "-n")

    def parse(self, stdout: str) -> frozenset[str]:
        """Read ``ipset list -n``: one name a line."""
        return frozenset(f"ipset {name}" for name in stdout.split() if _kube(name))


class LinkReading:
    """Devices named kube-…."""

    argv = ("ip", "-br", "link", "show")

    def parse(self, stdout: str) -> frozenset[str]:
        """Read ``ip -br link``: the name is the first word, perhaps with its peer behind an @."""
        names = [line.split()[0].partition("@")[0] for line in stdout.splitlines() if line.strip()]
        return frozenset(f"device {name}" for name in names if name.startswith("kube-"))


class IpvsReading:
    """Virtual servers of IPVS; the file is absent while the kernel has no IPVS loaded."""

    argv = ("cat", "/proc/net/ip_vs")
    _SERVER = re.compile(r"^(TCP|UDP|SCTP)\s+([0-9A-F]{8}):([0-9A-F]{4})\s", re.MULTILINE)

    def parse(self, stdout: str) -> frozenset[str]:
        """Read /proc/net/ip_vs, whose addresses and ports are hexadecimal."""
        return frozenset(
            f"ipvs {protocol} {'.'.join(str(part) for part in bytes.fromhex(address))}:{int(port, 16)}"
            for protocol, address, port in self._SERVER.findall(stdout)
        )


class SysctlReading:
    """The kernel settings that proxies change."""

    argv = ("grep", "-H", "", *(f"/proc/sys/{name}" for name in SYSCTLS))

    def parse(self, stdout: str) -> frozenset[str]:
        """Read lines of "path:value"."""
        found = set()
        for line in stdout.splitlines():
            path, _, value = line.partition(":")
            found.add(f"sysctl {path.removeprefix('/proc/sys/').replace('/', '.')} = {value}")
        return frozenset(found)


def read_all(executor: Executor, readings: Sequence[Reading]) -> frozenset[str]:
    """Look everywhere, in one exec; raise ProxierError when a tool is missing, HostError as the executor does."""
    looks = run_together(executor, [reading.argv for reading in readings], timeout=LOOK_SECONDS)
    return found(executor.name, readings, looks)


def found(node: str, readings: Sequence[Reading], looks: Sequence[Completed]) -> frozenset[str]:
    """Return what the readings' commands, run on a node of that name, say together.

    Raises ProxierError when a tool was missing, since not to look is not to find nothing.
    """
    lines: set[str] = set()
    for reading, look in zip(readings, looks, strict=True):
        if look.code == _COMMAND_MISSING:
            raise ProxierError(f"{node}: cannot look for what was left: {reading.argv[0]} is missing")
        lines |= reading.parse(look.stdout)
    return frozenset(lines)


def usual_readings(iptables: str, *, ipvs: bool) -> tuple[Reading, ...]:
    """Return where to look; the places of IPVS only when that mode runs, since its tools may be missing else."""
    common: tuple[Reading, ...] = (IptablesReading(iptables), SysctlReading())
    return (*common, IpsetReading(), LinkReading(), IpvsReading()) if ipvs else common


def _kube(name: str) -> bool:
    return name.startswith("KUBE-")
