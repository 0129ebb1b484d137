"""Memory of each program of ours over a long run in namespaces: the API server, the agents, the lab and ourselves.

Run it as root from the repository: ``python -m benchmarks.long_lab [STEPS]``. Steps are as short as they can be, and
real: in each the reference proxier is started anew, Services come and go, connections are made. After each the
memory that is a process' own (USS) is read, of every one that lives through the run; what it shares would become more
whenever another program ends. Memory counts as flat when the median
of the last quarter of the steps is less than a tenth of a MiB per hundred steps above that of the second quarter. The
API server remembers 32,768 changes of each resource, a quarter more for a while: a few steps with many Services fill
that before, and it goes up and down by that quarter, which is why the range of each quarter of the steps is shown.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.children import heed_signals
from benchmarks.silent import Silent
from proxybench.cli.measure import measure
from proxybench.experiment.spec import Experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step

STEPS: Final = 300
MANY, FILLING = 5_000, 5  # so many Services in so many steps: each makes and removes them
LIMIT: Final = 0.1  # MiB per hundred steps
NAMES: Final = {
    "lab.apiserver.server": "API server",
    "lab.supervisor": "supervisor",
    "proxybench-agent": "agent",
    "agent.pyz backend": "pods' server",
}


class Watch(Silent):
    """Reads the memory of all our processes after each step."""

    def __init__(self) -> None:
        self.memory: dict[str, list[float]] = defaultdict(list)
        self.problems: list[str] = []

    def step_finished(self, step: Step, seconds: float, problem: str | None) -> None:
        """Read it."""
        del seconds
        if step.cell.services == MANY:
            return
        if problem:
            self.problems.append(problem)
        for name, mib in read():
            self.memory[name].append(mib)


def read() -> list[tuple[str, float]]:
    """Return the memory of this process and of each of ours below it, in MiB, by a name that holds its pid."""
    found = [("orchestrator", own(os.getpid()))]
    for pid in descendants(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        what = next((name for words, name in NAMES.items() if words in command), "")
        if what and (mib := own(pid)):
            found.append((f"{what} {pid}", mib))
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below one, whichever of its threads has started them."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return [*children, *(below for child in children for below in descendants(child))]


def own(pid: int) -> float:
    """Return a process' own memory in MiB; 0 for one that is not there."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))) / 1024


def growth(values: Sequence[float]) -> float:
    """Return how much more the last quarter has than the second one, in MiB per hundred steps."""
    quarter = len(values) // 4
    return (median(values[-quarter:]) - median(values[quarter : 2 * quarter])) / (2 * quarter) * 100


def main() -> int:
    """Take the steps; return 1 when something grows or a step failed."""
    heed_signals()
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "long-lab",
            "target": {"lab": {"kind": "netns"}},
            "modes": ["iptables"],
            "proxier": {"min_sync_period": "10ms"},
            "scale": {"services": [20, MANY], "endpoints_per_service": [1]},
            "repetitions": {"default": steps, str(MANY): FILLING},
            "measure": {
                "sync": {"scenarios": ["add-one", "change-endpoint", "delete-one", "add-batch"], "batch": 20},
                "forwarding": {"connections": 20, "established": 20},
            },
            "limits": {"cell": "2m"},
        }
    )
    watch = Watch()
    with tempfile.TemporaryDirectory() as base:
        outcome = measure(experiment, Path(base), resume=None, progress=watch)
    whole = {name: values for name, values in watch.memory.items() if len(values) == steps}
    grows = [name for name, values in whole.items() if growth(values) > LIMIT]
    for name, values in sorted(whole.items()):
        parts = [values[steps * part // 4 : steps * (part + 1) // 4] for part in range(4)]
        shown = ", ".join(f"{min(part):.1f} to {max(part):.1f}" for part in parts)
        print(f"{name}: {shown} MiB; {growth(values):.3f} MiB more per 100 steps (limit {LIMIT})")
    print(f"{steps} steps, {len(watch.problems)} failed{''.join(f'; {one}' for one in watch.problems[:1])}")
    return 1 if grows or watch.problems or outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
