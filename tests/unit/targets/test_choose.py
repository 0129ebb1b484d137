from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError
from proxybench.model import ClockKind, LabKind, Mode
from proxybench.targets.lab import abilities, artifacts, vm
from proxybench.targets.lab.base import Ability
from proxybench.targets.lab.choose import Choice, choose
from proxybench.targets.lab.common import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = (Mode.IPTABLES, Mode.IPVS)
NETNS = Settings(ClockKind.WALL, "none")
REPEATABLE = Settings(ClockKind.INSTRUCTIONS, "tcg")
NO_IPVS = "this kernel has no IPVS or no dummy device"


class Machine:
    """What the machine can do, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.netns: dict[Mode, tuple[str, str]] = {}
        self.vm: dict[Mode, tuple[str, str]] = {}
        self.kvm = False
        self.asked: list[str] = []
        monkeypatch.setattr(abilities, "netns_ability", self._answer(LabKind.NETNS, self.netns))
        monkeypatch.setattr(abilities, "vm_ability", self._answer(LabKind.VM, self.vm))
        monkeypatch.setattr(artifacts, "ensure", lambda *, kernel, say: self.asked.append(f"fetch {kernel}"))
        monkeypatch.setattr(vm, "default_accelerator", lambda system: "kvm" if self.kvm else "tcg")

    def _answer(self, kind: LabKind, lacks: dict[Mode, tuple[str, str]]) -> Callable[[Mode], Ability]:
        def ability(mode: Mode) -> Ability:
            self.asked.append(f"{kind} {mode}")
            reason, mend = lacks.get(mode, ("", ""))
            return Ability(kind, mode, mode not in lacks, reason, mend)

        return ability


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_auto_takes_netns_where_every_mode_runs(machine: Machine) -> None:
    why = "every mode of the experiment runs on this machine's kernel"
    assert choose("auto", "auto", MODES) == Choice(LabKind.NETNS, NETNS, why)
    assert machine.asked == ["netns iptables", "netns ipvs"]


def test_netns_as_asked(machine: Machine) -> None:
    assert choose("netns", "wall", MODES) == Choice(LabKind.NETNS, NETNS, "as asked")


def test_auto_takes_the_vm_where_a_mode_is_lacking_and_says_which(machine: Machine) -> None:
    machine.netns[Mode.IPVS] = (NO_IPVS, "use target.lab.kind: vm")
    assert choose("auto", "auto", MODES) == Choice(LabKind.VM, REPEATABLE, f"ipvs: {NO_IPVS}")


def test_auto_names_every_reason(machine: Machine) -> None:
    machine.netns |= {Mode.IPVS: ("no a", "m"), Mode.IPTABLES: ("no b", "m")}
    assert choose("auto", "auto", MODES).why == "iptables: no b; ipvs: no a"


def test_the_instruction_clock_means_the_vm_and_never_kvm(machine: Machine) -> None:
    machine.kvm = True
    assert choose("auto", "instructions", MODES) == Choice(LabKind.VM, REPEATABLE, "the instruction clock needs the VM")
    assert machine.asked == ["vm iptables", "vm ipvs"]


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
def test_the_vm_as_asked(machine: Machine, clock: str, kvm: bool, settings: Settings) -> None:
    machine.kvm = kvm
    assert choose("vm", clock, MODES) == Choice(LabKind.VM, settings, "as asked")


def test_kvm_is_only_tried_with_the_kernel_at_hand(machine: Machine) -> None:
    choose("vm", "wall", MODES)
    assert machine.asked == ["vm iptables", "vm ipvs", "fetch True"]


@pytest.mark.parametrize(
    ("kind", "clock", "message"),
    [
        ("netns", "instructions", "clock: instructions needs target.lab.kind: vm (this kernel counts real time)"),
        (
            "netns",
            "auto",
            f"iptables in a netns lab: not root (run it with sudo); ipvs in a netns lab: {NO_IPVS} (use the VM)",
        ),
        ("vm", "auto", "ipvs in a vm lab: qemu-system-x86_64 not installed; `apt-get install qemu` would mend it"),
        ("auto", "auto", "ipvs in a vm lab: qemu-system-x86_64 not installed; `apt-get install qemu` would mend it"),
    ],
)
def test_a_lab_that_cannot_be_had(machine: Machine, kind: str, clock: str, message: str) -> None:
    machine.netns |= {Mode.IPTABLES: ("not root", "run it with sudo"), Mode.IPVS: (NO_IPVS, "use the VM")}
    machine.vm[Mode.IPVS] = ("qemu-system-x86_64 not installed", "apt-get install qemu")
    with pytest.raises(LabError) as raised:
        choose(kind, clock, MODES)
    assert str(raised.value) == message


def test_without_modes_nothing_can_be_lacking(machine: Machine) -> None:
    assert choose("netns", "auto", ()).kind is LabKind.NETNS
    assert machine.asked == []
