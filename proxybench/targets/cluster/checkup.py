"""What each host of an inventory lacks, and what would mend it: one connection and one exec a host."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxybench.errors import HostError, ProxierError
from proxybench.hosts.fleet import ASKED_AT_ONCE, reach
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import SshConfig
from proxybench.model import Mode
from proxybench.subjects.attached import FIND, parse_found
from proxybench.targets.cluster.host_facts import without_script
from proxybench.targets.cluster.inventory import Role, read_inventory
from proxybench.targets.cluster.target import ASK_MODE, PYTHON, WORKDIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxybench.hosts.base import Executor
    from proxybench.targets.cluster.inventory import NodeWords

_LIMIT: Final = 60.0
_MARGIN: Final = 15.0  # to end a command that has passed its limit
_OLDEST: Final = (3, 8)
_PROXIES: Final = {Role.MEASURED, Role.OTHER}
# A program of Python's, which is started once: its first argument is what asks for kube-proxy's mode.
_LOOK: Final = """
import importlib.util, os, sys
print("python %d.%d" % sys.version_info[:2])
print("locust", importlib.util.find_spec("locust") is not None)
sys.stdout.write("mode ")
try:
    exec(sys.argv[1])
except Exception:
    print()
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print("real_time yes")
except Exception:  # musl's Python cannot say
    pass
"""
_FOUND: Final = "found "
# $1 python, $2 workdir, $3 the look by Python, $4 what asks for kube-proxy's mode; then a command that searches it.
_ASK: Final = r"""
echo "uid $(id -u)"
"$1" -c "$3" "$4" 2>/dev/null
mkdir -p "$2" 2>/dev/null && [ -w "$2" ] && echo "workdir yes"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
chrt -f 1 true 2>/dev/null && echo "real_time yes"
echo "kernel $(uname -r)"
[ -e /proc/net/ip_vs ] || modprobe --dry-run --quiet ip_vs && echo "ipvs yes"
for tool in nft ipset xtables-legacy-multi xtables-nft-multi; do
  command -v "$tool" >/dev/null && echo "$tool yes"
done
shift 4
"$@" 2>/dev/null | sed 's/^/found /'
exit 0
"""
_NFTABLES: Final = (5, 13)
"""The oldest Linux on which kube-proxy runs in nftables mode, by its documentation."""


@dataclass(frozen=True)
class Row:
    """One host: ``lacks`` is what is missing ("" when nothing is), ``fix`` what mends it, ``note`` what to know.

    ``modes`` are those of kube-proxy, where it runs: what each lacks there, and what mends it; "" for nothing. Programs
    of a DaemonSet's are its image's; the host's own are those by which proxybench looks at rules and cleans. ``mode``
    is the one in which it runs there, "" where none answers.
    """

    node: str
    roles: tuple[str, ...]
    lacks: str
    fix: str
    note: str = ""
    modes: Mapping[str, str] = field(default_factory=dict)
    mode: str = ""


def checkup(path: Path, ssh: SshConfig | None = None) -> tuple[Row, ...]:
    """Look at every host of an inventory file; one that is dead stops no other. Raises ExperimentError, UsageError.

    ``ssh`` tells how they are reached, and has asked for passphrases before where it has been used.
    """
    inventory = read_inventory(path)
    config = ssh or SshConfig(Secrets())
    fleet, lost = reach({node.name: config.target(inventory.ssh(node)) for node in inventory.nodes})
    nodes = {node.name: node for node in inventory.nodes}
    usual = inventory.defaults

    def ask(executor: Executor) -> tuple[str | None, str]:
        node = nodes[executor.name]
        words = (node.python or usual.python or PYTHON, node.workdir or usual.workdir or WORKDIR, _LOOK, ASK_MODE)
        try:
            return executor.run(["sh", "-c", _ASK, "ask", *words, *FIND], timeout=_LIMIT).stdout, ""
        except HostError as error:
            return None, without_script(error)

    with fleet:
        rounds = -(-len(fleet) // ASKED_AT_ONCE)
        said = fleet.fan_out(ask, timeout=rounds * (_LIMIT + _MARGIN))
    told = {name: (None, why) for name, why in lost.items()} | said
    return tuple(row for node in inventory.nodes for row in _rows(node, *told[node.name]))


def _rows(node: NodeWords, said: str | None, why: str) -> Iterator[Row]:
    roles = tuple(str(role) for role in node.roles)
    if said is None:
        what, _, fix = why.partition("; ")
        yield Row(node.name, roles, what, fix or "look whether ssh reaches it")
        return
    lines = said.splitlines()
    words = dict(line.partition(" ")[::2] for line in lines if not line.startswith(_FOUND))
    found = list(lacking(node, words))
    counted = ""
    if not found and Role.MEASURED in node.roles:
        try:
            counted = _counted("\n".join(line.removeprefix(_FOUND) for line in lines if line.startswith(_FOUND)))
        except ProxierError as error:
            found = [(str(error), "run one kube-proxy there")]
    modes = modes_there(words) if _PROXIES & set(node.roles) else {}
    mode = words.get("mode", "")
    for lacks, fix in found:
        yield Row(node.name, roles, lacks, fix, modes=modes, mode=mode)
    if not found:
        yield Row(node.name, roles, "", "", "; ".join(_notes(node, words, counted)), modes, mode)


def _notes(node: NodeWords, words: Mapping[str, str], counted: str) -> Iterator[str]:
    if mode := words.get("mode"):
        yield f"kube-proxy in {mode} mode{counted}"
    if Role.CLIENT in node.roles:
        if words.get("locust") == "False":
            yield "no locust for its Python, which load: needs"
        if not words.get("real_time"):
            yield "no real-time priority for probes"


def _counted(found: str) -> str:
    """Say whether kube-proxy's CPU time can be told from others'. Raises ProxierError unless there is one."""
    no_cpu = parse_found(found).no_cpu
    return f", its CPU and memory left out: {no_cpu}" if no_cpu else ", alone in its cgroup"


def modes_there(words: Mapping[str, str]) -> dict[str, str]:
    """Return what each mode of kube-proxy lacks on a host, with what mends it; "" for nothing. Pure."""
    kernel = words.get("kernel", "")
    version = re.match(r"(\d+)\.(\d+)", kernel)
    new = version is not None and (int(version[1]), int(version[2])) >= _NFTABLES
    tables = "" if {"xtables-legacy-multi", "xtables-nft-multi"} & set(words) else "no iptables there: install it"
    nft = "" if "nft" in words else "no nft there: install nftables"
    module = "" if "ipvs" in words else "no module ip_vs: install it"
    ipset = "" if "ipset" in words else "no ipset there: install it"
    return {
        str(Mode.IPTABLES): tables,
        str(Mode.NFTABLES): nft if new else f"Linux {kernel} is older than 5.13: take a newer one",
        str(Mode.IPVS): "; ".join(filter(None, (module, ipset, tables))),
    }


def lacking(node: NodeWords, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what a host lacks for its roles, with what mends it; ``words`` is what it said of itself. Pure."""
    version = words.get("python", "")
    if not version:
        yield "no Python 3 there", "install python3, or name one: python: /path"
    elif tuple(int(part) for part in version.split(".")) < _OLDEST:
        yield f"Python {version} is too old", "install Python 3.8 or later, and name it: python: /path"
    if "workdir" not in words:
        yield "the folder for the agent cannot be written", "name another: workdir: /path"
    if Role.MEASURED not in node.roles:
        return
    if words.get("uid") != "0":
        yield "not root: kube-proxy's cgroup and rules cannot be read", "write sudo: true, or user: root"
    if not words.get("mode"):
        yield "no kube-proxy answers on port 10249 of its loopback", "leave metricsBindAddress as it is by default"
