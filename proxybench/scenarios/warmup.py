"""Every subject once, unmeasured, before a cluster's first step.

The first start on a node reads programs from a disk and loads kernel modules: by the instruction clock it took 6 % more
CPU than the next, and its tools a third more time. That is the node's cost, not the mode's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ConnectionLostError, ProxybenchError
from proxybench.scenarios.result import StepResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.deadline import Deadline
    from proxybench.scenarios.proxies import Proxies

_LIMIT = 60.0


def warm_up(subjects: Mapping[str, Proxies], deadline: Deadline) -> tuple[str, ...]:
    """Start and stop each subject once on all nodes; return what went wrong, in lines that begin with its name.

    A subject that fails here is left to its steps, which say why. Raises ConnectionLostError.
    """
    problems = []
    for name, proxies in subjects.items():
        result = StepResult()
        try:
            proxies.prepare()
            proxies.start_all(deadline, _LIMIT)
        except ConnectionLostError:
            result.lost = True
            raise
        except ProxybenchError as error:
            result.problems.append(str(error))
        finally:
            proxies.stop(result, name)
        if result.lost:
            raise ConnectionLostError("; ".join(result.problems))
        problems += [f"{name}: the warm-up failed: {problem}" for problem in result.problems]
    return tuple(problems)
