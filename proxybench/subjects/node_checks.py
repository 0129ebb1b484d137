"""What a mode needs of a node, asked of the node itself: its kernel, its programs, its modules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxybench.errors import ProxierError
from proxybench.hosts.batch import run_together
from proxybench.model import Mode
from proxybench.subjects.driver import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.hosts.base import Completed
    from proxybench.nodes.node import Node, NodeHandle

ABLE: Final = Capability(supported=True)
_LIMIT: Final = 60.0
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class _Need:
    """One thing that is asked of a node: the command, and what to say when it fails."""

    argv: tuple[str, ...]
    reason: str
    fix: str
    at_least: tuple[int, ...] = ()  # the version that the command must print; it stands in the reason as {found}


_NFTABLES_NEEDS: Final = (
    _Need(("uname", "-r"), "nftables mode needs Linux 5.13, it runs {found}", "a newer kernel", (5, 13)),
    _Need(
        ("nft", "--version"),
        "nftables mode needs nft 1.0.1, it has {found}",
        "install nftables 1.0.1 or newer there",
        (1, 0, 1),
    ),
    _Need(("nft", "list", "tables"), "nft cannot read the kernel's tables", "a kernel with nf_tables"),
)
_IPVS_NEEDS: Final = (
    _Need(
        ("sh", "-c", "test -e /proc/net/ip_vs || modprobe ip_vs"),
        "the kernel has no IPVS (module ip_vs)",
        "modprobe ip_vs there, or measure in the VM lab",
    ),
    _Need(("ipset", "--version"), "IPVS mode needs ipset, which is missing", "install ipset there"),
)


_FILES_NEED: Final = _Need(
    ("sh", "-c", "ulimit -Hn 64000"),
    "kube-proxy's userspace mode sets its limit of open files to 64,000, which this node does not allow",
    "raise the limit there, or measure in the VM lab",
)


def check_files(handle: NodeHandle) -> Capability:
    """Say whether a kube-proxy in userspace mode may open as many files as it wants.

    Source: ``NewProxier`` in pkg/proxy/userspace of Kubernetes up to 1.25. Raises HostError.
    """
    return _first_lack((_FILES_NEED,), handle)


def check_node(mode: Mode, backend: str | None, handle: NodeHandle) -> Capability:
    """Say whether a node has what a mode needs; ``backend`` is that of iptables, None in nftables mode.

    Sources: iptables' own listing shows whether the kernel has the backend; kube-proxy's nftables mode wants Linux
    5.13 and nft 1.0.1 (its documentation); IPVS wants ipset and the module ip_vs. Raises HostError.
    """
    if mode is Mode.NFTABLES:
        return _first_lack(_NFTABLES_NEEDS, handle)
    chosen = backend or "legacy"
    program = handle.node.iptables.get(chosen)
    if program is None:
        return _no_backend(chosen, handle.node)
    rules = _Need(
        (program, "iptables", "-w", "10", "-t", "nat", "-S", "OUTPUT"),
        f"iptables of the {chosen} backend cannot read the kernel's nat table",
        f"a kernel with {'ip_tables' if chosen == 'legacy' else 'nf_tables'}, or the other backend of `iptables:`",
    )
    return _first_lack((rules, *_IPVS_NEEDS) if mode is Mode.IPVS else (rules,), handle)


def check_versions(mode: Mode, ask: Callable[[Sequence[str]], Completed]) -> Capability:
    """Say whether the kernel and the programs are new enough for a mode.

    ``ask`` runs a command where the mode is to run, and returns how it ended.
    """
    for need in _NFTABLES_NEEDS if mode is Mode.NFTABLES else ():
        if need.at_least and (lack := _lack(need, ask(need.argv))):
            return Capability(supported=False, reason=lack, fix=need.fix)
    return ABLE


def _first_lack(needs: Sequence[_Need], handle: NodeHandle) -> Capability:
    looks = run_together(handle.executor, [need.argv for need in needs], timeout=_LIMIT)
    for need, look in zip(needs, looks, strict=True):
        if lack := _lack(need, look):
            return Capability(supported=False, reason=f"{handle.name}: {lack}", fix=need.fix)
    return ABLE


def iptables_program(handle: NodeHandle, backend: str) -> str:
    """Return the full path of a backend's multi-call program on the node. Raises ProxierError when it has none."""
    try:
        return handle.node.iptables[backend]
    except KeyError:
        raise ProxierError(f"{handle.name}: there is no iptables of the {backend} backend") from None


def _no_backend(backend: str, node: Node) -> Capability:
    others = [name for name in node.iptables if name != backend]
    fix = f"take `iptables: {others[0]}`, or install iptables there" if others else "install iptables there"
    return Capability(supported=False, reason=f"{node.name}: there is no iptables of the {backend} backend", fix=fix)


def _lack(need: _Need, look: Completed) -> str:
    """Return what is missing; empty when the need is met."""
    found = _VERSION.search(look.stdout) if need.at_least else None
    if look.code != 0 or (need.at_least and found is None):
        return need.reason.format(found="none")
    if found is None:
        return ""
    version = tuple(int(part or 0) for part in found.groups())
    return "" if version >= need.at_least else need.reason.format(found=found[0])
