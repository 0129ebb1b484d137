"""QEMU: its command line (pure), and whether KVM really boots here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench import scratch
from proxybench.cache import cache_folder
from proxybench.here import run_here
from proxybench.model import ClockKind
from proxybench.targets.lab import leftovers, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.targets.lab.artifacts import System

BINARY = "qemu-system-x86_64"
_KVM_LIMIT = 20.0
_MARK = "proxybench: kvm boots"


@dataclass(frozen=True)
class Machine:
    """One guest: its files, its size, its clock, and the loopback port that leads to its sshd."""

    kernel: Path
    initramfs: Path
    console: Path
    accelerator: str
    clock: ClockKind
    ssh_port: int
    memory_mib: int = 3072


def command(machine: Machine) -> list[str]:
    """Return QEMU's arguments.

    Under the instruction clock the guest has one processor whose time is its count of executed instructions, one
    per nanosecond (-icount shift=0); with sleep=on its idle time passes as real time. Otherwise it has two.
    """
    words = "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off nokaslr"
    if machine.clock is ClockKind.INSTRUCTIONS:
        speed = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on,align=off", "-smp", "1"]
        # A new page for the slab allocator costs a connection 1.6 us more. With small slabs that befell half of them,
        # and medians jumped by 2 %; larger slabs leave the usual cost as it is (docs/decisions.md).
        words += " slub_min_order=3"
        # A connection that meets an expired one in its hash bucket removes that first, which takes 1.5 us. After some
        # repetitions this befell every sixth; with the buckets of a machine of more than 4 GiB it is rare.
        words += " nf_conntrack.hashsize=262144"
    elif machine.accelerator == "kvm":
        speed = ["-accel", "kvm", "-cpu", "host", "-smp", "2"]
    else:
        speed = ["-accel", "tcg,thread=multi", "-smp", "2"]
    forward = f"hostfwd=tcp:127.0.0.1:{machine.ssh_port}-10.0.2.15:22"
    return [
        BINARY, "-M", "pc", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-m", str(machine.memory_mib), *speed,
        "-kernel", str(machine.kernel), "-initrd", str(machine.initramfs),
        "-append", words,
        "-serial", f"file:{machine.console}",
        "-virtfs", "local,path=/,mount_tag=root,security_model=none,multidevs=remap,readonly=on",
        "-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip


def try_kvm(system: System) -> bool:
    """Boot a stock kernel under KVM; return whether it came as far as its first root."""
    # The first root fails to find its script and says so: a kernel that got that far has booted.
    with scratch.folder(leftovers.KVM_PREFIX) as folder:
        first = folder / "initramfs"
        first.write_bytes(system.initramfs(folder / "script"))
        (folder / "script").write_text(f"echo '{_MARK}'; exec /bin/sh -c 'echo o > /proc/sysrq-trigger'\n")
        console = folder / "console"
        machine = Machine(system.kernel, first, console, "kvm", ClockKind.WALL, 0, 512)
        argv = command(machine)
        del argv[argv.index("-netdev") :]
        with contextlib.suppress(subprocess.TimeoutExpired, FileNotFoundError):
            run_here(process.guarded(argv), _KVM_LIMIT, env=process.environment())
        return console.exists() and _MARK in console.read_text(errors="replace")


def kvm_boots(system: System, attempt: Callable[[System], bool] = try_kvm, device: Path = Path("/dev/kvm")) -> bool:
    """Tell whether a stock kernel boots under /dev/kvm; tried once, with a time limit, and remembered.

    /dev/kvm can exist and still hang a guest for ever (nested paravirtual hosts).
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return False
    memory = cache_folder() / "kvm.json"
    key = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {system.release}"
    try:
        remembered = json.loads(memory.read_text())
    except (OSError, ValueError):
        remembered = {}
    if remembered.get("key") != key:
        remembered = {"key": key, "boots": attempt(system)}
        with contextlib.suppress(OSError):  # a cache that cannot be written: it is tried again next time
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(remembered))
    return bool(remembered["boots"])
