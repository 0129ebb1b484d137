"""Which worker takes which steps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.spec import ProxierKind
from proxybench.model import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step
    from proxybench.model import Subject


def assign(steps: Sequence[Step], workers: int) -> tuple[tuple[Step, ...], ...]:
    """Assign the steps: all subjects of one size and repetition together, the largest first and evenly.

    What is measured once has no repetitions in which subjects take turns: there each step goes where there is room.
    For each worker the matrix's order is kept. There are as many workers as can be given something to do.
    """
    repeated = any(step.repetition > 1 for step in steps)
    blocks: dict[tuple[int, ...], list[Step]] = {}
    for step in steps:
        key = (step.repetition, step.cell.services, step.cell.endpoints_per_service) if repeated else (step.index,)
        blocks.setdefault(key, []).append(step)
    assigned: list[list[Step]] = [[] for _ in range(min(workers, len(blocks)))]
    for block in sorted(blocks.values(), key=_weight, reverse=True):
        min(assigned, key=_weight).extend(block)
    return tuple(tuple(sorted(own)) for own in assigned)


def _weight(steps: Sequence[Step]) -> int:
    # In the lab a step costs as much as some 3,000 Services do, and then with every Service; kube-proxy's IPVS mode,
    # which calls ipset for each of them, four times that (1,000 Services in the VM: 7 min against 1).
    return sum(
        (3_000 + step.cell.services * step.cell.endpoints_per_service // 2) * (4 if _is_slow(step.cell.subject) else 1)
        for step in steps
    )


def _is_slow(subject: Subject) -> bool:
    return subject.kind == ProxierKind.KUBE_PROXY and subject.mode is Mode.IPVS
