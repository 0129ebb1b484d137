from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from proxybench.experiment.load import load_experiment
from proxybench.gate.settings import setting_differences, settings_of
from proxybench.model import Cell, ClockKind, LabKind, Mode, Subject
from proxybench.results.manifest import LabFacts, Manifest, Step

GATE = Path(__file__).parents[3] / "experiments/gate.yaml"


def manifest(*overrides: str) -> Manifest:
    experiment = load_experiment(GATE, overrides).model_dump(mode="json")
    lab = LabFacts(LabKind.VM, ClockKind.WALL)
    return Manifest("r", "gate", "2026-01-01T00:00:00Z", lab, (), experiment=experiment)


def test_only_what_changes_the_meaning_of_a_number_is_kept() -> None:
    found = settings_of(manifest("load={rate: 200, at: [400]}"))
    assert found is not None
    assert found["experiment.measure.forwarding.connections"] == "240"
    assert found["experiment.measure.sync.scenarios"] == "[cold-start, add-one]"
    assert found["experiment.load.rate"] == "200"
    assert found["experiment.warmup"] == "on"
    assert found["experiment.proxier.nodes"] == "measured"
    prefixes = ("experiment.measure.", "experiment.load.", "experiment.proxier.nodes")
    others = {name for name in found if not name.startswith(prefixes)}
    assert others == {"experiment.measure", "experiment.load", "experiment.warmup"}
    assert "experiment.load.at" not in found


def test_a_profile_is_a_setting_of_its_own() -> None:
    cell = Cell(Subject("reference", "", Mode.IPTABLES), 79, 5, profile="e5ff12106824")
    replayed = replace(manifest(), matrix=(Step(1, 1, cell),))
    assert setting_differences(settings_of(manifest()), settings_of(replayed)) == (
        "experiment.scale.profile: unset -> e5ff12106824",
    )


def test_a_manifest_that_keeps_no_experiment_says_nothing() -> None:
    assert settings_of(Manifest("r", "g", "", LabFacts(LabKind.VM, ClockKind.WALL), ())) is None
    assert setting_differences(None, settings_of(manifest())) == ()


def test_how_well_and_where_is_no_difference_and_how_is() -> None:
    base = settings_of(manifest())
    alike = settings_of(manifest("repetitions=3", "scale.services=[10, 400]", "modes=[ipvs]", "limits.run=1h"))
    assert setting_differences(base, alike) == ()
    other = settings_of(manifest("measure.forwarding.connections=300", "measure.cpu=false"))
    assert setting_differences(base, other) == (
        "experiment.measure.cpu: on -> off",
        "experiment.measure.forwarding.connections: 240 -> 300",
    )
    assert setting_differences(base, other, ("experiment.measure.cpu", "experiment.measure.forwarding.")) == ()
    # A setting that only one side knows is named, since its default may not be what the other did.
    assert setting_differences({}, {"experiment.measure.new": "5"}) == ("experiment.measure.new: unset -> 5",)


def test_a_setting_that_an_older_program_lacked_is_what_it_is_when_left_out() -> None:
    old = {"experiment.measure": "on", "experiment.measure.sync": "on", "experiment.measure.forwarding": "on"}
    young = {
        **old,
        "experiment.measure.soak": "off",
        "experiment.measure.sync.times": "1",
        "experiment.measure.forwarding.paths": "[cluster_ip]",
    }
    assert setting_differences(old, young) == setting_differences(young, old) == ()
    assert setting_differences(old, {**young, "experiment.measure.sync.times": "16"}) == (
        "experiment.measure.sync.times: 1 -> 16",
    )
