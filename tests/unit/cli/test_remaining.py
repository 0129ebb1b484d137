from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxybench.cli.remaining import first_guess, side_by_side, total
from proxybench.experiment.load import load_experiment
from proxybench.experiment.matrix import Step, expand
from proxybench.experiment.packaged import packaged
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, Mode
from proxybench.testing.model import make_cell

BASE: dict[str, Any] = {
    "version": 1,
    "name": "e",
    "modes": ["iptables", "ipvs"],
    "scale": {"services": [10]},
    "measure": {},
}
IDLE = {"measure": {"cpu": {"idle": "20s"}}}
SMALL = 5.03 + 0.002  # what it takes to start, and 10 Services with 20 endpoints


def made(**changes: Any) -> Experiment:
    return Experiment.model_validate({**BASE, **changes})


def guess(mode: Mode = Mode.IPTABLES, services: int = 10, **changes: Any) -> float:
    return first_guess(made(**changes), make_cell(mode, services, 2))


@pytest.mark.parametrize(
    ("mode", "services", "seconds"),
    [
        (Mode.IPTABLES, 10, SMALL),
        (Mode.IPTABLES, 10_000, 37),
        (Mode.IPVS, 10_000, 22),
        (Mode.USERSPACE, 10_000, 22),
        (Mode.NFTABLES, 10_000, 27),
    ],
)
def test_first_guesses_grow_with_services_and_mode(mode: Mode, services: int, seconds: float) -> None:
    assert guess(mode, services) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        (IDLE, 20),
        ({"measure": {"soak": {"duration": "8h"}}, "limits": {"cell": "9h", "run": "30h"}}, 28_800),
        ({"load": {"rate": 100, "duration": "1m"}}, 65),
        ({"load": {"rate": 100, "duration": "1m", "at": [11]}}, 0),
        ({"measure": {"sync": {"scenarios": ["cold-start"]}}}, 0),
        ({"measure": {"sync": {"scenarios": ["add-one", "add-batch"], "times": 8}}}, 9 * (1 + 1)),
        ({"measure": {"sync": {"scenarios": ["add-one"]}}, "proxier": {"min_sync_period": "10s"}}, 11),
        ({"measure": {"migrate": {"to": "ipvs"}}}, 30),
        ({"measure": {"migrate": {"to": "iptables"}}}, 0),
        ({"measure": {"events": {"scenarios": ["restart", "full-sync"]}}}, 2 * (4 + 1)),
        ({"measure": {"events": {"scenarios": ["repair-table"]}}}, 4 + 1 + 30),
        ({"measure": {"events": {"scenarios": ["repair-table"], "timeout": "8s"}}}, 4 + 1 + 8),
        (
            {"measure": {"forwarding": {"connections": 100, "positions": ["first", "last"], "established": 60}}},
            (2 * 120 + 60) * 2 * 0.003,
        ),
    ],
)
def test_what_the_file_says_it_waits_for_is_in_the_guess(changes: dict[str, Any], more: float) -> None:
    assert guess(**changes) == pytest.approx(SMALL + more)


def test_a_cluster_s_own_proxy_has_no_events_no_migration_and_no_soak() -> None:
    own = {"cluster": {"inventory": "n.yaml"}}
    measure = {"soak": True, "events": True, "migrate": {"to": "ipvs"}, "cpu": {"idle": "20s"}}
    assert guess(measure=measure, target=own) == pytest.approx(SMALL + 20)


@pytest.mark.parametrize(
    ("lab", "clock", "times", "labs"),
    [
        ({}, None, 1, 1),
        ({"kind": "vm"}, None, 4, 2),
        ({"clock": "instructions", "shards": 1}, None, 4, 1),
        ({"clock": "instructions", "shards": 16}, None, 4, 2),
        ({"kind": "vm", "clock": "wall"}, None, 1, 1),
        ({"clock": ["wall", "instructions"]}, ClockKind.WALL, 1, 1),
        ({"clock": ["wall", "instructions"]}, ClockKind.INSTRUCTIONS, 4, 2),
    ],
)
def test_an_emulated_guest_is_slow_and_guests_share_no_more_than_the_processors(
    lab: dict[str, Any], clock: ClockKind | None, times: float, labs: int
) -> None:
    experiment, cell = made(target={"lab": lab}, **IDLE), make_cell(Mode.IPTABLES, 10, 2)
    each = first_guess(experiment, cell, clock)
    assert each == pytest.approx(times * (SMALL + 20))
    assert side_by_side(experiment, 2, clock) == labs
    steps = [Step(index, 1, cell, clock) for index in range(1, 5)]
    assert total(experiment, steps, 2) == pytest.approx(4 * each / labs)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("quickstart", 5, 10), ("events", 8, 11), ("migrate", 5, 13), ("soak", 6, 8), ("native", 5, 20)],
)
def test_guesses_of_what_was_run_are_of_its_order(name: str, least: float, most: float) -> None:
    experiment = load_experiment(Path(packaged()[name]))
    assert least * 60 <= total(experiment, expand(experiment), 2) <= most * 60
