"""The seam between a run and who draws it: everyone who is told has each of its methods, with its words."""

from __future__ import annotations

import inspect

import pytest

from proxybench.cli.progress import LiveProgress, PlainProgress
from proxybench.run.progress import Progress
from tests.unit.run.log import ProgressLog

SEAM = {name: method for name, method in vars(Progress).items() if inspect.isfunction(method) and name[0] != "_"}


def parameters(method: object) -> list[str]:
    assert callable(method)
    return list(inspect.signature(method).parameters)


def test_what_a_run_tells() -> None:
    assert {name: parameters(method)[1:] for name, method in SEAM.items()} == {
        "stage": ["name"],
        "plan": ["steps", "side_by_side"],
        "step_started": ["step"],
        "step_activity": ["step", "text"],
        "step_finished": ["step", "seconds", "problem"],
        "note": ["text"],
        "close": [],
    }


@pytest.mark.parametrize("told", [PlainProgress, LiveProgress, ProgressLog])
def test_all_that_are_told_take_the_same_words(told: type) -> None:
    assert {name: parameters(getattr(told, name)) for name in SEAM} == {
        name: parameters(method) for name, method in SEAM.items()
    }
