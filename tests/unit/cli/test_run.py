from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli
from proxybench.errors import LabError
from proxybench.experiment.matrix import expand
from proxybench.model import Mode
from proxybench.report.page import Written
from proxybench.run.outcome import RunOutcome
from proxybench.targets.cluster.dry_run import DryRun
from tests.factories import stand_in

if TYPE_CHECKING:
    from proxybench.experiment.spec import Experiment
    from proxybench.run.progress import Progress
    from proxybench.targets.cluster.switching import Switching
    from proxybench.targets.cluster.target import ClusterTarget

NOTES = ("The machine was unsteady.",)
MISSING = ("IPVS: the kernel has none",)
TEXT = """\
version: 1
name: tiny
modes: [iptables, ipvs]
scale: {services: [10, 10000]}
repetitions: {default: 2, 10000: 1}
measure: {sync: true}
"""


def record(mode: str, metric: str, scenario: str, position: str, median: float) -> dict[str, Any]:
    return {
        "kind": "kube-proxy",
        "version": "v1.37.2",
        "mode": mode,
        "settings": "",
        "services": 10,
        "endpoints_per_service": 2,
        "metric": metric,
        "unit": "ns",
        "scenario": scenario,
        "position": position,
        "clock": "wall",
        "repetitions": 3,
        "median": median,
    }


class FakeRunner:
    """Stands for proxybench.cli.measure: notes how it was called, and ends as it is told."""

    def __init__(self) -> None:
        self.end: RunOutcome | BaseException = RunOutcome(Path("results/tiny/1"), (), ())
        self.calls: list[tuple[str, int, Path, Path | None]] = []
        self.switch: Switching | None = None

    def __call__(
        self,
        experiment: Experiment,
        out: Path,
        *,
        resume: Path | None,
        progress: Progress,
        folder: Path | None = None,
        switch: Switching | None = None,
    ) -> RunOutcome:
        self.switch = switch
        steps = expand(experiment)
        self.calls.append((experiment.name, len(steps), out, resume))
        progress.stage("build the lab")
        progress.plan(steps[:1], 1)
        progress.step_started(steps[0])
        if isinstance(self.end, BaseException):
            raise self.end
        progress.step_finished(steps[0], 3.0, None)
        return self.end


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TEXT)
    fake = FakeRunner()
    stand_in(monkeypatch, "proxybench.cli.measure", measure=fake)
    stand_in(
        monkeypatch, "proxybench.report.page", write=lambda folder: Written(folder / "report.html", NOTES, MISSING)
    )
    return fake


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, ["run", *args])


def test_dry_run_prints_the_steps_in_their_order(runner: FakeRunner) -> None:
    result = call("tiny.yaml", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [" ".join(line.split()[:8]) for line in lines[1:-1]] == [
        "1 1 reference 0.1.0 iptables (iptables=legacy) 10 2",
        "2 1 reference 0.1.0 ipvs (iptables=legacy) 10 2",
        "3 1 reference 0.1.0 iptables (iptables=legacy) 10000 2",
        "4 1 reference 0.1.0 ipvs (iptables=legacy) 10000 2",
        "5 2 reference 0.1.0 ipvs (iptables=legacy) 10 2",
        "6 2 reference 0.1.0 iptables (iptables=legacy) 10 2",
    ]
    assert lines[0].split() == ["step", "repetition", "subject", "Services", "endpoints", "about"]
    assert lines[-1] == (
        "6 steps (2 sizes x 2 subjects, with repetitions), about 2 min 07 s once measuring begins,"
        " by a rough first guess"
    )
    assert runner.calls == []


def test_dry_run_counts_what_the_file_waits_for_and_says_where_its_limit_is_less(runner: FakeRunner) -> None:
    soak = ("measure={soak: {duration: 8h}}", "limits={cell: 9h, run: 30h}", "scale.services=[10]", "repetitions=2")
    result = call("tiny.yaml", "--dry-run", *(word for one in soak for word in ("--set", one)))
    assert result.stdout.splitlines()[-2:] == [
        (
            "4 steps (1 size x 2 subjects, with repetitions), about 32 h 00 min once measuring begins,"
            " by a rough first guess"
        ),
        "note: limits.run ends it after 30 h 00 min",
    ]


def test_dry_run_of_a_long_run_shows_its_beginning_and_takes_a_moment(runner: FakeRunner) -> None:
    sizes = "scale={services: [1,2,3,4,5,6,7,8,9,10]}"
    longest = ("--set", "repetitions=1000", "--set", sizes)
    started = time.process_time()
    result = call("tiny.yaml", "--dry-run", *longest)
    assert time.process_time() - started < 6  # of CPU: the machine may be busy
    lines = result.stdout.splitlines()
    assert (len(lines), lines[500].split()[0]) == (504, "500")
    assert lines[501] == "… and 19,500 more, to repetition 1000; --json has all of them"
    assert lines[502].startswith("20000 steps (10 sizes x 2 subjects, with repetitions), about 72 h ")
    assert len(json.loads(call("tiny.yaml", "--dry-run", "--json", *longest).stdout)["steps"]) == 20_000


def test_dry_run_prints_json_for_programs(runner: FakeRunner) -> None:
    result = call("tiny.yaml", "--dry-run", "--json", "--set", "repetitions=1", "--set", "scale.services=[10]")
    assert result.exit_code == 0
    plan = json.loads(result.stdout)
    assert plan["experiment"]["scale"]["services"] == [10]
    assert plan["seconds"] == 26
    cell = {
        "kind": "reference",
        "version": "0.1.0",
        "settings": "iptables=legacy",
        "services": 10,
        "endpoints_per_service": 2,
        "family": "ipv4",
        "profile": "",
    }
    assert plan["steps"] == [
        {"index": 1, "repetition": 1, "mode": "iptables", **cell},
        {"index": 2, "repetition": 1, "mode": "ipvs", **cell},
    ]
    assert runner.calls == []


def test_a_complete_run_exits_0_and_ends_with_a_table_and_paths(runner: FakeRunner) -> None:
    folder = Path("results/tiny/1")
    records = (
        record("iptables", "sync.end_to_end", "add-one", "none", 1.25e9),
        record("ipvs", "sync.end_to_end", "add-one", "none", 9e8),
        record("iptables", "forwarding.connect", "steady", "last", 379_100),
        record("iptables", "forwarding.connect", "steady", "first", 116_200),
    )
    runner.end = RunOutcome(folder, (), records)
    result = call("tiny.yaml")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["Services", "endpoints", "median", "(wall)", "iptables", "IPVS"],
        ["10", "2", "sync,", "add-one", "1.25", "s", "900", "ms"],
        ["10", "2", "new", "connection,", "last", "position", "379", "µs", "-"],
        ["not", "measured:", *MISSING[0].split()],
        ["note:", *NOTES[0].split()],
        ["note:", *["4", "of", "4", "numbers", "rest", "on", "fewer", "than", "5", "repetitions"]],
        ["results:", "results/tiny/1"],
        ["report:", "results/tiny/1/report.html"],
    ]
    assert result.stderr.splitlines()[0] == "build the lab (0 s elapsed)"
    assert runner.calls == [("tiny", 6, Path("results"), None)]


def test_options_arrive(runner: FakeRunner) -> None:
    Path("old").mkdir()
    result = call("tiny.yaml", "--out", "elsewhere", "--resume", "old", "--set", "name=other")
    assert result.exit_code == 0
    assert runner.calls == [("other", 6, Path("elsewhere"), Path("old"))]


def test_an_incomplete_run_exits_3_and_says_what_is_missing(runner: FakeRunner) -> None:
    runner.end = RunOutcome(Path("r"), ("ipvs, 10 Services: no answer", "ipvs, 100 Services: none"), ())
    result = call("tiny.yaml")
    assert (result.exit_code, result.stdout) == (3, "results: r\n")
    assert result.stderr.splitlines()[-2:] == [
        "error: ipvs, 10 Services: no answer",
        "error: ipvs, 100 Services: none",
    ]


def test_a_run_prints_json_for_programs(runner: FakeRunner) -> None:
    sync = record("ipvs", "sync.end_to_end", "add-one", "none", 9e8)
    runner.end = RunOutcome(Path("r"), ("one",), (sync,))
    result = call("tiny.yaml", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "folder": "r",
        "report": "r/report.html",
        "complete": False,
        "problems": ["one"],
        "not_measured": list(MISSING),
        "notes": [*NOTES, "1 of 1 numbers rest on fewer than 5 repetitions"],
        "summary": [sync],
    }


def test_a_run_that_fails_exits_3(runner: FakeRunner) -> None:
    runner.end = LabError("the VM did not boot in 120 s")
    result = call("tiny.yaml")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines()[-1] == "error: the VM did not boot in 120 s"


def test_an_interrupted_run_exits_130(runner: FakeRunner) -> None:
    runner.end = KeyboardInterrupt()
    result = call("tiny.yaml")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[-1] == "error: interrupted"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("tiny.yaml", "--resume", "no"), "error: Invalid value for '--resume': Directory 'no' does not exist."),
        (("tiny.yaml", "--out", "tiny.yaml"), "error: Invalid value for '--out': Directory 'tiny.yaml' is a file."),
        (("no.yaml",), "no.yaml:1:1: cannot be read: No such file or directory"),
    ],
)
def test_wrong_arguments_exit_2(args: tuple[str, ...], line: str, runner: FakeRunner) -> None:
    result = call(*args)
    assert (result.exit_code, result.stdout, result.stderr.splitlines()[0]) == (2, "", line)
    assert runner.calls == []


TOKEN = (
    "would touch a token of the ServiceAccount proxybench, for the client's agent: "
    "POST /api/v1/namespaces/proxybench/serviceaccounts/proxybench/token"
)
OWN = """\
version: 1
name: own
target: {cluster: {inventory: nodes.yaml}}
subjects: [{kind: cluster, modes: [iptables]}]
scale: {services: [5]}
repetitions: 1
measure: {sync: {scenarios: [add-one]}}
"""
NODES = """\
version: 1
nodes:
  - {name: n1, roles: measured}
  - {name: n2, roles: [client, backend], workdir: /var/tmp/pb}
"""


def test_only_a_cluster_of_ones_own_is_switched(runner: FakeRunner) -> None:
    result = call("tiny.yaml", "--allow-switch")
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        "error: --allow-switch is about the kube-proxy of target.cluster, and this experiment has none\n",
    )
    assert runner.calls == []


@pytest.mark.parametrize(
    ("words", "interrupts"),
    [((), None), (("--allow-switch",), False), (("--allow-switch", "--i-understand-this-interrupts-traffic"), True)],
)
def test_a_cluster_is_switched_only_where_that_is_allowed(
    words: tuple[str, ...], interrupts: bool | None, runner: FakeRunner
) -> None:
    Path("own.yaml").write_text(OWN)
    assert call("own.yaml", *words).exit_code == 0
    assert [name for name, *_ in runner.calls] == ["own"]
    assert (runner.switch and runner.switch.interrupts) is interrupts


def test_a_dry_run_on_a_cluster_says_what_would_be_touched(runner: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/none")
    Path("own.yaml").write_text(OWN)
    Path("nodes.yaml").write_text(NODES)
    result = call("own.yaml", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line for line in result.stdout.splitlines() if line.startswith("would touch ")] == [
        "would touch namespace proxybench: Services and EndpointSlices of the experiment, removed at the end",
        TOKEN,
        "would touch n1: /run/proxybench (the agent's file), while the run lasts the agent",
        "would touch n2: /var/tmp/pb (the agent's file), while the run lasts the agent and our backend",
        "would touch kube-proxy: nothing; it is observed as it is",
    ]
    assert runner.calls == []
    said = json.loads(call("own.yaml", "--dry-run", "--json").stdout)
    assert set(said) == {"experiment", "seconds", "steps", "touches", "notes", "refused"}
    told = [line.removeprefix("would touch ") for line in result.stdout.splitlines() if line.startswith("would ")]
    unknown = "what a run would be refused for was not asked of the API: "
    noted = [f"{unknown}/none:1:1: cannot be read: No such file or directory"]
    assert (said["touches"], said["notes"], said["refused"]) == (told, noted, [])
    assert f"note: {noted[0]}" in result.stdout.splitlines()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("interrupts", [False, True])
def test_a_dry_run_says_what_a_run_would_be_refused_for_and_ends_as_it_would(
    runner: FakeRunner, monkeypatch: pytest.MonkeyPatch, *, as_json: bool, interrupts: bool
) -> None:
    def look(target: ClusterTarget, wanted: object) -> DryRun:
        assert (target.switch is not None and target.switch.interrupts) is interrupts
        assert wanted == ((Mode.IPTABLES, ""),)
        return DryRun(["a file"], ["it is another's"], ["the first reason", "the second"])

    monkeypatch.setattr("proxybench.targets.cluster.dry_run.dry_run", look)
    Path("own.yaml").write_text(OWN)
    Path("nodes.yaml").write_text(NODES)
    words = (*["--json"] * as_json, *["--i-understand-this-interrupts-traffic"] * interrupts)
    result = call("own.yaml", "--dry-run", "--allow-switch", *words)
    assert (result.exit_code, result.stderr) == (2, "error: the first reason\nerror: the second\n")
    if as_json:
        said = json.loads(result.stdout)
        assert (said["touches"], said["notes"], said["refused"]) == (
            ["a file"],
            ["it is another's"],
            ["the first reason", "the second"],
        )
    else:
        assert result.stdout.endswith("\nwould touch a file\nnote: it is another's\n")
    assert runner.calls == []


def test_its_help_says_who_needs_root() -> None:
    text = " ".join(call("-h").stdout.split())
    assert (
        "A lab needs what `proxybench setup` brings: one in namespaces root, too, one in a VM neither root nor KVM."
        " Your own cluster needs its inventory and kubeconfig."
    ) in text
