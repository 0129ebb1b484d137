"""What this machine can do: each mode in each kind of lab, tried for real, never guessed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.model import LabKind, Mode
from proxybench.targets.lab import artifacts, qemu
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL
from proxybench.targets.lab.kernel_probe import PROGRAMS, Trial, try_mode
from proxybench.targets.lab.vm import default_accelerator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODES = tuple(Mode)
_USE_THE_VM = "use target.lab.kind: vm"
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
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Machine:
    """This machine, and how it is asked."""

    is_root: bool
    architecture: str
    find: Callable[[str], str | None] = find_program
    probe: Callable[[Mode], Trial] = try_mode

    @classmethod
    def this(cls) -> Machine:
        """Return the machine that this process runs on."""
        return cls(os.geteuid() == 0, os.uname().machine)

    def examine(self) -> list[ModeSupport]:
        """Return, for each kind of lab and each mode, whether it can run here; takes a few seconds."""
        return [*(self.netns(mode) for mode in MODES), *(self.vm(mode, DEFAULT_KERNEL) for mode in MODES)]

    def netns(self, mode: Mode) -> ModeSupport:
        """Try a mode on this machine's kernel, in a network namespace that ends with the try."""
        if not self.is_root:
            return self._no(LabKind.NETNS, mode, "not root", "run it with sudo")
        if missing := self._missing({**_ANY_LAB, **PROGRAMS[mode], "unshare": "util-linux"}):
            return self._no(LabKind.NETNS, mode, *missing)
        trial = self.probe(mode)
        if trial.code == 0:
            return ModeSupport(LabKind.NETNS, mode, supported=True)
        message = f": {trial.message}" if trial.message else ""
        return self._no(LabKind.NETNS, mode, f"a trial of {mode} mode failed{message}", _USE_THE_VM)

    def vm(self, mode: Mode, kernel: str) -> ModeSupport:
        """Tell whether a guest with that kernel can be started; such a kernel has all modes."""
        fetched = artifacts.present(kernel)
        fetching = {} if fetched else {"apt-get": "apt", "dpkg": "dpkg", "depmod": "kmod"}
        usual = {qemu.BINARY: "qemu-system-x86", **_ANY_LAB, **PROGRAMS[mode], "setpriv": "util-linux"}
        if missing := self._missing(usual | fetching):
            return self._no(LabKind.VM, mode, *missing)
        if self.architecture != "x86_64":
            return self._no(LabKind.VM, mode, f"no guest for {self.architecture}", "use x86_64")
        if problem := None if fetched else artifacts.kernel_problem(kernel):
            return self._no(LabKind.VM, mode, *problem)
        return ModeSupport(LabKind.VM, mode, supported=True)

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


def examine() -> list[ModeSupport]:
    """Return what this machine can do."""
    return Machine.this().examine()
