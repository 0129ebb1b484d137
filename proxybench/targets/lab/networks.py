"""Whether the networks of a ``netns`` lab are as they were made: what takes one away looks like a proxy's outage.

They are read through one process in each; a proxy may add to them (IPVS mode does), but nobody takes anything away.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH: Final = 2  # below the process that holds the lab: its supervisor, and what that keeps in each namespace


class Networks:
    """The namespaces below the process that holds a lab, by the names that its supervisor gave them."""

    def __init__(self, holder: int, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        pids = list(below(holder, _DEPTH, proc))
        names = dict(_names(pids, proc))
        inside = {self._namespace(pid): pid for pid in reversed(pids)}  # the oldest process stays
        self._made = {name: (inside[one], self._read(inside[one])) for one, name in names.items() if one in inside}

    def lack(self) -> str:
        """Say in one line what was taken away of which node's network; "" for nothing."""
        for name, (pid, made) in self._made.items():
            with contextlib.suppress(OSError):  # of a process that has ended others tell
                if gone := sorted(made - self._read(pid)):
                    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
                    return f"in the lab, {name} has lost {gone[0]}{more}"
        return ""

    def _namespace(self, pid: int) -> int:
        return (self._proc / str(pid) / "ns/net").stat().st_ino

    def _read(self, pid: int) -> frozenset[str]:
        folder = self._proc / str(pid) / "net"
        return frozenset((*interfaces((folder / "dev").read_text()), *routes((folder / "route").read_text())))


def below(pid: int, depth: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield a process and those below it."""
    yield pid
    with contextlib.suppress(OSError):
        children = (proc / str(pid) / "task" / str(pid) / "children").read_text().split() if depth else ()
        for child in children:
            yield from below(int(child), depth - 1, proc)


def interfaces(dev: str) -> Iterator[str]:
    """Yield the interfaces of /proc/net/dev, in words."""
    for line in dev.splitlines()[2:]:
        yield f"its interface {line.partition(':')[0].strip()}"


def routes(route: str) -> Iterator[str]:
    """Yield the routes of /proc/net/route, in words; its addresses are in the order of this machine's bytes."""
    for line in route.splitlines()[1:]:
        device, to, *_, mask, _, _, _ = line.split()
        address = ".".join(str(part) for part in bytes.fromhex(to)[::-1])
        yield f"its route to {address}/{int(mask, 16).bit_count()} by {device}"


def _names(pids: list[int], proc: Path) -> Iterator[tuple[int, str]]:
    """Yield each namespace with its name, as that process sees them that has made them."""
    for pid in pids:
        with contextlib.suppress(OSError):
            folder = proc / str(pid) / "root/run/netns"
            found = [(file.stat().st_ino, file.name) for file in sorted(folder.iterdir())]
            if any(name == "client" for _, name in found):
                yield from found
                return
