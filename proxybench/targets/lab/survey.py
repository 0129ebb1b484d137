"""What each kind of node of a lab on this machine can do for subjects, and which kinds an experiment allows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxybench.errors import LabError
from proxybench.subjects.driver import Capability
from proxybench.targets.lab.artifacts import KERNELS
from proxybench.targets.lab.capabilities import Machine
from proxybench.targets.lab.choose import Wish, needs_the_vm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxybench.experiment.places import LabSpec
    from proxybench.model import Mode
    from proxybench.subjects.outlook import Need
    from proxybench.targets.lab.capabilities import ModeSupport

_NETNS = "netns"


def survey(needs: Iterable[Need], machine: Machine | None = None) -> Mapping[str, Mapping[Need, Capability]]:
    """Return for each kind of node ("netns", "vm 6.1") what it can do of these needs; takes some seconds."""
    machine = machine or Machine.this()
    wanted = tuple(dict.fromkeys(needs))
    looks: dict[str, Callable[[Mode, str], ModeSupport]] = {_NETNS: machine.netns}
    for kernel in KERNELS:
        looks[_vm(kernel)] = partial(_look_at_guest, machine, kernel)
    return {name: {need: _able(look, need) for need in wanted} for name, look in looks.items()}


def allowed(spec: LabSpec) -> tuple[str, ...]:
    """Return the kinds of node that ``target: {lab: …}`` allows, the one that is taken first, first."""
    kernel = _vm(spec.kernel)
    if needs_the_vm(Wish(spec.kind, spec.clocks[-1], spec.kernel)):  # with two clocks, one of them counts instructions
        return (kernel,)
    return (_NETNS,) if spec.kind == _NETNS else (_NETNS, kernel)


def _vm(kernel: str) -> str:
    return f"vm {kernel}"


def _look_at_guest(machine: Machine, kernel: str, mode: Mode, backend: str) -> ModeSupport:
    return machine.vm(mode, kernel, backend)


def _able(look: Callable[[Mode, str], ModeSupport], need: Need) -> Capability:
    mode, backend = need
    try:
        found = look(mode, backend or "legacy")
    except LabError as error:  # apt cannot be asked
        return Capability(supported=False, reason=str(error))
    return Capability(found.supported, found.reason, found.fix)
