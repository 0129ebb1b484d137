"""Where else Service proxies leave something: for each place a command, and a pure reading of what it prints.

Every command is cheap, changes nothing, and sends no more than the names of what is there.
"""

from __future__ import annotations

from ipaddress import ip_address

from proxybench.errors import ProxierError
from proxybench.nodes.kernel.shell import MISSING, PATH, failure, unsupported
from proxybench.nodes.kernel.state import Thing
from proxybench.nodes.kernel.sysctls import SYSCTLS, path

_TOOL = PATH + '"$@" 2>&1 || echo "failed $?"'
# A set that IPVS mode made cannot be there where the kernel has no IPVS: then it is no matter if ipset is missing.
_SETS = _TOOL + '; [ -e /proc/net/ip_vs ] || echo "no ipvs"'
_SERVERS = "[ ! -e /proc/net/ip_vs ] || grep -E '^(TCP|UDP|SCTP) ' /proc/net/ip_vs || [ $? = 1 ]"
_TRACKED = "net.netfilter.nf_conntrack_count"

SETS_COMMAND = ("sh", "-c", _SETS, "look", "ipset", "list", "-n")
ADDRESS_COMMAND = ("sh", "-c", _TOOL, "look", "ip", "-br", "address", "show")
IPVS_COMMAND = ("sh", "-c", _SERVERS)
SYSCTL_COMMAND = ("grep", "-s", "", *map(path, SYSCTLS), path(_TRACKED))


def read_sets(stdout: str) -> tuple[Thing, ...]:
    """Read ``ipset list -n``: one name a line. Raises ProxierError when it failed, or is missing beside IPVS."""
    code, words = failure(stdout)
    if code == MISSING and "no ipvs" not in words:
        raise ProxierError("ipset is missing, and the kernel may hold sets of IPVS mode: install ipset")
    if code not in {0, MISSING} and not unsupported(words):
        raise ProxierError(f"ipset failed: {words.removesuffix(' no ipvs')}")
    return tuple(Thing("ipset", "set", name) for name in stdout.splitlines() if name.startswith("KUBE-"))


def read_addresses(stdout: str) -> tuple[Thing, ...]:
    """Read ``ip -br address``: name (perhaps with its peer behind an @), state, addresses; one link a line.

    Raises ProxierError when it failed or is missing.
    """
    code, words = failure(stdout)
    if code:
        raise ProxierError(f"ip failed: {words}")
    things: list[Thing] = []
    for line in stdout.splitlines():
        name, _, rest = line.partition(" ")
        name = name.partition("@")[0]
        if name.startswith("kube-"):
            things.append(Thing("links", "link", name))
            things += [Thing(f"link {name}", "address", word) for word in rest.split() if "/" in word]
    return tuple(things)


def read_servers(stdout: str) -> tuple[Thing, ...]:
    """Read the lines of virtual servers in /proc/net/ip_vs, whose addresses and ports are hexadecimal.

    IPv4 is "TCP  0A600101:0050 rr", IPv6 "TCP  [2001:0db8:…]:0050 rr".
    """
    return tuple(Thing("ipvs", "virtual server", _server(*line.split()[:2])) for line in stdout.splitlines() if line)


def _server(protocol: str, where: str) -> str:
    address, _, port = where.rpartition(":")
    if address.startswith("["):
        return f"{protocol} [{ip_address(address.strip('[]'))}]:{int(port, 16)}"
    return f"{protocol} {ip_address(bytes.fromhex(address))}:{int(port, 16)}"


def read_sysctls(stdout: str) -> tuple[tuple[tuple[str, str], ...], int]:
    """Read lines of "path:value"; return the settings by name, and the number of tracked connections."""
    found = {}
    for line in stdout.splitlines():
        name, _, value = line.partition(":")
        found[name.removeprefix("/proc/sys/").replace("/", ".")] = value.strip()
    tracked = int(found.pop(_TRACKED, "0"))
    return tuple(sorted(found.items())), tracked
