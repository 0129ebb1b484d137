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


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from proxybench.cli.main import entry; entry()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *[str(word) for word in arguments]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_of_its_own_ends_with_1(make_run: MakeRun) -> None:
    done = process("gate", make_run(2, slower=SLOWER), "--baseline", make_run(1))
    assert (done.returncode, done.stderr) == (1, "")
    assert "9 judged at 1 % of the base: 1 regressed, 8 same" in done.stdout


def test_a_process_of_its_own_ends_with_4(make_run: MakeRun) -> None:
    done = process("gate", make_run(2, kernel="6.18.0"), "--baseline", make_run(1))
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.endswith("not comparable: kernel: 6.1.0 -> 6.18.0\n")


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
    title = "::error title=proxybench regression::forwarding.connect reference 0.1.0 iptables 1000x2"
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


def test_another_version_is_compared_when_that_is_asked_for(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1, version="v1.33.2"), make_run(2, version="v1.37.2", slower=SLOWER)
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 4
    assert "not comparable: version: v1.33.2 -> v1.37.2 (reference iptables)" in done.stdout
    done = proxybench("gate", new, "--baseline", base, "--across", "version")
    assert done.returncode == 1
    assert "9 judged at 1 % of the base: 1 regressed, 8 same" in done.stdout


def test_what_is_measured_in_another_way_is_not_compared_and_the_rest_is(proxybench: Run, make_run: MakeRun) -> None:
    base, new = make_run(1), make_run(2, methods={"sync.build": 2})
    done = proxybench("gate", new, "--baseline", base, "--json")
    assert done.returncode == 4
    (outcome,) = json.loads(done.stdout)
    assert (outcome["undecided"], outcome["family"]) == (["sync.build"], 6)
    reasons = {item["reason"] for item in outcome["comparisons"] if item["metric"] == "sync.build"}
    assert reasons == {"measured in another way (method 1 -> 2): make a new baseline"}
    assert proxybench("gate", new, "--baseline", base, "--only", "forwarding.").returncode == 0
    done = proxybench("baseline", "save", base, new, "--out", base / "b.json")
    assert done.returncode == 4
    assert done.stderr == f"error: {new.name} is not like {base.name}: method of sync.build: 1 -> 2\n"


def test_an_incomplete_run_is_no_baseline_and_no_pass(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    whole, part = make_run(1), make_run(2, failed=2)
    saved, report = tmp_path / "b.json", tmp_path / "junit.xml"
    done = proxybench("baseline", "save", whole, part, "--out", saved)
    assert (done.returncode, saved.exists()) == (2, False)
    assert done.stderr == (
        f"error: {part}: {part.name} has not measured 2 of 12 steps: no baseline; "
        f"measure the rest: proxybench run --resume {part}\n"
    )
    done = proxybench("gate", part, "--baseline", whole, "--junit", report, "--annotations")
    assert done.returncode == 3
    lack = f"{part.name} has not measured 2 of 12 steps"
    assert f"incomplete: {lack}; 9 judged at 1 % of the base: 9 same" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == f"::warning title=proxybench incomplete::{lack}"
    assert JUnitXml.fromfile(str(report)).errors == 1
    assert proxybench("compare", part, whole).returncode == 3


def test_connections_that_begin_to_fail_are_found_by_every_verb(
    proxybench: Run, make_run: MakeRun, tmp_path: Path
) -> None:
    sound = [make_run(seed, failing=(0, 0, 0)) for seed in range(1, 7)]
    failing = [make_run(seed, failing=(4_000, 5_000, 4_500)) for seed in range(7, 13)]
    saved = tmp_path / "base.json"
    assert proxybench("baseline", "save", *sound, "--out", saved).returncode == 0
    for arguments in (("gate", failing[0], "--baseline", saved), ("compare", sound[0], failing[0])):
        done = proxybench(*arguments)
        assert done.returncode == 1
        (row,) = [line for line in done.stdout.splitlines() if "load.failure_rate" in line]
        assert [cell.strip() for cell in row.split("│")[3:5]] == ["0 %", "0.45 %"]
    (row,) = [line for line in proxybench("trend", tmp_path / "results").stdout.splitlines() if "load.failure" in line]
    assert [cell.strip() for cell in row.split("│")[4:6]] == ["0 %", "0.45 %"]
    assert f"{failing[0].name}: 0 % -> 0.45 %" in row


SETTINGS = {
    "warmup": True,
    "measure": {"cpu": {"idle": 1.0}, "forwarding": {"connections": 240, "positions": ["first", "last"]}},
    "load": None,
    "proxier": {"nodes": "measured", "sync_period": 600.0},
    "repetitions": {"default": 3},
    "scale": {"services": [10]},
}


def test_other_settings_are_not_compared_and_every_one_is_named(
    proxybench: Run, make_run: MakeRun, tmp_path: Path
) -> None:
    other = SETTINGS | {
        "warmup": False,
        "measure": {"cpu": False, "forwarding": {"connections": 300, "positions": ["first", "last"]}},
        "load": {"rate": 200, "at": "all"},
        "proxier": {"nodes": "all", "sync_period": 30.0},
    }
    base, new = make_run(1, experiment=SETTINGS), make_run(2, experiment=other)
    saved = tmp_path / "base.json"
    assert proxybench("baseline", "save", base, "--out", saved).returncode == 0
    expected = (
        "not comparable: experiment.load: off -> on; experiment.measure.cpu: on -> off; "
        "experiment.measure.forwarding.connections: 240 -> 300; experiment.proxier.nodes: measured -> all; "
        "experiment.warmup: on -> off"
    )
    for side in (base, saved):
        done = proxybench("gate", new, "--baseline", side)
        assert done.returncode == 4
        assert expected in " ".join(done.stdout.split())
    parts = ("load", "measure.", "proxier.nodes", "warmup")
    across = [word for part in parts for word in ("--across", f"experiment.{part}")]
    assert proxybench("gate", new, "--baseline", saved, *across).returncode == 0
    assert proxybench("baseline", "save", base, new, "--out", saved).returncode == 4


def test_more_repetitions_and_other_sizes_are_compared(proxybench: Run, make_run: MakeRun) -> None:
    other = SETTINGS | {"repetitions": {"default": 5}, "scale": {"services": [10, 100]}}
    done = proxybench("gate", make_run(2, experiment=other), "--baseline", make_run(1, experiment=SETTINGS))
    assert done.returncode == 0
    # A run of before settings were kept says nothing of them.
    assert proxybench("gate", make_run(3, experiment=other), "--baseline", make_run(4)).returncode == 0


def test_what_is_not_comparable_is_one_warning_and_one_error(
    proxybench: Run, make_run: MakeRun, tmp_path: Path
) -> None:
    base, new, other = make_run(1), make_run(2, kernel="6.18.0"), make_run(3, lacks=Metric.SYNC_BUILD)
    junit = tmp_path / "junit.xml"
    done = proxybench("compare", base, new, other, "--annotations", "--junit", junit, "--json")
    assert done.returncode == 4
    first, *others = done.stderr.splitlines()
    assert first == (
        f"::warning title=proxybench not comparable::{base.name} -> {new.name}: not comparable: kernel: 6.1.0 -> 6.18.0"
    )
    assert [line.partition(" reference")[0] for line in others] == [
        "::warning title=proxybench undecided::sync.build"
    ] * 3
    unlike, lacking = JUnitXml.fromfile(str(junit))
    assert (unlike.tests, unlike.errors, unlike.skipped) == (1, 1, 0)
    (case,) = unlike
    assert case.result[0].message == "not comparable: kernel: 6.1.0 -> 6.18.0"
    assert (lacking.tests, lacking.errors, lacking.failures) == (9, 3, 0)


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
    assert done.returncode == 3
    assert done.stderr == f"error: {new}: this run did not come to its end: proxybench run --resume {new}\n"
    assert proxybench("baseline", "save", new, "--out", new / "b.json").returncode == 2
    assert not (new / "b.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate"], "error: Missing argument 'RUN'."),
        (["gate", "nowhere", "--baseline", "nowhere"], "error: nowhere: no such run folder"),
        (
            ["gate", "x", "--baseline", "x", "--threshold", "5"],
            "error: Invalid value for '--threshold': '5': write a share such as 5% or 0.05",
        ),
        (
            ["gate", "x", "--baseline", "x", "--across", "kernle"],
            (
                "error: Invalid value for '--across': 'kernle' is neither a field nor a setting (such as "
                'experiment.warmup); did you mean "kernel"?'
            ),
        ),
        (
            ["gate", "x", "--baseline", "x", "--only", "sync.buid"],
            "error: Invalid value for '--only': 'sync.buid' is no metric; did you mean \"sync.build\"?",
        ),
        (
            ["compare", "x", "x", "--only", "forwarding"],
            "error: Invalid value for '--only': 'forwarding' is no metric; did you mean \"forwarding.rtt\"?",
        ),
        (["trend", "nowhere"], "error: nowhere: no such folder"),
        (["baseline", "save", "nowhere", "--out", "x"], "error: nowhere: no such run folder"),
    ],
)
def test_wrong_usage(proxybench: Run, arguments: list[str], message: str) -> None:
    done = proxybench(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == message


def test_compare_takes_many_runs_and_ends_with_the_worst(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(1), make_run(2), make_run(3, slower=SLOWER)]
    done = proxybench("compare", *runs)
    assert done.returncode == 1
    assert done.stdout.count("judged at") == 2
    files = {name: tmp_path / name for name in ("markdown", "junit", "benchmark-action", "bencher")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = proxybench("compare", *runs, "--annotations", *options)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("::error title=proxybench regression::forwarding.connect")
    assert [(suite.tests, suite.failures) for suite in JUnitXml.fromfile(str(files["junit"]))] == [(9, 0), (9, 1)]
    assert files["markdown"].read_text().count("### proxybench: 9 judged") == 2
    assert len(json.loads(files["benchmark-action"].read_text())) == 12
    assert len(json.loads(files["bencher"].read_text())) == 3
    assert proxybench("compare", *runs, "--only", "cpu.control_loop").returncode == 0


def test_the_wall_clock_judges_idle_time_too_at_five_per_cent(
    proxybench: Run, make_run: MakeRun, tmp_path: Path
) -> None:
    slower = {(Metric.SYNC_END_TO_END, 100): 1.08}
    base = tmp_path / "base.json"
    # One run of the base would do if it told how runs differ: by the wall clock 3 % are assumed, which hide 8 %.
    runs = [make_run(seed, clock=ClockKind.WALL) for seed in (1, 5, 6, 7, 8)]
    assert proxybench("baseline", "save", *runs, "--out", base).stdout == f"{base}: 12 numbers of 5 runs\n"
    new = make_run(2, clock=ClockKind.WALL, slower=slower)
    done = proxybench("gate", new, "--baseline", base)
    assert done.returncode == 1
    assert "12 judged at 5 % of the base: 1 regressed, 11 same" in done.stdout
    alone = proxybench("gate", new, "--baseline", runs[0])
    assert alone.returncode == 4
    assert "run-to-run noise assumed 3 %: one run a side" in " ".join(alone.stdout.split())
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
    assert done.stdout.endswith(
        "1 move marked; chance alone would mark about 0.12 (12 series, each tested at 1 %); "
        "the latest 12 runs that are alike show a move once 3 of them are on the new level\n"
    )
    done = proxybench("trend", tmp_path / "results", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["tested"], len(found["trends"])) == (12, 12)
    (change,) = [change for trend in found["trends"] for change in trend["changes"]]
    assert (change["index"], change["relative"]) == (6, pytest.approx(0.02, abs=0.002))
    header, *rows = out.read_text().splitlines()
    assert header.startswith("time,run,cpu.control_loop_reference_0.1.0_iptables_10x2_steady_cluster_ip_last_")
    assert len(rows) == 12
    assert len(list(plots.glob("*.svg"))) == 12


def test_trend_says_how_many_runs_it_leaves_out(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    make_run(1)
    make_run(2, failed=2)
    done = proxybench("trend", tmp_path / "results", "--json")
    assert (done.returncode, done.stderr) == (0, "left out, since not complete: 1 run\n")
    assert {len(trend["runs"]) for trend in json.loads(done.stdout)["trends"]} == {1}


def test_a_new_version_breaks_a_line_and_does_not_end_it(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    for i in range(1, 13):
        make_run(i, version="v1.33.2" if i < 7 else "v1.37.2", methods={"sync.build": 2} if i > 10 else None)
    found = json.loads(proxybench("trend", tmp_path / "results", "--json").stdout)
    assert (found["tested"], len(found["trends"])) == (0, 12)
    breaks = {(trend["metric"], trend["version"], *trend["breaks"]) for trend in found["trends"]}
    assert breaks == {
        ("cpu.control_loop", "", 6),
        ("forwarding.connect", "", 6),
        ("sync.build", "", 6, 10),
        ("sync.end_to_end", "", 6),
    }


def test_trend_keeps_experiments_apart_and_writes_no_gaps(proxybench: Run, make_run: MakeRun, tmp_path: Path) -> None:
    for i in range(3):
        make_run(i)
        make_run(i, name="other", lacks=Metric.SYNC_BUILD if i == 1 else None)
    make_run(9, experiment=SETTINGS)
    make_run(9, experiment=SETTINGS | {"warmup": False})
    csv, plots = tmp_path / "trend.csv", tmp_path / "plots"
    done = proxybench("trend", tmp_path / "results", "--csv", csv, "--plots", plots, "--format", "svg")
    assert done.returncode == 0
    other = tmp_path / "other.csv"
    assert done.stderr == f"{other}: 3 numbers are not in it, since some runs of other lack them\n"
    assert not csv.exists()
    for path, columns, count in ((tmp_path / "gate.csv", 14, 5), (other, 11, 3)):
        header, *rows = [line.split(",") for line in path.read_text().splitlines()]
        assert (len(header), len(rows)) == (columns, count)
        assert all(float(cell) > 0 for row in rows for cell in row[2:])
    assert len(list(plots.glob("gate_*.svg"))) == len(list(plots.glob("other_*.svg"))) == 12
    assert done.stdout.count("not like the runs before") == 12
    assert "nothing searched for moves: it takes 10 runs that are alike" in done.stdout
