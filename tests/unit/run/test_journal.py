from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import UsageError
from proxybench.experiment.matrix import expand
from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment
from proxybench.model import ClockKind, Metric, Point, Sample, Scenario
from proxybench.nodes.machine import Machine
from proxybench.run.journal import RunJournal
from proxybench.run.lineup import Lineup
from proxybench.scenarios.result import Checked, StepResult
from proxybench.targets.base import TargetFacts
from proxybench.testing.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

from proxybench.experiment.matrix import Step

EXPERIMENT = Experiment.model_validate(
    {
        "version": 1,
        "name": "t",
        "modes": ["ipvs", "iptables"],
        "scale": {"services": [10]},
        "repetitions": 1,
        "measure": {"cpu": True},
    }
)
STEPS = expand(EXPERIMENT)
SPECS = {spec.subject: spec for spec in requests(EXPERIMENT)}
LINEUP = Lineup(SPECS, {}, {subject: f"the source of {subject.mode}" for subject in SPECS})
TARGET = TargetFacts("netns", ClockKind.WALL, "none", "as asked")
MACHINE = Machine("6.1.0-56", "QEMU", 1, 1 << 30, "1.8.9", "legacy", "3.11.7", {"net.ipv4.ip_forward": "1"})


def begun(out: Path) -> RunJournal:
    return RunJournal.create(out, EXPERIMENT, STEPS, (TARGET,), FakeClock(), LINEUP)


def sample(step: Step, value: int) -> Sample:
    point = Point(step.cell.subject, 10, 2, Scenario.IDLE)
    return Sample("r", point, 1, "node1", Metric.CPU_WINDOW, value, "ns", ClockKind.WALL, censored=False, at=5)


def manifest(journal: RunJournal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((journal.folder.path / "manifest.json").read_text())
    return found


def test_the_first_description_of_a_node_stands(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record_machines({"node1": MACHINE}, ["node1"])
    before = manifest(journal)
    assert before["fingerprint"]["nodes"]["node1"]["kernel"] == "6.1.0-56"
    assert before["proxy_nodes"] == ["node1"]
    assert [each["subject"]["mode"] for each in before["subjects"]] == [step.cell.mode for step in STEPS[:2]]
    assert before["methods"]["sync.build"] == 1
    journal.record_machines({"node1": replace(MACHINE, sysctls={}, memory=5)}, ["node1"])
    assert manifest(journal) == before
    assert journal.problems == ()


def test_a_node_that_has_become_another_is_one_problem(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record_machines({"node1": MACHINE}, ["node1"])
    for _ in range(2):
        journal.record_machines({"node1": replace(MACHINE, kernel="6.1.0-57", python="3.12.0")}, ["node1"])
    assert journal.problems == (
        "node1 is not what it was when the run began: kernel 6.1.0-56, now 6.1.0-57; python 3.11.7, now 3.12.0",
    )
    assert manifest(journal)["fingerprint"]["nodes"]["node1"]["kernel"] == "6.1.0-56"


def test_what_a_failed_step_brought_does_not_count_once_it_is_taken_again(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    failed, good = STEPS
    bad = Checked("VIPs answer", passed=False, detail="first: 1 without an answer")
    fine = Checked("VIPs answer", passed=True)
    journal.record_step(failed, StepResult([sample(failed, 1)], [bad], ["conformance: no"]), 2.0)
    journal.record_step(good, StepResult([sample(good, 2)], [fine]), 3.0)
    journal.finish("incomplete")
    assert sorted(journal.folder.samples()["value"]) == [1, 2]  # kept, as long as the step is not taken again
    again, done = RunJournal.resume(journal.folder.path, EXPERIMENT, (TARGET,), FakeClock())
    assert done == (good.index,)
    assert again.folder.aside == 1
    assert list(again.folder.samples()["value"]) == [2]
    again.record_step(failed, StepResult([sample(failed, 3)], [fine]), 2.5)
    found = manifest(again)
    assert [(step["state"], step["problem"]) for step in found["matrix"]] == [("done", None), ("done", None)]
    assert found["not_measured"] == []
    assert [check["passed"] for check in found["conformance"]] == [True, True]
    assert sorted(again.folder.samples()["value"]) == [2, 3]
    assert again.complete


def test_an_older_program_has_not_noted_all_and_nothing_is_wrong_with_that(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record_machines({"node1": MACHINE}, ["node1"])
    newer = replace(MACHINE, iptables={"legacy": "1.8.9"}, nft_version="1.0.6")
    journal.record_machines({"node1": newer}, ["node1"])
    assert not journal.problems
    journal.record_machines({"node2": newer}, ["node2"])
    journal.record_machines({"node2": replace(newer, nft_version="1.1.3")}, ["node2"])
    assert journal.problems == ("node2 is not what it was when the run began: nft_version 1.0.6, now 1.1.3",)


def test_subjects_name_their_source_and_the_first_file_that_shaped_them(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    step, other = STEPS
    rendered = {"001-ipvs-node1.log": "log", "001-ipvs-node1-kube-proxy.yaml": "kind: x\n"}
    for index in (1, 2):
        config = f"00{index}-ipvs-node1-kube-proxy.yaml"
        result = StepResult(logs={**rendered, config: "kind: x\n"}, config=config)
        journal.record_step(replace(step, index=step.index), result, 1.0)
    journal.record_step(other, StepResult(), 1.0)
    found = {each["subject"]["mode"]: (each["source"], each["config"]) for each in manifest(journal)["subjects"]}
    place = "logs/001-ipvs-node1-kube-proxy.yaml"
    first, second = str(step.cell.mode), str(other.cell.mode)
    assert found == {first: (f"the source of {first}", place), second: (f"the source of {second}", None)}
    assert (journal.folder.path / place).read_text() == "kind: x\n"


def test_subjects_name_the_first_cgroup_that_was_theirs(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    first, second = STEPS
    for group in ("/a", "/b"):
        journal.record_step(first, StepResult(cgroup=group), 1.0)
    journal.record_step(second, StepResult(skipped="no ipset"), 1.0)
    found = {each["subject"]["mode"]: each["cgroup"] for each in manifest(journal)["subjects"]}
    assert found == {str(first.cell.mode): "/a", str(second.cell.mode): None}


def test_subjects_say_why_no_cgroup_was_theirs(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for why in ("in k3s-server", ""):
        journal.record_step(STEPS[0], StepResult(cgroup=None if why else "/b", no_cpu=why), 1.0)
    found = {each["subject"]["mode"]: (each["cgroup"], each["no_cpu"]) for each in manifest(journal)["subjects"]}
    assert found == {str(STEPS[0].cell.mode): ("/b", "in k3s-server"), str(STEPS[1].cell.mode): (None, "")}


@pytest.mark.parametrize("ours", [True, False])
def test_the_manifest_says_what_the_nodes_lend(tmp_path: Path, *, ours: bool) -> None:
    target = replace(TARGET, exclusive=ours, starts_proxies=ours)
    journal = RunJournal.create(tmp_path, EXPERIMENT, STEPS, (target,), FakeClock(), LINEUP)
    journal.record_machines({"node1": MACHINE, "client": replace(MACHINE, real_time=True)}, ["node1"])
    found = manifest(journal)
    assert (found["lab"]["exclusive"], found["lab"]["starts_proxies"]) == (ours, ours)
    nodes = found["fingerprint"]["nodes"]
    assert {name: facts["real_time"] for name, facts in nodes.items()} == {"node1": False, "client": True}
    journal.record_machines({"client": MACHINE}, ["node1"])
    assert journal.problems == ("client is not what it was when the run began: real_time True, now False",)


def test_notes_stay_with_their_step_until_it_is_taken_again(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    failed, good = STEPS
    journal.record_step(failed, StepResult(problems=["no"], notes=["left on node1"]), 1.0)
    journal.record_step(good, StepResult(notes=["one", "two"]), 1.0)
    assert [step["notes"] for step in manifest(journal)["matrix"]] == [["left on node1"], ["one", "two"]]
    journal.finish("incomplete")
    again, _ = RunJournal.resume(journal.folder.path, EXPERIMENT, (TARGET,), FakeClock())
    again.finish("interrupted")
    assert [step["notes"] for step in manifest(again)["matrix"]] == [[], ["one", "two"]]


def test_a_step_that_is_to_be_taken_again_is_pending_until_then(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record_step(STEPS[0], StepResult(problems=["no room"]), 2.0)
    journal.finish("incomplete")
    again, _ = RunJournal.resume(journal.folder.path, EXPERIMENT, (TARGET,), FakeClock())
    again.finish("interrupted")
    assert [step["state"] for step in manifest(again)["matrix"]] == ["pending", "pending"]
    assert manifest(again)["matrix"][0]["problem"] is None


def test_a_run_is_not_resumed_on_another_kernel(tmp_path: Path) -> None:
    target = TargetFacts("vm", ClockKind.INSTRUCTIONS, "tcg", "as asked", "6.12")
    journal = RunJournal.create(tmp_path, EXPERIMENT, STEPS, (target,), FakeClock(), LINEUP)
    assert manifest(journal)["lab"]["kernel"] == "6.12"
    path = journal.folder.path
    with pytest.raises(UsageError) as raised:
        RunJournal.resume(path, EXPERIMENT, (replace(target, kernel="6.1"),), FakeClock())
    assert str(raised.value) == f"{path}: ran on Linux 6.12, not 6.1; one run never mixes them"
    with pytest.raises(UsageError) as raised:
        RunJournal.resume(path, EXPERIMENT, (TARGET,), FakeClock())
    assert str(raised.value) == f"{path}: ran in another kind of lab or by another clock; one run never mixes them"


def test_the_periods_that_a_subject_says_of_itself_stand_for_those_that_were_planned(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    first, second = STEPS
    journal.record_step(first, StepResult(periods=(2.5, 40.0)), 1.0)
    journal.record_step(second, StepResult(), 1.0)
    found = [(each["min_sync_period"], each["sync_period"]) for each in manifest(journal)["subjects"]]
    planned = [(spec.min_sync_period, spec.sync_period) for spec in SPECS.values()]
    told = {first.cell.subject: (2.5, 40.0)}
    assert found == [told.get(subject, usual) for subject, usual in zip(SPECS, planned, strict=True)]
