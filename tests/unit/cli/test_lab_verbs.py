"""lab and report, against fakes of what they call."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli
from proxybench.errors import LabError, ResultsError
from proxybench.model import ClockKind
from tests.factories import API, make_cluster, stand_in

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.nodes.cluster import Cluster

TOKEN = "very-secret"
LAB = make_cluster(api=replace(API, token=TOKEN), others=(), kind="vm", clock=ClockKind.INSTRUCTIONS, accelerator="tcg")


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


NODES = """\
lab vm, clock instructions, tcg
node    role      address      pods
client  client    198.18.1.10  -
node1   measured  198.18.1.11  10.244.0.0/17
"""


def _unused(*_: object) -> None:
    raise AssertionError


def manage(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    every = dict.fromkeys(("up", "status", "shell", "down"), _unused)
    stand_in(monkeypatch, "proxybench.targets.lab.manage", **(every | functions))


def tidy(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_lab_up_builds_what_is_asked_and_lists_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def up(*wish: str) -> Cluster:
        asked.append(wish)
        return LAB

    manage(monkeypatch, up=up)
    result = call("lab", "up", "--kind", "vm", "--kernel", "6.12")
    assert (result.exit_code, tidy(result.stdout), result.stderr) == (0, NODES, "")
    assert asked == [("vm", "auto", "6.12")]


def test_lab_up_that_fails_exits_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(kind: str, clock: str, kernel: str) -> Cluster:
        raise LabError(f"a lab is up already: {kind}, {clock}, {kernel}")

    manage(monkeypatch, up=up)
    result = call("lab", "up", "--clock", "wall")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "error: a lab is up already: auto, wall, 6.1\n")


def test_lab_status_tells_nodes_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    manage(monkeypatch, status=lambda: LAB)
    assert tidy(call("lab", "status").stdout) == NODES
    told = call("lab", "status", "--json").stdout
    assert TOKEN not in told
    assert json.loads(told) == {
        "lab": "vm",
        "clock": "instructions",
        "nodes": [
            {"name": "client", "role": "client", "address": "198.18.1.10", "pod_cidr": None},
            {"name": "node1", "role": "measured", "address": "198.18.1.11", "pod_cidr": "10.244.0.0/17"},
        ],
    }


def test_lab_status_without_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    manage(monkeypatch, status=lambda: None)
    assert call("lab", "status").stdout == "no lab is up\n"
    assert call("lab", "status", "--json").stdout == "null\n"


def test_lab_shell_exits_as_the_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    manage(monkeypatch, shell=lambda node: {"node1": 7}[node])  # noqa: S604 - not subprocess's shell
    assert call("lab", "shell", "node1").exit_code == 7


@pytest.mark.parametrize(("was_up", "line"), [(True, "the lab is removed\n"), (False, "no lab is up\n")])
def test_lab_down(was_up: bool, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manage(monkeypatch, down=lambda: was_up)
    result = call("lab", "down")
    assert (result.exit_code, result.stdout) == (0, line)


def test_report_prints_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, "proxybench.report.page", write_report=lambda run: run / "report.html")
    result = call("report", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/report.html\n")


def test_report_without_a_run_takes_the_newest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, "proxybench.report.page", write_report=lambda run: run / "report.html")
    monkeypatch.chdir(tmp_path)
    result = call("report")
    assert (result.exit_code, result.stderr) == (2, "error: results: no run in it has ended; name a run's folder\n")
    for name, run in (("b", "20260101T000000Z-aaaaaa"), ("a", "20260102T000000Z-aaaaaa")):
        (tmp_path / "results" / name / run).mkdir(parents=True)
        (tmp_path / "results" / name / "latest").symlink_to(run)
    result = call("report")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/results/a/20260102T000000Z-aaaaaa/report.html\n")


def test_report_of_what_is_no_run_exits_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def write_report(run: Path) -> Path:
        raise ResultsError(f"{run.name} holds no run")

    stand_in(monkeypatch, "proxybench.report.page", write_report=write_report)
    result = call("report", str(tmp_path))
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path.name} holds no run\n")
    result = call("report", "nowhere")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: Invalid value for 'RUN': Directory 'nowhere' does not exist.\n")
