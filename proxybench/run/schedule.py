"""Which worker takes which steps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step


def assign(steps: Sequence[Step], workers: int) -> tuple[tuple[Step, ...], ...]:
    """Assign the steps: all subjects of one size and repetition together, the larger sizes first and evenly.

    For each worker the matrix's order is kept. There are as many workers as can be given something to do.
    """
    blocks: dict[tuple[int, int, int], list[Step]] = {}
    for step in steps:
        key = (step.repetition, step.cell.services, step.cell.endpoints_per_service)
        blocks.setdefault(key, []).append(step)
    assigned: list[list[Step]] = [[] for _ in range(min(workers, len(blocks)))]
    for block in sorted(blocks.values(), key=_weight, reverse=True):
        min(assigned, key=_weight).extend(block)
    return tuple(tuple(sorted(own)) for own in assigned)


def _weight(steps: Sequence[Step]) -> int:
    # In the lab a step costs as much as some 3,000 Services do, and then with every Service.
    return sum(3_000 + step.cell.services * step.cell.endpoints_per_service // 2 for step in steps)
