"""Which lab an experiment runs in, and by which clock; ``auto`` is resolved here, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import LabError
from proxybench.model import ClockKind, LabKind
from proxybench.targets.lab import abilities, artifacts, vm
from proxybench.targets.lab.common import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.model import Mode


@dataclass(frozen=True)
class Choice:
    """The lab to build; ``why`` is a sentence for the manifest and the report."""

    kind: LabKind
    settings: Settings
    why: str


def choose(kind: str, clock: str, modes: Sequence[Mode], say: Callable[[str], None] = lambda _: None) -> Choice:
    """Resolve ``kind`` (auto, netns, vm) and ``clock`` (auto, wall, instructions) for these modes.

    ``auto`` takes netns where every mode can run there, else the VM; a wish for the instruction clock means the VM.
    Raises LabError with each reason and what would mend it when the lab cannot be had.
    """
    if kind == "netns" or (kind == "auto" and clock != "instructions"):
        unable = [ability for ability in map(abilities.netns_ability, modes) if not ability.able]
        if not unable and clock != "instructions":
            why = "every mode of the experiment runs on this machine's kernel" if kind == "auto" else "as asked"
            return Choice(LabKind.NETNS, Settings(ClockKind.WALL, "none"), why)
        if kind == "netns":
            if clock == "instructions":
                raise LabError("clock: instructions needs target.lab.kind: vm (this kernel counts real time)")
            raise LabError("; ".join(f"{a.mode} in a netns lab: {a.reason} ({a.mend})" for a in unable))
        why = "; ".join(f"{ability.mode}: {ability.reason}" for ability in unable)
    else:
        why = "as asked" if kind == "vm" else "the instruction clock needs the VM"
    return _virtual(clock, modes, why, say)


def _virtual(clock: str, modes: Sequence[Mode], why: str, say: Callable[[str], None]) -> Choice:
    for ability in map(abilities.vm_ability, modes):
        if not ability.able:
            raise LabError(f"{ability.mode} in a vm lab: {ability.reason}; `{ability.mend}` would mend it")
    accelerator = "tcg"
    if clock != "instructions":
        accelerator = vm.default_accelerator(artifacts.ensure(kernel=True, say=say))
    kind = vm.default_clock(accelerator) if clock == "auto" else ClockKind(clock)
    return Choice(LabKind.VM, Settings(kind, accelerator), why)
