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

    _Look = Callable[[Mode, str], ModeSupport]

_NETNS = "netns"


def survey(needs: Iterable[Need], machine: Machine | None = None) -> Mapping[str, Mapping[Need, Capability]]:
    """Return for each kind of node ("netns", "vm 6.1") what it can do of these needs; takes some seconds."""
    machine = machine or Machine.this()
    wanted = tuple(dict.fromkeys(needs))
    looks: dict[str, tuple[_Look, str | None]] = {_NETNS: (machine.netns, None)}
    for kernel in KERNELS:
        looks[_vm(kernel)] = partial(_look_at_guest, machine, kernel), kernel
    return {
        name: {need: _able(look, need, partial(machine.fetching_problem, kernel)) for need in wanted}
        for name, (look, kernel) in looks.items()
    }


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


def _able(look: _Look, need: Need, fetching_problem: Callable[[], tuple[str, str] | None]) -> Capability:
    mode, backend = need
    try:
        found = look(mode, backend or "legacy")
    except LabError as error:  # apt cannot be asked
        return Capability(supported=False, reason=str(error))
    if found.supported and (problem := fetching_problem()):
        return Capability(supported=False, reason=problem[0], fix=problem[1])
    return Capability(found.supported, found.reason, found.fix)
