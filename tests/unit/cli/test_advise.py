from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
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


def test_its_help_says_what_a_subject_is() -> None:
    result = CliRunner().invoke(cli, ["advise", "-h"])
    assert result.exit_code == 0
    assert "a mode, or a label" in result.output
