"""What this machine can do: each mode in each kind of lab, tried for real in a scratch namespace, never guessed.

The trial is the mode's own data plane: it sets up and programs Services that need all that it knows (see
``proxiers.reference.trial``), so what it accepts is what a run will ask of the kernel.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import proxybench
from proxybench.model import LabKind, Mode
from proxybench.targets.lab import artifacts, qemu
from proxybench.targets.lab.base import Ability
from proxybench.targets.lab.node_script import IPTABLES

_LIMIT = 20.0
_TRIAL = "refproxy.trial"
MODES = (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)


@dataclass(frozen=True)
class Trial:
    """What one try ended with: its exit code and the last line that it said."""

    code: int
    said: str


def examine() -> list[Ability]:
    """Return, for each kind of lab and each mode, whether it can run here; takes a few seconds."""
    return [*(netns_ability(mode) for mode in MODES), *(vm_ability(mode) for mode in MODES)]


def netns_ability(mode: Mode) -> Ability:
    """Try a mode on this kernel, in a network namespace that ends with the try."""
    if os.geteuid() != 0:
        return Ability(LabKind.NETNS, mode, able=False, reason="not root", mend="run it with sudo")
    missing = _missing({IPTABLES: "iptables", "ip": "iproute2", "unshare": "util-linux"})
    if missing:
        return Ability(LabKind.NETNS, mode, able=False, reason=missing[0], mend=missing[1])
    # Without a single address, IPVS takes no real server.
    trial = _try(f"ip link set lo up && exec {shlex.quote(sys.executable)} -m {_TRIAL} {mode} {IPTABLES}")
    if trial.code == 0:
        return Ability(LabKind.NETNS, mode, able=True)
    reason = f"a trial of {mode} mode failed{f': {trial.said}' if trial.said else ''}"
    return Ability(LabKind.NETNS, mode, able=False, reason=reason, mend="use target.lab.kind: vm")


def vm_ability(mode: Mode) -> Ability:
    """Tell whether the guest can be started; its kernel has all modes."""
    programs = {qemu.BINARY: "qemu-system-x86", IPTABLES: "iptables", "ip": "iproute2", "setpriv": "util-linux"}
    if not artifacts.present(kernel=True):
        programs |= {"apt-get": "apt", "dpkg": "dpkg", "depmod": "kmod"}
    missing = _missing(programs)
    if missing:
        return Ability(LabKind.VM, mode, able=False, reason=missing[0], mend=missing[1])
    if os.uname().machine != "x86_64":
        return Ability(LabKind.VM, mode, able=False, reason=f"no guest for {os.uname().machine}", mend="use x86_64")
    trouble = None if artifacts.present(kernel=True) else artifacts.kernel_trouble()
    if trouble:
        return Ability(LabKind.VM, mode, able=False, reason=trouble[0], mend=trouble[1])
    return Ability(LabKind.VM, mode, able=True)


def _missing(programs: dict[str, str]) -> tuple[str, str] | None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = {program: package for program, package in programs.items() if not shutil.which(program, path=path)}
    if not lacking:
        return None
    return f"{', '.join(lacking)} not installed", f"apt-get install {' '.join(sorted(set(lacking.values())))}"


def _try(script: str) -> Trial:
    argv = ["unshare", "--net", "--mount", "sh", "-c", f"mount -t tmpfs run /run; PATH=$PATH:/usr/sbin:/sbin; {script}"]
    env = {**os.environ, "PYTHONPATH": str(Path(proxybench.__file__).parents[1])}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
            cwd=Path("/"),
            stdin=subprocess.DEVNULL,
            env=env,
        )
    except subprocess.TimeoutExpired:
        return Trial(124, f"no answer in {_LIMIT:.0f} s")
    lines = done.stderr.strip().splitlines()
    return Trial(done.returncode, lines[-1] if lines else "")
