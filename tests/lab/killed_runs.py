"""Whole programs that are killed in each tenth of their time: runs that switch a cluster, and the way back of one."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from proxybench.targets.cluster.switch.undo import FILE
from tests.lab.own_cluster import User, begun, started, waited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WHOLE = "PROXYBENCH_TEST_CLUSTER" in os.environ
"""Whether clusters alone are tested (``make test-clusters``): then at all moments, each of which takes 12 s or more."""


@dataclass(frozen=True)
class Killed:
    """A run that was killed in a ``tenth`` of its time: what it ``said``, and its folder where it has an undo log."""

    tenth: int
    said: str
    run: Path | None


def killed_runs(user: User, few: Sequence[int], settle: Callable[[], object]) -> Iterator[Killed]:
    """Yield a run that was killed in each tenth of its time, or in a ``few`` unless ``WHOLE``.

    The next one begins once ``settle`` has returned. How long one takes is told by a first one that is let alone.
    """

    def runs() -> set[Path]:
        return {log.parent for log in (user.home / "results").glob(f"*/2*/{FILE}")}

    settle()
    began = time.monotonic()
    process, said = begun(user)
    assert waited(process, 150) == 0, said.read_text()
    whole = time.monotonic() - began
    for tenth in range(10) if WHOLE else few:
        settle()
        known = runs()
        process, said = begun(user)
        time.sleep(whole * (tenth + 0.5) / 10)
        process.kill()
        process.wait(30)
        yield Killed(tenth, said.read_text(), max(runs() - known, default=None))


def killed_restores(user: User, run: Path, step: float) -> int:
    """Kill the way back from a run after ``step`` seconds, again after twice as many, until one ends before it is due.

    So each comes further than the one before, and meets what that has left. Return how many were killed.
    """
    for killed in count():
        process, said = started(user, "restore", str(run))
        with suppress(subprocess.TimeoutExpired):
            assert process.wait(step * (killed + 1)) == 0, (killed, said.read_text())
            return killed
        process.kill()
        process.wait(30)
    raise AssertionError
