from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError
from proxybench.experiment.places import ClusterSpec
from proxybench.experiment.spec import TargetSpec
from proxybench.model import ClockKind, Mode
from proxybench.targets.base import Needs, TargetFacts
from proxybench.targets.lab.target import LabTarget
from proxybench.targets.lab.topology import DUAL_STACK
from proxybench.targets.registry import TARGETS, make_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.targets.base import Target


def test_a_lab_is_made_of_the_words_below_its_name_and_of_what_the_experiment_needs() -> None:
    spec = TargetSpec.model_validate({"lab": {"kind": "netns", "clock": "wall"}})
    (found,) = make_targets(spec, Needs((), ipv6=True, release="v1.30.14"), pytest.fail)
    assert found.facts == TargetFacts("netns", ClockKind.WALL, "none", "as asked")
    assert isinstance(found, LabTarget)
    assert (found.settings.topology, found.settings.kubernetes_version) == (DUAL_STACK, "v1.30.14")


def test_what_a_lab_cannot_be_is_refused_in_the_lab_s_words() -> None:
    spec = TargetSpec.model_validate({"lab": {"kind": "netns", "clock": "instructions"}})
    with pytest.raises(LabError) as caught:
        make_targets(spec, Needs(()), pytest.fail)
    assert str(caught.value) == "clock: instructions needs target.lab.kind: vm (this kernel counts real time)"


def test_a_further_kind_is_one_line_and_goes_before_the_lab_that_is_always_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def clusters(spec: ClusterSpec, needs: Needs, report: Callable[[str], None]) -> tuple[Target, ...]:
        asked.extend([spec.inventory, needs.modes, report])
        return ()

    monkeypatch.setitem(TARGETS, "cluster", clusters)
    spec = TargetSpec(cluster=ClusterSpec(inventory="nodes.yaml"))
    assert make_targets(spec, Needs(((Mode.IPVS, "legacy"),)), pytest.fail) == ()
    assert asked == ["nodes.yaml", ((Mode.IPVS, "legacy"),), pytest.fail]
    (lab,) = make_targets(TargetSpec.model_validate({"lab": {"kind": "netns"}}), Needs(()), pytest.fail)
    assert (lab.facts.kind, len(asked)) == ("netns", 3)
