from __future__ import annotations

from proxybench.experiment.subjects import KINDS
from proxybench.subjects.registry import drivers
from proxybench.testing.clock import FakeClock
from tests.unit.subjects.rig import FakeBinaries, make_binary


def test_every_kind_of_an_experiment_has_a_driver() -> None:
    assert sorted(drivers(FakeBinaries(make_binary()), FakeClock())) == sorted(KINDS)
