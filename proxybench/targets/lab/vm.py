"""The ``vm`` kind: the lab's namespaces inside one QEMU guest with Debian's kernel; needs no root and no KVM."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

from proxybench.deadline import wait_until
from proxybench.errors import LabError
from proxybench.interrupts import undisturbed
from proxybench.model import ClockKind, LabKind
from proxybench.targets.lab import artifacts, common, node_script, process, qemu, topology
from proxybench.targets.lab.built import BuiltLab
from proxybench.targets.lab.places import GUEST_OWN

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.targets.lab.artifacts import System
    from proxybench.targets.lab.common import Prepared

_BOOT_LIMIT = 180.0
_CGROUP = "/sys/fs/cgroup/proxybench"
_HOST = "10.0.2.2"  # QEMU's address, in the guest, of the host's loopback


class VmLab(BuiltLab):
    """A lab in a virtual machine, whose process holds it."""

    _begun: tuple[Prepared, ApiAccess, int] | None = None  # and the loopback port of its sshd

    def begin(self) -> None:
        """Start the guest without waiting for it. Raises LabError, with everything already removed."""
        if not shutil.which(qemu.BINARY):
            raise LabError(f"{qemu.BINARY} is not installed; `apt-get install qemu-system-x86` brings it")
        common.find_iptables()
        system = artifacts.ensure(self._settings.kernel, self._report)
        try:
            self._boot(system)
        except BaseException:
            self.down()
            raise

    def up(self) -> Cluster:
        """Wait until the guest is up (start it, if need be) and return how to reach its nodes. Raises LabError."""
        if self._begun is None:
            self.begin()
        try:
            return self._finish()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End the guest and the API server and remove the state folder."""
        self._begun = None
        super().down()

    def console(self) -> str:
        """Return what the guest wrote to its console."""
        file = self.state / "console" if self.state else None
        return file.read_text(errors="replace") if file and file.exists() else ""

    def _boot(self, system: System) -> None:
        settings = self._settings
        prepared, api, _ = self._begin(system, GUEST_OWN, _HOST)
        state = prepared.paths.state
        for node in settings.topology.nodes:
            (state / f"{node.name}.sh").write_text(
                node_script.node(prepared.paths, node.name, proxy="proxy" in node.roles)
            )
        (state / "guest.sh").write_text(node_script.guest(prepared.paths, settings.topology, _CGROUP))
        (state / "initramfs").write_bytes(system.initramfs(state / "guest.sh"))
        machine = qemu.Machine(
            kernel=system.kernel,
            initramfs=state / "initramfs",
            console=state / "console",
            accelerator=settings.accelerator,
            clock=settings.clock,
            ssh_port=_free_port(),
        )
        self._report(f"booting the guest (Linux {settings.kernel}, {settings.accelerator}, clock: {settings.clock})")
        with undisturbed():  # or a signal would leave one that nobody knows
            self._holder = process.start(qemu.command(machine), state / "qemu.log")
        self._begun = prepared, api, machine.ssh_port

    def _finish(self) -> Cluster:
        settings = self._settings
        if self._begun is None or self.state is None:
            raise LabError("the guest was not started")
        prepared, api, ssh_port = self._begun
        self._await_ready(self.state)
        cluster = common.cluster(
            prepared,
            targets=_targets(prepared, ssh_port, settings.topology),
            api=api,
            kind=LabKind.VM,
            settings=settings,
            cgroup=_CGROUP,
        )
        return self._guarded(cluster, "guest (QEMU)")

    def _await_ready(self, state: Path) -> None:
        def is_ready() -> bool:
            if node_script.READY in (text := self.console()):
                return True
            if node_script.FAILED in text or "Kernel panic" in text:
                raise LabError(f"the guest did not come up: {_last_words(text)}")
            if self._holder is None or self._holder.poll() is not None:
                raise LabError(f"QEMU ended: {process.tail(state / 'qemu.log')}")
            return False

        if not wait_until(is_ready, _BOOT_LIMIT, 0.1):
            raise LabError(f"the guest was not ready in {_BOOT_LIMIT:.0f} s: {process.tail(state / 'console')}")


def default_accelerator(system: System) -> str:
    """Return "kvm" where a stock kernel really boots under it, else "tcg"."""
    return "kvm" if qemu.kvm_boots(system) else "tcg"


def default_clock(accelerator: str) -> ClockKind:
    """Return the clock that ``auto`` stands for: TCG's real time says little, its instructions repeat."""
    return ClockKind.WALL if accelerator == "kvm" else ClockKind.INSTRUCTIONS


def _targets(prepared: Prepared, port: int, layout: topology.Topology) -> dict[str, SshTarget]:
    jump = common.target(prepared, topology.CTL, "127.0.0.1", port)
    return {node.name: common.target(prepared, node.name, node.management, 22, jump) for node in layout.nodes}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(console: str) -> str:
    """Return what the guest said before it gave up, without the kernel's register dump."""
    said = console.split("Kernel panic", maxsplit=1)[0].replace(node_script.FAILED, "").strip().splitlines()
    return " | ".join(line.strip() for line in said[-3:]) or "an empty console"
