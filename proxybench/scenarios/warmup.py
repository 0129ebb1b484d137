"""Every mode's control loop once, unmeasured, before a lab's first step.

The first start on a node reads programs from a disk and loads kernel modules: by the instruction clock it took 6 % more
CPU than the next, and its tools a third more time. That is the node's cost, not the mode's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ConnectionLostError, ProxybenchError
from proxybench.subjects.base import ProxierConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxybench.deadline import Deadline
    from proxybench.model import Mode
    from proxybench.subjects.base import Proxier

_LIMIT = 60.0


def warm_up(
    modes: Iterable[Mode], periods: tuple[float, float], make: Callable[[], tuple[Proxier, ...]], deadline: Deadline
) -> tuple[str, ...]:
    """Start and stop each mode once on all nodes of ``make``; return what went wrong, one line for each mode.

    ``periods`` are minSyncPeriod and syncPeriod in seconds. A mode that fails here is left to its steps, which say why.
    Raises ConnectionLostError.
    """
    problems = []
    for mode in modes:
        proxiers = make()
        try:
            try:
                for proxier in proxiers:
                    proxier.start(ProxierConfig(mode, *periods))
                for proxier in proxiers:
                    proxier.ready(deadline.left(_LIMIT))
            finally:
                for proxier in proxiers:
                    proxier.stop(_LIMIT)
        except ConnectionLostError:
            raise
        except ProxybenchError as error:
            problems.append(f"{mode}: the warm-up failed: {error}")
    return tuple(problems)
