"""The whole program in a guest, its time counted in instructions: a run to its report, and one that Ctrl-C ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path

import pytest

from proxybench.results.folder import open_run
from proxybench.targets.lab import qemu
from tests.lab.labs import descendants, eventually, processes_naming, root_network

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which(qemu.BINARY), reason=f"{qemu.BINARY} is not installed (make setup brings it)"),
    pytest.mark.timeout(600),
]

HOME = Path(__file__).parents[2]
# The names that issue and README promise; a run may record more.
PROMISED = {
    "sync.end_to_end",
    "sync.control_loop",
    "cpu.control_loop",
    "cpu.softirq",
    "cpu.agent",
    "forwarding.connect",
    "forwarding.direct",
    "forwarding.established",
    "forwarding.load",
}
EXPERIMENT = """\
version: 1
name: small
target: {lab: {kind: vm, clock: instructions}}
modes: [iptables, ipvs, userspace]
scale: {services: [10]}
repetitions: 1
measure:
  sync: {scenarios: [cold-start, add-one]}
  cpu: {idle: 1s}
  forwarding: {connections: 20, warmup: 5, established: 20}
load: {rate: 20, users: 2, duration: 2s}
"""

ENDLESS = """\
version: 1
name: endless
target: {lab: {kind: vm, clock: instructions, shards: 1}}
modes: [ipvs]
scale: {services: [10]}
repetitions: 20
measure: {sync: {scenarios: [cold-start]}, cpu: {idle: 5s}}
"""


def test_a_run_from_experiment_to_report(tmp_path: Path) -> None:
    file, scratch, out = tmp_path / "small.yaml", tmp_path / "scratch", tmp_path / "out"
    file.write_text(EXPERIMENT)
    scratch.mkdir()
    before = root_network()
    done = subprocess.run(
        [sys.executable, "-c", "from proxybench.cli.main import entry; entry()", "run", str(file), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
        cwd=HOME,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stderr
    folder = (out / "small/latest").resolve()
    assert f"report: {folder / 'report.html'}" in done.stdout.replace(str(out / "small/latest"), str(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["state"] == "complete"
    assert [step["state"] for step in manifest["matrix"]] == ["done"] * 3
    summary = json.loads((folder / "summary.json").read_text())
    records = summary["records"] if isinstance(summary, dict) else summary
    for mode in ("iptables", "ipvs", "userspace"):
        of_mode = [record for record in records if record["mode"] == mode]
        assert {record["metric"] for record in of_mode} >= PROMISED
        assert {record["clock"] for record in of_mode} == {"instructions"}
        assert {record["services"] for record in of_mode} == {10}
        added = {record["metric"]: record["median"] for record in of_mode if record["scenario"] == "add-one"}
        # Nothing answers before its requests are made, which begins after the acknowledgement.
        assert added["sync.end_to_end"] >= added["sync.build"]
    assert (folder / "samples.parquet").stat().st_size > 0
    assert min(path.suffix for path in (folder / "figures").iterdir()) == ".png"
    assert eventually(lambda: processes_naming(str(scratch))) == {}
    assert list(scratch.iterdir()) == []
    assert root_network() == before


@pytest.mark.parametrize(
    ("sign", "kept"),
    [("booting the guest", 0), ("repetition 1: done in", 1)],
    ids=["while the guests boot", "after the first repetition"],
)
def test_ctrl_c_ends_with_130_keeps_what_is_done_and_leaves_nothing(tmp_path: Path, sign: str, kept: int) -> None:
    file, scratch, out = tmp_path / "endless.yaml", tmp_path / "scratch", tmp_path / "out"
    file.write_text(ENDLESS)
    scratch.mkdir()
    before = root_network()
    run = subprocess.Popen(
        [sys.executable, "-c", "from proxybench.cli.main import entry; entry()", "run", str(file), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    try:
        assert run.stderr
        said = [*takewhile(lambda line: sign not in line, run.stderr)]
        time.sleep(1.0)  # into the boot, or the next repetition
        below = descendants(run.pid)
        assert any(qemu.BINARY in command for command in below.values())
        run.send_signal(signal.SIGINT)
        said += run.communicate(timeout=60)[1].splitlines()
    finally:
        run.kill()
        run.communicate(timeout=20)
    assert run.returncode == 130, said
    assert not any("Traceback" in line for line in said)
    assert eventually(lambda: [pid for pid in below if Path(f"/proc/{pid}").exists()]) == []
    assert processes_naming(str(scratch)) == {}
    assert list(scratch.iterdir()) == []
    assert root_network() == before
    matrix: list[dict[str, object]] = []
    repetitions: set[int] = set()
    for written in out.glob("endless/2*/manifest.json"):
        manifest = json.loads(written.read_text())
        assert manifest["state"] == "interrupted"
        matrix += manifest["matrix"]
        repetitions |= set(open_run(written.parent).samples(["repetition"])["repetition"])
    assert [step["repetition"] for step in matrix if step["state"] == "done"] == [*range(1, kept + 1)]
    assert repetitions == {*range(1, kept + 1)}
