from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli
from proxybench.errors import LabError
from tests.factories import stand_in
from tests.unit.ab.fake_run import FakeMeasure

if TYPE_CHECKING:
    from proxybench.model import Subject

GONE = "userspace was removed in 1.26; use 1.25 or older"
PAIR = ("v1.33.13", "v1.37.2")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMeasure:
    """Stand for proxybench.cli.measure, which imports everything that measures."""
    monkeypatch.chdir(tmp_path)
    measure = FakeMeasure()
    stand_in(monkeypatch, "proxybench.cli.measure", measure=measure)
    return measure


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, ["ab", *args])


def named(subject: Subject) -> str:
    return dict(subject.settings)["name"]


def two_per_cent(subject: Subject) -> float:
    return 1.02 if named(subject) == "new" else 1.0


def test_equal_ones_end_with_0(fake: FakeMeasure) -> None:
    result = call("v1.37.2", "v1.37.2")
    assert result.exit_code == 0, result.output
    assert "kube-proxy, old: v1.37.2, new: v1.37.2, by the instruction clock" in result.stdout
    # In two modes: four scenarios' CPU, and the connections to the first and to the last.
    assert "12 judged at 1 % of the base: 12 same\nresults: results/ab/" in result.stdout
    (experiment,) = fake.experiments
    assert experiment.repetitions.default == 6
    assert (experiment.scale.services, len(experiment.subjects)) == ((400,), 2)


def test_a_slower_one_ends_with_1_and_is_written_for_a_pull_request(fake: FakeMeasure) -> None:
    fake.slower = two_per_cent
    result = call(*PAIR, "--mode", "iptables", "--markdown", "comment.md")
    assert result.exit_code == 1, result.output
    text = Path("comment.md").read_text()
    assert text.startswith(
        "### proxybench ab: 6 judged at 1 % of the base: 1 regressed, 5 same\n\n`v1.33.13` → `v1.37.2`,"
    )
    assert "| iptables (iptables=legacy) | 400 | add-one | cpu.control_loop |" in text


def test_json_is_all_that_standard_output_holds(fake: FakeMeasure) -> None:
    fake.slower = two_per_cent
    result = call(*PAIR, "--json", "--services", "100", "--services", "1000", "--iptables", "nft")
    found = json.loads(result.stdout)
    assert (found["base"], found["new"], found["exit_code"], result.exit_code) == (*PAIR, 1, 1)
    worse = [row for row in found["comparisons"] if row["verdict"] == "regressed"]
    assert {(row["scenario"], row["services"]) for row in worse} == {("add-one", 100), ("add-one", 1000)}
    assert {row["settings"] for row in found["comparisons"]} == {"", "iptables=nft"}


def test_a_threshold_above_the_change_passes_it(fake: FakeMeasure) -> None:
    fake.slower = two_per_cent
    assert call(*PAIR, "--mode", "iptables", "--threshold", "5%").exit_code == 0
    assert call(*PAIR, "--mode", "iptables", "--only", "forwarding.").exit_code == 0


def test_what_failed_ends_with_3_unless_it_may_be_missing(fake: FakeMeasure) -> None:
    fake.fails = lambda subject: named(subject) == "new" and subject.mode == "nftables"
    result = call(*PAIR)
    assert result.exit_code == 3
    assert "incomplete: " in result.stdout
    assert "has not measured 6 of 24 steps; 12 judged" in result.stdout
    assert "error: kube-proxy v1.37.2 nftables (name=new): did not start\n" in result.stderr
    kept = call(*PAIR, "--keep-going")
    assert kept.exit_code == 4
    assert "not measured with new" in kept.stdout
    fake.fails = lambda subject: True
    nothing = call(*PAIR)
    assert (nothing.exit_code, "nothing to judge" in nothing.stdout) == (3, True)


def test_noise_ends_with_4(fake: FakeMeasure) -> None:
    fake.noise = 0.05
    assert call(*PAIR).exit_code == 4


def test_a_mode_that_one_lacks_is_left_out_aloud(fake: FakeMeasure) -> None:
    result = call("v1.28.9", "v1.37.2")
    assert result.exit_code == 0
    assert result.stderr.startswith(
        "left out: kube-proxy v1.28.9 has no mode nftables: nftables came in 1.29; use 1.29 or newer\n"
    )
    assert {mode for words in fake.experiments[0].subjects for mode in words.modes} == {"iptables"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("v1.37.2",), "1 given; write OLD and NEW, or --bisect for a list"),
        (("v1.35.4", *PAIR), "3 given; write OLD and NEW, or --bisect for a list"),
        (
            (*PAIR, "--metric", "cpu.control_loop/add-one"),
            "--metric is for --bisect; to judge one metric, write --only METRIC",
        ),
        (("v1.37.2", "--bisect"), "--bisect needs a list of two or more, oldest first"),
        ((*PAIR, "--bisect"), "--bisect needs --metric METRIC/SCENARIO, such as cpu.control_loop/add-one"),
        (
            (*PAIR, "--bisect", "--metric", "cpu.control_loop/idle", "--mode", "ipvs", "--mode", "iptables"),
            "--bisect searches in one mode; write one --mode",
        ),
        (
            (*PAIR, "--bisect", "--metric", "cpu.control_loop/idle", "--markdown", "x.md"),
            "--markdown is not for --bisect; write --json",
        ),
        (
            (*PAIR, "--mode", "userspace"),
            (
                f"kube-proxy v1.33.13 has no mode userspace: {GONE}\n"
                f"error: kube-proxy v1.37.2 has no mode userspace: {GONE}"
            ),
        ),
    ],
)
def test_what_does_not_go_together(fake: FakeMeasure, args: tuple[str, ...], message: str) -> None:
    result = call(*args)
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")
    assert fake.experiments == []


def test_a_misspelt_metric_is_named_before_anything_is_measured(fake: FakeMeasure) -> None:
    result = call(*PAIR, "--only", "cpu.control_lop")
    assert result.exit_code == 2
    told = "error: Invalid value for '--only': 'cpu.control_lop' is no metric; did you mean \"cpu.control_loop\"?"
    assert result.stderr.splitlines()[0] == told
    assert fake.experiments == []


def test_a_run_that_cannot_begin_ends_with_3(fake: FakeMeasure, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise LabError("no room")

    monkeypatch.setattr(sys.modules["proxybench.cli.measure"], "measure", fails)
    result = call(*PAIR)
    assert (result.exit_code, result.stderr) == (3, "error: no room\n")


LIST = ("v1.33.13", "v1.34.2", "v1.35.4", "v1.36.3", "v1.37.2")


def test_bisect_finds_the_neighbours(fake: FakeMeasure) -> None:
    fake.slower = lambda subject: 1.03 if subject.version >= "v1.35.4" else 1.0
    result = call(*LIST, "--bisect", "--metric", "cpu.control_loop/add-one")
    assert result.exit_code == 1, result.output
    *steps, end = result.stdout.splitlines()
    assert [step.partition(",")[0] for step in steps] == [
        "v1.33.13 -> v1.37.2: regressed",
        "v1.33.13 -> v1.35.4: regressed",
        "v1.33.13 -> v1.34.2: same",
        "v1.34.2 -> v1.35.4: regressed",
    ]
    assert end.startswith("between v1.34.2 and v1.35.4: regressed, ")
    assert end.endswith(" (assumes that the number changed once and stayed so)")
    assert {words.modes for experiment in fake.experiments for words in experiment.subjects} == {("iptables",)}
    assert all(experiment.measure.forwarding is None for experiment in fake.experiments)


def test_bisect_as_json(fake: FakeMeasure) -> None:
    result = call(*LIST, "--bisect", "--metric", "cpu.control_loop/cold-start", "--mode", "nftables", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["sentence"]) == (0, "no change between v1.33.13 and v1.37.2")
    assert "v1.33.13 -> v1.37.2: same, " in result.stderr


def test_bisect_does_not_go_on_after_a_failed_run(fake: FakeMeasure) -> None:
    fake.fails = lambda subject: subject.version == "v1.37.2"
    result = call(*LIST, "--bisect", "--metric", "cpu.control_loop/add-one")
    assert result.exit_code == 3
    assert "v1.33.13 -> v1.37.2: " in result.stderr
    assert "has not measured 6 of 12 steps; the search ends here\n" in result.stderr
