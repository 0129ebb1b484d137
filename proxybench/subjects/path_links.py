"""The folder that comes first on a proxy's PATH: in it ``iptables`` and its kin are those of the chosen backend.

kube-proxy, like other Service proxies, takes the first ``iptables`` on its PATH; the two backends differ by a factor of
thirty at a cold start, so the choice is never left to the distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.subjects.bundle import Bundle, put_folder
from proxybench.subjects.node_checks import iptables_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.nodes.node import NodeHandle

_SYSTEM: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMES: Final = tuple(f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore"))


def path_links(handle: NodeHandle, backend: str | None) -> Mapping[str, str]:
    """Return the links, by name below the proxy's folder; ``backend`` None takes any that the node has, or none.

    In nftables mode kube-proxy calls iptables only to remove what other modes left. Raises ProxierError when the node
    lacks the backend.
    """
    programs = handle.node.iptables.values() if backend is None else (iptables_program(handle, backend),)
    return {f"bin/{name}": program for program in list(programs)[:1] for name in _NAMES}


def environment(folder: str) -> dict[str, str]:
    """Return the environment of a proxy whose links are in ``folder``."""
    return {"PATH": f"{folder}/bin:{_SYSTEM}", "TZ": "UTC"}  # klog writes the local time, without saying which


def variables(folder: str) -> list[str]:
    """Return the same as arguments of the program ``env``."""
    return [f"{name}={value}" for name, value in environment(folder).items()]


def cleanup_folder(handle: NodeHandle, backend: str | None) -> str:
    """Make a folder with the links, for what runs when the proxy has ended. Raises ProxierError, HostError."""
    folder = f"{handle.node.workdir}/proxy-cleanup"
    put_folder(handle.executor, folder, Bundle({}, path_links(handle, backend)))
    return folder
