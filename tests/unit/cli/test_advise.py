from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
from tests.unit.kube.shapes import MIXED
from tests.unit.report.synthetic import synthetic_frame, synthetic_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = synthetic_frame(connects=3, sizes=(100, 1000), clock="wall", modes=("iptables", "ipvs"))
    return synthetic_run(tmp_path_factory.mktemp("results"), frame, clock="wall").path


def call(run: Path, *args: str) -> object:
    with pytest.raises(SystemExit) as ended:
        cli.main(["advise", str(run), *args], prog_name="proxybench")
    return ended.value.code


def test_a_terminal_is_told_sizes_clock_ratios_and_caveats(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(run, "--from", "iptables", "--to", "ipvs", "--services", "300") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "From kube-proxy v1.37.2 iptables to kube-proxy v1.37.2 ipvs at 300 Services with 2 endpoints each"
    )
    assert lines[1].endswith("(incomplete), kernel 6.1.192-amd64; wall clock: real time on this machine")
    assert lines[2] == (
        "300 Services were not measured: read off on a straight line (log-log) between 100 and 1,000; the intervals "
        "reach over both"
    )
    assert lines[3].split() == ["iptables", "IPVS", "times", "(95", "%", "interval)"]
    assert any(line.startswith("note: The lab's API server speaks JSON") for line in lines)


def test_a_program_gets_the_same_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(run, "--from", "iptables", "--to", "ipvs", "--services", "1000", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["services"], found["clock"], found["read_off_between"]) == (1000, "wall", None)
    cold = found["changes"][0]
    assert (cold["title"], cold["from"]["unit"], cold["from"]["repetitions"]) == ("Cold start", "ns", 5)
    assert cold["ratio_low"] < cold["ratio"] < cold["ratio_high"]


def test_a_size_beyond_the_measured_ones_is_a_mistake(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(run, "--from", "iptables", "--to", "ipvs", "--services", "5000") == 2
    assert capsys.readouterr().err == (
        "error: 5,000 Services with 2 endpoints each: both subjects were measured at 100 and 1,000, and nothing is "
        "said beyond these; the nearest is 1,000\n"
    )


def test_the_profile_that_a_run_replayed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = synthetic_frame(connects=3, sizes=(100,), clock="wall", modes=("iptables", "ipvs"))
    run = synthetic_run(tmp_path, frame, clock="wall", experiment={"scale": {"profile": MIXED.model_dump(mode="json")}})
    manifest = run.manifest
    steps = tuple(replace(step, cell=replace(step.cell, profile=MIXED.digest)) for step in manifest.matrix)
    run.write_manifest(replace(manifest, matrix=steps))
    whose = f"the 76 Services of profile {MIXED.digest}"
    args = ("--from", "iptables", "--to", "ipvs", "--services", "100")
    assert call(run.path, *args) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        f"Replayed were {whose}, and some of proxybench's own; endpoints of each are told on the average"
    )
    assert call(run.path, *args, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["profile"] == whose


def test_its_help_says_what_a_subject_is() -> None:
    result = CliRunner().invoke(cli, ["advise", "-h"])
    assert result.exit_code == 0
    assert "a mode, or a label" in result.output


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose IPVS has no forwarding latency, timed out at each change, and says why."""
    frame = synthetic_frame(connects=3, sizes=(1000,), clock="wall", modes=("iptables", "ipvs"))
    ipvs = frame["mode"] == "ipvs"
    frame = frame[~(ipvs & frame["metric"].isin(["forwarding.connect", "forwarding.first_byte"]))].copy()
    lost = (frame["mode"] == "ipvs") & (frame["metric"] == "sync.end_to_end")
    frame.loc[lost, "censored"] = True
    why = {"mode": "ipvs", "services": 1000, "reason": "the kernel has no IPVS"}
    return synthetic_run(tmp_path_factory.mktemp("results"), frame, clock="wall", not_measured=[why]).path


def test_what_was_not_measured_of_both_has_no_ratio_but_a_word(
    uneven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(uneven, "--from", "iptables", "--to", "ipvs", "--services", "1000") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: re.split(r" {2,}", line.strip())[1:] for line in lines}
    assert rows["New connection, Service, first byte, last rule"][1:] == ["-", "not measured of both"]
    _, other, bound = rows["Cold start, until all probed Services answer"]
    assert other.startswith("> ")
    assert re.fullmatch(r"at least \N{MULTIPLICATION SIGN}[0-9.]+", bound)
    assert lines[2].split() == ["iptables", "IPVS", "times", "(95", "%", "interval)"]  # it was measured: no line before
    assert "not measured: IPVS at 1,000 Services: the kernel has no IPVS" in lines


def test_a_program_is_told_of_bounds_and_of_what_is_missing(uneven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(uneven, "--from", "iptables", "--to", "ipvs", "--services", "1000", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    changes = {(change["title"], change["detail"]): change for change in found["changes"]}
    cold = changes["Cold start", "until all probed Services answer"]
    assert (cold["from"]["at_least"], cold["to"]["at_least"]) == (False, True)
    assert (cold["ratio"], cold["ratio_low"], cold["ratio_high"], cold["missing"]) == (None, None, None, None)
    first_byte = changes["New connection, Service", "first byte, last rule"]
    assert (first_byte["from"]["unit"], first_byte["to"], first_byte["ratio"]) == ("ns", None, None)
    assert first_byte["missing"] == "not measured of both"
    assert found["not_measured"] == ["IPVS at 1,000 Services: the kernel has no IPVS"]


def test_where_both_timed_out_there_is_no_ratio_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = synthetic_frame(connects=3, sizes=(1000,), clock="wall", modes=("iptables", "ipvs"))
    frame.loc[frame["metric"] == "sync.end_to_end", "censored"] = True
    both = synthetic_run(tmp_path, frame, clock="wall").path
    assert call(both, "--from", "iptables", "--to", "ipvs", "--services", "1000") == 0
    cold = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Cold start, until"))
    assert cold.rstrip().endswith("no ratio: 0 in a repetition, or two time-outs")


@pytest.mark.parametrize("services", ["300", "1000"])
def test_what_fell_into_a_single_window_has_no_ratio_and_why(
    services: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = synthetic_frame(connects=3, repetitions=1, sizes=(100, 1000), clock="wall", modes=("iptables", "ipvs"))
    once = synthetic_run(tmp_path, frame, clock="wall").path
    assert call(once, "--from", "iptables", "--to", "ipvs", "--services", services) == 0
    idle = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Idle, CPU per second"))
    assert idle.rstrip().endswith("no ratio: one repetition, of a window of seconds")
