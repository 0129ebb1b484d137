"""When a proxy has nothing to do: by its CPU time, also where a watch's connections cost it some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.nodes.answers import GroupFigures, NodeFigures, Usage
from proxybench.nodes.requests import AskUsage
from tests.unit.run.world import CELL, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.scenarios.result import StepResult

S = 1_000_000_000
USERSPACE = replace(CELL, subject=replace(CELL.subject, mode=Mode.USERSPACE))
TOO_LATE = "restart: the step took longer than its limit of 20 s"


def restarted(mode: Mode, spent: Callable[[int], int]) -> StepResult:
    """Take a step with a restart under a watch; ``spent`` is the proxy's CPU time by the clock's."""
    made = World({"events": {"scenarios": ["restart"]}})

    def usage(request: AskUsage) -> Usage:
        now, watched = made.clock.now, bool(made.watches)
        used = spent(now) if watched else now // 100
        groups = {group: GroupFigures(used, used, 0, 4096, 4096) for group in request.cgroups}
        return Usage(now, groups, NodeFigures(now // 50, now // 1000), now // 1000)

    made.answers[AskUsage] = usage
    return made.take(limit=20.0, cell=USERSPACE if mode is Mode.USERSPACE else CELL)


def test_what_relays_a_watch_is_quiet_when_it_spends_the_same_all_the_time() -> None:
    assert restarted(Mode.USERSPACE, lambda now: now // 5).late == ""


def test_without_a_relay_nothing_but_rest_is_quiet() -> None:
    assert restarted(Mode.IPTABLES, lambda now: now // 5).late == TOO_LATE


@pytest.mark.parametrize(
    "spent",
    [
        lambda now: now * 6 // 10,  # as much as it gets: it works for itself
        lambda now: now // 5 if now % S < S // 2 else now // 5 + S // 10,  # now more, now less
    ],
    ids=["a busy core", "by fits and starts"],
)
def test_a_relay_that_works_for_itself_is_waited_for(spent: Callable[[int], int]) -> None:
    assert restarted(Mode.USERSPACE, spent).late == TOO_LATE
