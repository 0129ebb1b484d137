"""Which lab an experiment runs in, and by which clock; ``auto`` is resolved here, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxybench.errors import LabError
from proxybench.model import ClockKind, LabKind
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL
from proxybench.targets.lab.capabilities import Machine
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import default_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.model import Mode
    from proxybench.targets.lab.capabilities import ModeSupport


@dataclass(frozen=True)
class Wish:
    """What was asked for: a kind (auto, netns, vm), a clock (auto, wall, instructions), and a guest's kernel."""

    kind: str = "auto"
    clock: str = "auto"
    kernel: str = DEFAULT_KERNEL


@dataclass(frozen=True)
class Choice:
    """The lab to build; ``why`` is a sentence for the manifest and the report."""

    kind: LabKind
    settings: Settings
    why: str


class Abilities(Protocol):
    """What a machine is asked; ``capabilities.Machine`` is one."""

    def netns(self, mode: Mode) -> ModeSupport:
        """Try a mode on this machine's kernel."""
        ...

    def vm(self, mode: Mode, kernel: str) -> ModeSupport:
        """Tell whether a guest with that kernel can be started."""
        ...

    def accelerator(self, kernel: str, report: Callable[[str], None]) -> str:
        """Return "kvm" where that kernel really boots under it, else "tcg"."""
        ...


def needs_the_vm(wish: Wish) -> str:
    """Return why only a VM will do, whatever this machine's kernel can; empty when namespaces may do."""
    if wish.kind == "vm":
        return "as asked"
    if wish.clock == "instructions":
        return "the instruction clock needs the VM"
    return "" if wish.kernel == DEFAULT_KERNEL else f"Linux {wish.kernel} needs the VM"


def choose(
    wish: Wish,
    modes: Sequence[Mode],
    report: Callable[[str], None] = lambda _: None,
    machine: Abilities | None = None,
) -> Choice:
    """Resolve a wish for these modes.

    ``auto`` takes netns where every mode can run there, else the VM; a wish for the instruction clock or another kernel
    means the VM. Raises LabError with each reason and what would fix it when the lab cannot be had.
    """
    machine = machine or Machine.this()
    if wish.kind == "netns" and wish.clock == "instructions":
        raise LabError("clock: instructions needs target.lab.kind: vm (this kernel counts real time)")
    if why := needs_the_vm(wish):
        return _virtual(wish, modes, why, report, machine)
    lacking = [found for found in map(machine.netns, modes) if not found.supported]
    if not lacking:
        why = "every mode of the experiment runs on this machine's kernel" if wish.kind == "auto" else "as asked"
        return Choice(LabKind.NETNS, Settings(ClockKind.WALL, "none"), why)
    if wish.kind == "netns":
        raise LabError("; ".join(f"{found.mode} in a netns lab: {found.reason} ({found.fix})" for found in lacking))
    return _virtual(wish, modes, "; ".join(f"{found.mode}: {found.reason}" for found in lacking), report, machine)


def _virtual(wish: Wish, modes: Sequence[Mode], why: str, report: Callable[[str], None], machine: Abilities) -> Choice:
    for mode in modes:
        found = machine.vm(mode, wish.kernel)
        if not found.supported:
            raise LabError(f"{mode} in a vm lab: {found.reason}; `{found.fix}` would fix it")
    accelerator = "tcg" if wish.clock == "instructions" else machine.accelerator(wish.kernel, report)
    clock = default_clock(accelerator) if wish.clock == "auto" else ClockKind(wish.clock)
    return Choice(LabKind.VM, Settings(clock, accelerator, wish.kernel), why)
