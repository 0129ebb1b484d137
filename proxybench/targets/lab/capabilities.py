"""What this machine can do: each mode in each kind of lab, tried for real, never guessed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.cache import cache_folder, unwritable
from proxybench.here import run_here
from proxybench.hosts.base import Completed
from proxybench.model import LabKind, Mode
from proxybench.subjects.node_checks import check_versions
from proxybench.targets.lab import artifacts, process, qemu
from proxybench.targets.lab.kernel_probe import Trial, programs, try_mode
from proxybench.targets.lab.vm import default_accelerator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MODES = tuple(Mode)
_USE_THE_VM = "use target.lab.kind: vm"
_ASK_LIMIT = 20.0
_FETCHING = {"apt-get": "apt", "dpkg": "dpkg"}
_ANY_LAB = {"xtables-legacy-multi": "iptables", "ip": "iproute2"}


@dataclass(frozen=True)
class ModeSupport:
    """Whether a mode can run in a kind of lab here; if not, why, and the command or setting that would fix it."""

    kind: LabKind
    mode: Mode
    supported: bool
    reason: str = ""
    fix: str = ""


def find_program(name: str) -> str | None:
    """Return a program's full path, looked for where root's programs are, too."""
    return shutil.which(name, path=process.search_path())


def ask_here(argv: Sequence[str]) -> Completed:
    """Run a command on this machine; one that is not there or does not end ends as in a shell."""
    try:
        done = run_here(argv, _ASK_LIMIT, env=process.environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        return Completed("", str(error), 124 if isinstance(error, subprocess.TimeoutExpired) else 127, 0.0)
    return Completed(done.stdout, done.stderr, done.returncode, 0.0)


@dataclass(frozen=True)
class Machine:
    """This machine, and how it is asked. ``ask`` runs a command and returns how it ended.

    ``kernel_problem`` says why apt has no such kernel for a guest, and what would fix it.
    """

    is_root: bool
    architecture: str
    find: Callable[[str], str | None] = find_program
    probe: Callable[[Mode, str], Trial] = try_mode
    ask: Callable[[Sequence[str]], Completed] = ask_here
    kernel_problem: Callable[[str], tuple[str, str] | None] = artifacts.kernel_problem

    @classmethod
    def this(cls) -> Machine:
        """Return the machine that this process runs on."""
        return cls(os.geteuid() == 0, os.uname().machine)

    def netns(self, mode: Mode, backend: str = "legacy") -> ModeSupport:
        """Try a mode on this machine's kernel, in a network namespace that ends with the try.

        ``backend`` is that of iptables: "legacy" or "nft".
        """
        if not self.is_root:
            return self._no(LabKind.NETNS, mode, "not root", "run it with sudo")
        if missing := self._missing({**_ANY_LAB, **programs(mode, backend), "unshare": "util-linux"}):
            return self._no(LabKind.NETNS, mode, *missing)
        old = check_versions(mode, self.ask)
        if not old.supported:
            return self._no(LabKind.NETNS, mode, old.reason, old.fix)
        trial = self.probe(mode, backend)
        if trial.code == 0:
            return ModeSupport(LabKind.NETNS, mode, supported=True)
        message = f": {trial.message}" if trial.message else ""
        return self._no(LabKind.NETNS, mode, f"a trial of {mode} mode failed{message}", _USE_THE_VM)

    def vm(self, mode: Mode, kernel: str, backend: str = "legacy") -> ModeSupport:
        """Tell whether a guest with that kernel can be started; such a kernel has all modes.

        The guest runs this machine's programs.
        """
        fetched = artifacts.present(kernel)
        fetching = {} if fetched else {**_FETCHING, "depmod": "kmod"}
        usual = {qemu.BINARY: "qemu-system-x86", **_ANY_LAB, **programs(mode, backend), "setpriv": "util-linux"}
        if missing := self._missing(usual | fetching):
            return self._no(LabKind.VM, mode, *missing)
        if self.architecture != "x86_64":
            return self._no(LabKind.VM, mode, f"no guest for {self.architecture}", "use x86_64")
        if problem := None if fetched else self.kernel_problem(kernel):
            return self._no(LabKind.VM, mode, *problem)
        old = check_versions(mode, lambda argv: self._ask_guest(argv, kernel))
        if not old.supported:
            return self._no(LabKind.VM, mode, old.reason, old.fix)
        return ModeSupport(LabKind.VM, mode, supported=True)

    def _ask_guest(self, argv: Sequence[str], kernel: str) -> Completed:
        return Completed(kernel, "", 0, 0.0) if argv[0] == "uname" else self.ask(argv)

    def fetching_problem(self, kernel: str | None) -> tuple[str, str] | None:
        """Return why what a lab is made of cannot be fetched, and what would fix it; None where it is there, or can be.

        ``kernel`` is the guest's, None for namespaces. Nothing is fetched or made to find out.
        """
        return None if artifacts.present(kernel) else self._missing(_FETCHING) or unwritable(cache_folder())

    def accelerator(self, kernel: str, report: Callable[[str], None]) -> str:
        """Return "kvm" where that kernel really boots under it, else "tcg"; fetches the kernel first."""
        return default_accelerator(artifacts.ensure(kernel, report))

    def _no(self, kind: LabKind, mode: Mode, reason: str, fix: str) -> ModeSupport:
        return ModeSupport(kind, mode, supported=False, reason=reason, fix=fix)

    def _missing(self, programs: Mapping[str, str]) -> tuple[str, str] | None:
        lacking = {program: package for program, package in programs.items() if not self.find(program)}
        if not lacking:
            return None
        return f"{', '.join(lacking)} not installed", f"apt-get install {' '.join(sorted(set(lacking.values())))}"
