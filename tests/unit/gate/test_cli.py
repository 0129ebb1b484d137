"""Every exit code comes from the real program, argument parsing and error mapping included."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from proxybench.cli.main import cli
from proxybench.model import ClockKind, Metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeRun = Callable[..., Path]
    Run = Callable[..., "Done"]

SLOWER = {(Metric.FORWARDING_CONNECT, 1000): 1.02}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def proxybench(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the whole program, down to its exit code, without paying for a new interpreter each time."""

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments], prog_name="proxybench")
        out, err = capfd.readouterr()
        return Done(int(str(ended.value.code)), out, err)

    return run


def test_a_process_of_its_own_ends_with_1(make_run: MakeRun) -> None:
    code = "from proxybench.cli.main import entry; entry()"
    paths = [str(make_run(2, slower=SLOWER)), "--baseline", str(make_run(1))]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "gate", *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "9 judged at 1 % of the base: 1 regressed, 8 same" in done.stdout


def test_equal_runs_pass(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1), make_run(2)
    done = proxybench("gate", new, "--baseline", base)
    assert (done.returncode, done.stderr) == (0, "")
    assert "9 judged at 1 % of the base: 9 same" in done.stdout


def test_two_per_cent_on_one_metric_are_found_and_named_everywhere(
    proxybench: Run, make_run: MakeRun, tmp_path: Path
) -> None:
    base, new = make_run(1), make_run(2, slower=SLOWER)
    saved = tmp_path / "base.json"
    done = proxybench("baseline", "save", base, "--out", saved)
    assert (done.returncode, done.stdout) == (0, f"{saved}: 9 numbers of 1 run\n")
    files = {name: tmp_path / name for name in ("markdown", "junit", "benchmark-action", "bencher")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = proxybench("gate", new, "--baseline", saved, "--json", "--annotations", *options)
    assert done.returncode == 1
    outcome = json.loads(done.stdout)[0]
    assert outcome["counts"] == {
        "regressed": 1,
        "not-comparable": 0,
        "inconclusive": 0,
        "improved": 0,
        "same": 8,
    }
    worst = outcome["comparisons"][0]
    assert (worst["metric"], worst["services"], worst["verdict"]) == ("forwarding.connect", 1000, "regressed")
    assert worst["relative"] == pytest.approx(0.02, abs=0.002)
    title = "::error title=proxybench regression::forwarding.connect iptables/reference 1000x2"
    assert done.stderr.startswith(title)
    assert "regressed: more than before" in files["markdown"].read_text()
    (suite,) = JUnitXml.fromfile(str(files["junit"]))
    assert (suite.tests, suite.failures, suite.skipped) == (9, 1, 0)
    assert len(json.loads(files["benchmark-action"].read_text())) == 12
    assert len(json.loads(files["bencher"].read_text())) == 3


def test_another_kernel_is_not_compared(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1), make_run(2, kernel="6.18.0")
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 4
    assert "not comparable: kernel: 6.1.0 -> 6.18.0" in done.stdout
    assert proxybench("gate", new, "--baseline", base, "--across", "kernel").returncode == 0


def test_too_noisy_to_tell_is_inconclusive(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1, noise=0.05), make_run(2, noise=0.05)
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 4
    assert "too noisy to show 1 %" in " ".join(done.stdout.split())


def test_a_run_that_goes_on_is_no_side_of_a_gate(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1), make_run(2)
    manifest = new / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"state": "complete"', '"state": "running"'))
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 2
    assert done.stderr == f"error: {new}: this run did not come to its end: proxybench run --resume {new}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate"], "error: Missing argument 'RUN'."),
        (["gate", "nowhere", "--baseline", "nowhere"], "error: nowhere: no such run folder"),
        (
            ["gate", "x", "--baseline", "x", "--threshold", "5"],
            "error: Invalid value for '--threshold': '5': write a share such as 5% or 0.05",
        ),
        (["trend", "nowhere"], "error: nowhere: no such folder"),
        (["baseline", "save", "nowhere", "--out", "x"], "error: nowhere: no such run folder"),
    ],
)
def test_wrong_usage(proxybench: Run, arguments: list[str], message: str) -> None:
    done = proxybench(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == message


def test_compare_takes_many_runs_and_ends_with_the_worst(proxybench: Run, make_run: MakeRun) -> None:
    runs = [make_run(1), make_run(2), make_run(3, slower=SLOWER)]
    done = proxybench("compare", *runs)
    assert done.returncode == 1
    assert done.stdout.count("judged at") == 2
    assert proxybench("compare", *runs, "--only", "cpu.control_loop").returncode == 0


def test_the_wall_clock_judges_idle_time_too_at_five_per_cent(proxybench: Run, make_run: MakeRun) -> None:
    slower = {(Metric.SYNC_END_TO_END, 100): 1.08}
    base = make_run(1, clock=ClockKind.WALL)
    new = make_run(2, clock=ClockKind.WALL, slower=slower)
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 1
    assert "12 judged at 5 % of the base: 1 regressed, 11 same" in done.stdout
    by_instructions = make_run(3, slower=slower)
    assert proxybench("gate", by_instructions, "--baseline", make_run(4)).returncode == 0


def test_trend_marks_the_run_that_moved(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(i, slower=SLOWER if i > 6 else None) for i in range(1, 13)]
    out, plots = tmp_path / "otava.csv", tmp_path / "plots"
    done = proxybench("trend", tmp_path / "results", "--csv", out, "--plots", plots, "--format", "svg")
    assert (done.returncode, done.stderr) == (0, "")
    moved = [line for line in done.stdout.splitlines() if "(p 0.0" in line]
    assert len(moved) == 1
    assert f"{runs[6].name}: +" in moved[0]
    assert "1000x2" in moved[0]
    header, *rows = out.read_text().splitlines()
    assert header.startswith("time,run,cpu.control_loop_iptables_reference_10x2_steady_tcp-clusterip_last_")
    assert len(rows) == 12
    assert len(list(plots.glob("*.svg"))) == 12
