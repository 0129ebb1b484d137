"""Which lab an experiment runs in, and by which clock; ``auto`` is resolved here, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from proxybench.errors import LabError
from proxybench.model import ClockKind, LabKind
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL
from proxybench.targets.lab.capabilities import Machine
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import default_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.model import Mode
    from proxybench.targets.lab.capabilities import ModeSupport


_USUAL = "legacy"


@dataclass(frozen=True)
class Wish:
    """What was asked for: a kind (auto, netns, vm), a clock (auto, wall, instructions), and a guest's kernel.

    ``partial``: by the wall clock, modes may be left out that this machine's kernel lacks.
    """

    kind: str = "auto"
    clock: str = "auto"
    kernel: str = DEFAULT_KERNEL
    partial: bool = False


@dataclass(frozen=True)
class Choice:
    """The lab to build; ``why`` is a sentence for manifest and report, ``lacks`` are modes left out, and why."""

    kind: LabKind
    settings: Settings
    why: str
    lacks: Mapping[Need, str] = field(default_factory=dict)


Need = tuple["Mode", "str | None"]
"""A mode, and the backend of iptables that it is to have: None in nftables mode, and for the usual one, "legacy"."""


class Abilities(Protocol):
    """What a machine is asked; ``capabilities.Machine`` is one."""

    def netns(self, mode: Mode, backend: str) -> ModeSupport:
        """Try a mode on this machine's kernel, with a backend of iptables."""
        ...

    def vm(self, mode: Mode, kernel: str, backend: str) -> ModeSupport:
        """Tell whether a guest with that kernel can be started, and has that backend's program."""
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
    modes: Sequence[Need],
    report: Callable[[str], None] = lambda _: None,
    machine: Abilities | None = None,
) -> Choice:
    """Resolve a wish for these modes and backends.

    ``auto`` takes netns where every mode can run there, else the VM; a wish for the instruction clock or another kernel
    means the VM. A partial wish for the wall clock takes a VM under KVM, else netns with the modes that run there.
    Raises LabError with each reason and what would fix it when the lab cannot be had.
    """
    machine = machine or Machine.this()
    if wish.kind == "netns" and wish.clock == "instructions":
        raise LabError("clock: instructions needs target.lab.kind: vm (this kernel counts real time)")
    if why := needs_the_vm(wish):
        return _virtual(wish, modes, why, report, machine)
    looks = [(need, machine.netns(need[0], need[1] or _USUAL)) for need in modes]
    lacking = [(_name(need), found) for need, found in looks if not found.supported]
    if not lacking:
        why = "every mode of the experiment runs on this machine's kernel" if wish.kind == "auto" else "as asked"
        return Choice(LabKind.NETNS, Settings(ClockKind.WALL, "none"), why)
    if wish.kind == "netns":
        raise LabError("; ".join(f"{name} in a netns lab: {found.reason} ({found.fix})" for name, found in lacking))
    why = "; ".join(f"{name}: {found.reason}" for name, found in lacking)
    if wish.partial and wish.clock == "wall":
        lacks = {need: found.reason for need, found in looks if not found.supported}
        return _real_time(wish, modes, why, lacks, report, machine)
    return _virtual(wish, modes, why, report, machine)


def _real_time(
    wish: Wish,
    modes: Sequence[Need],
    why: str,
    lacks: Mapping[Need, str],
    report: Callable[[str], None],
    machine: Abilities,
) -> Choice:
    """Measure real time: every mode where KVM boots, else what namespaces have."""
    if all(machine.vm(mode, wish.kernel, backend or _USUAL).supported for mode, backend in modes):
        accelerator = machine.accelerator(wish.kernel, report)
        if accelerator == "kvm":
            return Choice(LabKind.VM, Settings(ClockKind.WALL, accelerator, wish.kernel), why)
    if len(lacks) == len(modes):
        raise LabError(f"clock: wall: {why}; and no guest boots under KVM here. Write clock: instructions")
    return Choice(LabKind.NETNS, Settings(ClockKind.WALL, "none"), f"without {why}; no KVM here", lacks)


def _name(need: Need) -> str:
    mode, backend = need
    return f"{mode} ({backend})" if backend not in (None, _USUAL) else str(mode)


def _virtual(wish: Wish, modes: Sequence[Need], why: str, report: Callable[[str], None], machine: Abilities) -> Choice:
    for need in modes:
        found = machine.vm(need[0], wish.kernel, need[1] or _USUAL)
        if not found.supported:
            raise LabError(f"{_name(need)} in a vm lab: {found.reason}; `{found.fix}` would fix it")
    accelerator = "tcg" if wish.clock == "instructions" else machine.accelerator(wish.kernel, report)
    clock = default_clock(accelerator) if wish.clock == "auto" else ClockKind(wish.clock)
    if wish.clock == "auto" and clock is ClockKind.INSTRUCTIONS:
        why = f"{why}; no KVM here, and an emulated guest's seconds are none, so its instructions are counted"
    return Choice(LabKind.VM, Settings(clock, accelerator, wish.kernel), why)
