from __future__ import annotations

from pathlib import Path

import pytest

from proxybench.ab.experiment import Plan, experiment_of
from proxybench.ab.origin import Form, Origin
from proxybench.errors import ExperimentError, UsageError
from proxybench.experiment.matrix import expand
from proxybench.experiment.requests import requests
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode, Scenario

OLD = Origin("v1.33.13", Form.VERSION, "v1.33.13", "v1.33.13")
NEW = Origin("./kube-proxy", Form.PATH, "/x/kube-proxy", "v1.38.0")
BOTH = Plan((Mode.IPTABLES, Mode.NFTABLES))


def test_two_subjects_differ_in_name_and_in_what_they_are() -> None:
    old, old_nft, new, new_nft = requests(experiment_of(OLD, NEW, BOTH))
    assert old.subject.label == "kube-proxy v1.33.13 iptables (iptables=legacy name=old)"
    assert old_nft.subject.label == "kube-proxy v1.33.13 nftables (name=old)"
    assert new.subject.label == "kube-proxy iptables (iptables=legacy name=new)"
    assert (new.path, new.source, new_nft.mode) == (Path("/x/kube-proxy"), None, Mode.NFTABLES)


def test_the_same_twice_is_two_subjects() -> None:
    labels = [request.subject.label for request in requests(experiment_of(OLD, OLD, Plan((Mode.NFTABLES,))))]
    assert labels == ["kube-proxy v1.33.13 nftables (name=old)", "kube-proxy v1.33.13 nftables (name=new)"]


def test_a_checkout_is_built() -> None:
    checkout = Origin("../kubernetes", Form.SOURCE, "/x/kubernetes", "v1.38.0-dirty")
    assert [request.source for request in requests(experiment_of(OLD, checkout, Plan((Mode.IPTABLES,))))] == [
        None,
        Path("/x/kubernetes"),
    ]


def test_what_the_options_say() -> None:
    plan = Plan((Mode.IPTABLES,), (100, 1000), 4, Backend.NFT, 3, (Scenario.ADD_ONE,), forwarding=False)
    experiment = experiment_of(OLD, NEW, plan)
    assert (experiment.scale.services, experiment.repetitions.default) == ((100, 1000), 4)
    assert experiment.measure.sync is not None
    assert (experiment.measure.sync.scenarios, experiment.measure.forwarding) == ((Scenario.ADD_ONE,), None)
    assert (experiment.target.lab.kind, experiment.target.lab.clock) == ("vm", "instructions")
    assert experiment.warmup
    assert dict(requests(experiment)[0].subject.settings)["iptables"] == "nft"


def test_they_take_turns_and_come_after_the_same_modes() -> None:
    steps = expand(experiment_of(OLD, NEW, Plan((Mode.IPTABLES, Mode.NFTABLES), repetitions=4)))
    order = [(dict(step.cell.subject.settings)["name"], step.cell.mode) for step in steps]
    iptables = [[name for name, mode in order[4 * i : 4 * i + 4] if mode is Mode.IPTABLES] for i in range(4)]
    assert iptables == [["old", "new"], ["new", "old"], ["new", "old"], ["old", "new"]]
    before: dict[str, set[str]] = {"old": set(), "new": set()}
    for i in range(4):
        for (_, last), (name, mode) in zip(order[4 * i :], order[4 * i + 1 : 4 * i + 4], strict=False):
            if mode is Mode.IPTABLES:
                before[name].add(last)
    assert before == {"old": {"nftables"}, "new": {"nftables"}}


def test_overrides_are_those_of_an_experiment_file() -> None:
    experiment = experiment_of(OLD, NEW, Plan((Mode.IPTABLES,), overrides=("measure.forwarding=false", "name=mine")))
    assert (experiment.measure.forwarding, experiment.name) == (None, "mine")
    with pytest.raises(ExperimentError) as error:
        experiment_of(OLD, NEW, Plan((Mode.IPTABLES,), overrides=("repetitions=no", "nonsense")))
    assert [(problem.file, problem.line) for problem in error.value.problems] == [
        ("--set nonsense", 1),
        ("--set repetitions", 1),
    ]
    with pytest.raises(
        ExperimentError, match=r"^proxybench ab:1:1: services, number 1: 20000 Services are more than the lab"
    ):
        experiment_of(OLD, NEW, Plan((Mode.IPTABLES,), services=(20_000,)))


def test_other_subjects_are_refused() -> None:
    subjects = "subjects=[{kind: reference, mode: iptables}]"
    with pytest.raises(UsageError) as error:
        experiment_of(OLD, NEW, Plan((Mode.IPTABLES,), overrides=(subjects,)))
    assert str(error.value) == (
        'proxybench ab compares two subjects that it calls "old" and "new"; leave out --set subjects'
    )
