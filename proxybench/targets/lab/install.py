"""What the lab needs of this machine and does not find, and how it is brought, for ``proxybench setup``.

Programs are installed, with apt; what the lab merely unpacks (kernel, sshd, busybox) is fetched into the cache instead,
see artifacts.py.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.cache import cache_folder
from proxybench.errors import LabError
from proxybench.here import last_line, run_here
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.capabilities import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What must be on PATH, and the Debian package that brings it: for any lab, and for a guest besides.
PROGRAMS = {
    "xtables-legacy-multi": "iptables",
    "ipset": "ipset",
    "nft": "nftables",
    "ip": "iproute2",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "conntrack": "conntrack",
    "ipvsadm": "ipvsadm",
}
GUEST_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod"}
_LIMIT = 900.0


@dataclass(frozen=True)
class Lacking:
    """What is not there: Debian packages, and entries of the cache (a kernel's name; None: sshd alone)."""

    packages: tuple[str, ...]
    entries: tuple[str | None, ...]
    is_root: bool

    def __bool__(self) -> bool:
        return bool(self.packages or self.entries)

    def commands(self) -> tuple[tuple[str, ...], ...]:
        """Return what has to be run; without a fresh list apt may know neither packages nor a kernel."""
        if not self:
            return ()
        rights = () if self.is_root else ("sudo",)
        apt = (*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get")
        install = (*apt, "install", "-q", "-y", "--no-install-recommends", *self.packages)
        return ((*apt, "update", "-q"), *((install,) if self.packages else ()))

    def lines(self) -> tuple[str, ...]:
        """Say all that will be done, one line each."""
        cache = cache_folder()
        fetched = [f"Linux {entry}, busybox and sshd" if entry else "sshd" for entry in self.entries]
        return (
            *map(shlex.join, self.commands()),
            *(f"apt-get download and dpkg -x of {one} into {cache} (nothing is installed)" for one in fetched),
        )

    def bring(self, report: Callable[[str], None], run: Callable[[Sequence[str]], None] | None = None) -> None:
        """Do it, saying each command before it runs. Raises LabError with its last line when one fails."""
        for command in self.commands():
            report(shlex.join(command))
            (run or _run)(command)
        for entry in self.entries:
            artifacts.ensure(entry, report)


def lacking(kernel: str | None, find: Callable[[str], str | None] = find_program) -> Lacking:
    """Look for what a lab of namespaces needs, and with a kernel's name also a guest that boots it.

    Raises LabError, with the programs' names, where something is to be installed and there is no apt.
    """
    wanted = PROGRAMS | (GUEST_PROGRAMS if kernel else {})
    absent = {program: package for program, package in wanted.items() if not find(program)}
    entries = tuple(one for one in ((kernel, None) if kernel else (None,)) if not artifacts.present(one))
    if (absent or entries) and not find("apt-get"):
        what = ", ".join(absent) or "a Debian kernel and sshd"
        raise LabError(f"the lab needs {what}, and there is no apt-get here to bring it; use Debian 12 (docs/ci.md)")
    return Lacking(tuple(sorted(set(absent.values()))), entries, os.geteuid() == 0)


def _run(argv: Sequence[str]) -> None:
    what = next(word for word in argv if word in {"update", "install"})
    try:
        done = run_here(argv, _LIMIT)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise LabError(f"apt-get {what} could not be run: {error}") from error
    if done.returncode:
        raise LabError(f"apt-get {what} failed: {last_line(done)}")
