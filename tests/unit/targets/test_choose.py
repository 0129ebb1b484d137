from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError
from proxybench.model import ClockKind, LabKind, Mode
from proxybench.targets.lab.capabilities import ModeSupport
from proxybench.targets.lab.choose import Choice, Wish, choose
from proxybench.targets.lab.common import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ((Mode.IPTABLES, "nft"), (Mode.IPVS, None))
NETNS = Settings(ClockKind.WALL, "none")
REPEATABLE = Settings(ClockKind.INSTRUCTIONS, "tcg")
COUNTED = "; no KVM here, and an emulated guest's seconds are none, so its instructions are counted"
NO_IPVS = "this kernel has no IPVS or no dummy device"


class Machine:
    """What a machine can do, and what was asked of it; ``netns`` and ``vm`` hold what is lacking, and why."""

    def __init__(
        self,
        netns: dict[Mode, tuple[str, str]] | None = None,
        vm: dict[Mode, tuple[str, str]] | None = None,
        *,
        kvm: bool = False,
    ) -> None:
        self.lacking = {LabKind.NETNS: netns or {}, LabKind.VM: vm or {}}
        self.kvm = kvm
        self.asked: list[str] = []

    def netns(self, mode: Mode, backend: str) -> ModeSupport:
        return self._answer(LabKind.NETNS, mode, f"netns {mode} {backend}")

    def vm(self, mode: Mode, kernel: str, backend: str) -> ModeSupport:
        return self._answer(LabKind.VM, mode, f"vm {mode} {kernel} {backend}")

    def accelerator(self, kernel: str, report: Callable[[str], None]) -> str:
        self.asked.append(f"try kvm with {kernel}")
        return "kvm" if self.kvm else "tcg"

    def _answer(self, kind: LabKind, mode: Mode, asked: str) -> ModeSupport:
        self.asked.append(asked)
        lacking = self.lacking[kind]
        return ModeSupport(kind, mode, mode not in lacking, *lacking.get(mode, ("", "")))


def chosen(
    machine: Machine, kind: str = "auto", clock: str = "auto", kernel: str = "6.1", *, partial: bool = False
) -> Choice:
    return choose(Wish(kind, clock, kernel, partial=partial), MODES, pytest.fail, machine)


def test_auto_takes_netns_where_every_mode_runs() -> None:
    machine = Machine()
    why = "every mode of the experiment runs on this machine's kernel"
    assert chosen(machine, "auto", "auto") == Choice(LabKind.NETNS, NETNS, why)
    assert machine.asked == ["netns iptables nft", "netns ipvs legacy"]


def test_netns_as_asked() -> None:
    assert chosen(Machine(), "netns", "wall") == Choice(LabKind.NETNS, NETNS, "as asked")


def test_auto_takes_the_vm_where_a_mode_is_lacking_and_says_which() -> None:
    machine = Machine(netns={Mode.IPVS: (NO_IPVS, "use target.lab.kind: vm")})
    assert chosen(machine) == Choice(LabKind.VM, REPEATABLE, f"ipvs: {NO_IPVS}{COUNTED}")


def test_auto_names_every_reason() -> None:
    machine = Machine(netns={Mode.IPVS: ("no a", "m"), Mode.IPTABLES: ("no b", "m")})
    assert chosen(machine).why == f"iptables (nft): no b; ipvs: no a{COUNTED}"


def test_the_instruction_clock_means_the_vm_and_never_kvm() -> None:
    machine = Machine(kvm=True)
    assert chosen(machine, "auto", "instructions") == Choice(
        LabKind.VM, REPEATABLE, "the instruction clock needs the VM"
    )
    assert machine.asked == ["vm iptables 6.1 nft", "vm ipvs 6.1 legacy"]


def test_another_kernel_means_the_vm() -> None:
    machine = Machine(kvm=True)
    settings = Settings(ClockKind.WALL, "kvm", "6.12")
    assert chosen(machine, "auto", "wall", "6.12") == Choice(LabKind.VM, settings, "Linux 6.12 needs the VM")
    assert machine.asked == ["vm iptables 6.12 nft", "vm ipvs 6.12 legacy", "try kvm with 6.12"]


@pytest.mark.parametrize(
    ("clock", "kvm", "settings"),
    [
        ("auto", False, REPEATABLE),
        ("auto", True, Settings(ClockKind.WALL, "kvm")),
        ("wall", False, Settings(ClockKind.WALL, "tcg")),
        ("wall", True, Settings(ClockKind.WALL, "kvm")),
        ("instructions", True, REPEATABLE),
    ],
)
def test_the_vm_as_asked(clock: str, kvm: bool, settings: Settings) -> None:
    why = f"as asked{COUNTED}" if (clock, kvm) == ("auto", False) else "as asked"
    assert chosen(Machine(kvm=kvm), "vm", clock) == Choice(LabKind.VM, settings, why)


@pytest.mark.parametrize(
    ("kind", "clock", "message"),
    [
        ("netns", "instructions", "clock: instructions needs target.lab.kind: vm (this kernel counts real time)"),
        (
            "netns",
            "auto",
            f"iptables (nft) in a netns lab: not root (run it with sudo); ipvs in a netns lab: {NO_IPVS} (use the VM)",
        ),
        ("vm", "auto", "ipvs in a vm lab: qemu-system-x86_64 not installed; `apt-get install qemu` would fix it"),
        ("auto", "auto", "ipvs in a vm lab: qemu-system-x86_64 not installed; `apt-get install qemu` would fix it"),
    ],
)
def test_a_lab_that_cannot_be_had(kind: str, clock: str, message: str) -> None:
    netns = {Mode.IPTABLES: ("not root", "run it with sudo"), Mode.IPVS: (NO_IPVS, "use the VM")}
    machine = Machine(netns, {Mode.IPVS: ("qemu-system-x86_64 not installed", "apt-get install qemu")})
    with pytest.raises(LabError) as raised:
        chosen(machine, kind, clock)
    assert str(raised.value) == message


def test_without_modes_nothing_can_be_lacking() -> None:
    machine = Machine()
    assert choose(Wish("netns"), (), pytest.fail, machine).kind is LabKind.NETNS
    assert machine.asked == []


def test_beside_the_instruction_clock_real_time_is_what_this_kernel_has() -> None:
    machine = Machine(netns={Mode.IPVS: (NO_IPVS, "use the VM")})
    assert chosen(machine, "auto", "wall", partial=True) == Choice(
        LabKind.NETNS, NETNS, f"without ipvs: {NO_IPVS}; no KVM here", {(Mode.IPVS, None): NO_IPVS}
    )


def test_where_kvm_boots_all_modes_have_real_time() -> None:
    machine = Machine(netns={Mode.IPVS: (NO_IPVS, "use the VM")}, kvm=True)
    settings = Settings(ClockKind.WALL, "kvm")
    assert chosen(machine, "auto", "wall", partial=True) == Choice(LabKind.VM, settings, f"ipvs: {NO_IPVS}")


def test_without_a_guest_for_a_mode_kvm_is_not_tried() -> None:
    machine = Machine(netns={Mode.IPVS: (NO_IPVS, "m")}, vm={Mode.IPVS: ("no QEMU", "m")}, kvm=True)
    assert chosen(machine, "auto", "wall", partial=True).lacks == {(Mode.IPVS, None): NO_IPVS}
    assert "try kvm with 6.1" not in machine.asked


def test_where_nothing_has_real_time_the_instruction_clock_is_left() -> None:
    machine = Machine(netns={Mode.IPVS: ("no a", "m"), Mode.IPTABLES: ("no b", "m")})
    with pytest.raises(LabError) as raised:
        chosen(machine, "auto", "wall", partial=True)
    assert str(raised.value) == (
        "clock: wall: iptables (nft): no b; ipvs: no a; and no guest boots under KVM here. Write clock: instructions"
    )
