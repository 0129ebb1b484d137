"""The gate on a real run of experiments/gate.yaml by a program that was made slower; `make gate` runs it as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.lab import qemu

if TYPE_CHECKING:
    from collections.abc import Sequence

HOME = Path(__file__).parents[2]
EXPERIMENT = HOME / "experiments/gate.yaml"
BASELINE = HOME / "results/baselines/gate.json"
# A rule that matches nothing and leads nowhere, at the top of every service chain.
LINES = "    lines = [_sticky(start, name, affinity) for name in targets] if affinity else []\n    left"
USELESS = LINES.replace("    left", '    lines.append(start + b" -m mark --mark 0x1\\n")\n    left')

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
            command, capture_output=True, text=True, timeout=600, check=False, cwd=self.python.parent, env=environment
        )


def altered(folder: Path, old: str, new: str) -> Program:
    """Copy the program, change one place in its iptables rules, and give it an interpreter of its own."""
    shutil.copytree(HOME / "proxybench", folder / "proxybench", ignore=shutil.ignore_patterns("__pycache__"))
    rules = folder / "proxybench/proxiers/reference/iptables_rules.py"
    text = rules.read_text()
    assert text.count(old) == 1
    rules.write_text(text.replace(old, new))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True, timeout=60)
    paths = sysconfig.get_paths(vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    # The copy comes before the other environment's packages, whose own .pth files are not read.
    (Path(paths["purelib"]) / "altered.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n")
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder / "proxybench"], check=True, timeout=120)
    return Program(folder / "venv/bin/python")


def run(program: Program, out: Path, *options: str) -> Path:
    done = program("run", EXPERIMENT, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return (out / "gate/latest").resolve()


def verdicts(found: Sequence[dict[str, object]], verdict: str) -> set[tuple[object, ...]]:
    return {
        (item["metric"], item["mode"], item["scenario"])
        for item in found
        if item["judged"] and item["verdict"] == verdict
    }


@pytest.mark.timeout(700)
def test_one_useless_rule_in_every_service_chain_is_a_regression_that_is_named(tmp_path: Path) -> None:
    slow = altered(tmp_path / "slow", LINES, USELESS)
    new = run(slow, tmp_path / "out")
    done = slow("gate", new, "--baseline", BASELINE, "--json", "--annotations")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)[0]["comparisons"]
    assert ("cpu.control_loop", "iptables", "cold-start") in verdicts(found, "regressed")
    assert {mode for _, mode, _ in verdicts(found, "regressed")} == {"iptables"}
    assert "::error title=proxybench regression::" in done.stderr
    assert "cpu.control_loop iptables/reference 400x2 cold-start" in done.stderr
