"""The gate on real runs of experiments/gate.yaml by a program that was made slower; `make gate` runs it as it is.

The base is the committed baseline. On another kernel or Python that one is not comparable; then it is made here, of
runs of the program as it is: as many as tell how much a number moves from one to the next.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.gate.noise import RUNS_THAT_DECIDE
from proxybench.targets.lab import qemu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOME = Path(__file__).parents[2]
EXPERIMENT = HOME / "experiments/gate.yaml"
BASELINE = HOME / "results/baselines/gate.json"
IPTABLES = ("--set", "modes=[iptables]")
# A rule that matches nothing and leads nowhere, at the top of every service chain.
LINES = "    lines = [_sticky(start, name, affinity) for name in targets] if affinity else []\n    left"
USELESS = LINES.replace("    left", '    lines.append(start + b" -m mark --mark 0x1\\n")\n    left')
# The comment of a Service's rules is put together twice: 2 % of what iptables builds at a cold start.
NOTE = """    note = b' -m comment --comment "%b"' % str(key).encode() if comments else b""\n"""

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which(qemu.BINARY), reason=f"{qemu.BINARY} is not installed (make setup brings it)"),
]


@dataclass(frozen=True)
class Program:
    """An interpreter that runs some proxybench, on this machine and in guests."""

    python: Path

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        start = "from proxybench.cli.main import entry; entry()"
        command = [str(self.python), "-c", start, *[str(word) for word in arguments]]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=1100, check=False, cwd=self.python.parent, env=environment
        )


def altered(folder: Path, old: str, new: str) -> Program:
    """Copy the program, change one place in its iptables rules, and give it an interpreter of its own."""
    for package in ("proxybench", "refproxy"):
        shutil.copytree(HOME / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    rules = folder / "refproxy/iptables_rules.py"
    text = rules.read_text()
    assert text.count(old) == 1
    rules.write_text(text.replace(old, new))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True, timeout=60)
    paths = sysconfig.get_paths(vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    # The copy comes before the other environment's packages, whose own .pth files are not read.
    (Path(paths["purelib"]) / "altered.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n")
    compiled = (folder / "proxybench", folder / "refproxy")
    subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], check=True, timeout=120)
    return Program(folder / "venv/bin/python")


def run(program: Program, out: Path, *options: str) -> Path:
    done = program("run", EXPERIMENT, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return (out / "gate/latest").resolve()


@pytest.fixture(scope="module")
def own_baseline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return what makes a baseline of the program as it is, once, if anybody asks."""

    @cache
    def make() -> Path:
        folder = tmp_path_factory.mktemp("unaltered")
        same = altered(folder / "program", NOTE, NOTE)
        runs = [run(same, folder / "out", *IPTABLES) for _ in range(RUNS_THAT_DECIDE)]
        done = same("baseline", "save", *runs, "--out", folder / "gate.json")
        assert done.returncode == 0, done.stderr
        return folder / "gate.json"

    return make


def judged(
    program: Program, new: Path, own_baseline: Callable[[], Path]
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Gate a run against the committed baseline, or against our own where the two have different fingerprints."""
    baselines: tuple[Callable[[], Path], ...] = (lambda: BASELINE, own_baseline)
    for baseline in baselines:
        done = program("gate", new, "--baseline", baseline(), "--json", "--annotations")
        outcome = json.loads(done.stdout)[0]
        if not outcome["differing"]:
            break
    assert outcome["differing"] == []
    return done, outcome["comparisons"]


def verdicts(found: Sequence[dict[str, Any]], verdict: str) -> set[tuple[object, ...]]:
    return {
        (item["metric"], item["mode"], item["scenario"])
        for item in found
        if item["judged"] and item["verdict"] == verdict
    }


@pytest.mark.timeout(2400)
def test_one_useless_rule_in_every_service_chain_is_a_regression_that_is_named(
    tmp_path: Path, own_baseline: Callable[[], Path]
) -> None:
    if json.loads(BASELINE.read_text())["runs"] < RUNS_THAT_DECIDE:
        pytest.skip("the committed baseline is of too few runs to decide this; docs/ci.md says how to save one of ten")
    slow = altered(tmp_path / "slow", LINES, USELESS)
    done, found = judged(slow, run(slow, tmp_path / "out"), own_baseline)
    assert done.returncode == 1, done.stdout + done.stderr
    assert ("cpu.control_loop", "iptables", "cold-start") in verdicts(found, "regressed")
    assert {mode for _, mode, _ in verdicts(found, "regressed")} == {"iptables"}
    assert "::error title=proxybench regression::" in done.stderr
    assert "cpu.control_loop reference 0.1.0 iptables (iptables=legacy) 400x2 cold-start" in done.stderr


@pytest.mark.timeout(2400)
def test_two_per_cent_more_work_in_the_build_are_a_regression_that_is_named(
    tmp_path: Path, own_baseline: Callable[[], Path]
) -> None:
    slow = altered(tmp_path / "slow", NOTE, NOTE * 2)
    done, found = judged(slow, run(slow, tmp_path / "out", *IPTABLES), own_baseline)
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdicts(found, "regressed") == {("sync.build", "iptables", "cold-start")}
    (build,) = (
        item
        for item in found
        if (item["metric"], item["mode"], item["scenario"]) == ("sync.build", "iptables", "cold-start")
    )
    assert 0.01 < build["relative"] < 0.04
    assert "::error title=proxybench regression::" in done.stderr
    assert "sync.build reference 0.1.0 iptables (iptables=legacy) 400x2 cold-start" in done.stderr
