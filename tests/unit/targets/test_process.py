from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxybench.targets.lab import process

HOLDER = """
import sys
from pathlib import Path
from proxybench.targets.lab import process
print(process.start(["sleep", "600"], Path(sys.argv[1])).pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("text", "lines", "said"),
    [
        ("one\n two \nthree\nfour\n\n", 3, "two | three | four"),
        ("one\ntwo\n", 1, "two"),
        ("one", 3, "one"),
        ("\n \n", 3, "an empty log"),
        ("", 3, "an empty log"),
    ],
)
def test_the_tail_of_a_log_is_one_line(tmp_path: Path, text: str, lines: int, said: str) -> None:
    (tmp_path / "log").write_text(text)
    assert process.tail(tmp_path / "log", lines) == said


def test_a_log_that_is_not_there_or_not_text_is_no_error(tmp_path: Path) -> None:
    assert process.tail(tmp_path / "log") == "no log"
    (tmp_path / "log").write_bytes(b"\xff\xfe bytes")
    assert process.tail(tmp_path / "log") == "\ufffd\ufffd bytes"


def test_output_goes_to_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    process.start(["sh", "-c", "echo out; echo err >&2"], tmp_path / "log").wait(20)
    assert (tmp_path / "log").read_text() == "before\nout\nerr\n"


def test_nothing_of_its_owners_environment_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "http_proxy", "LANG", "TZ", "ENV"):
        monkeypatch.setenv(name, "x")
    process.start(["env"], tmp_path / "log").wait(20)
    assert sorted((tmp_path / "log").read_text().splitlines()) == [
        "LC_ALL=C.UTF-8",
        f"PATH={tmp_path}:/usr/bin:/bin:/usr/sbin:/sbin",
        f"PWD={Path.cwd()}",  # the shell's, between us and it
    ]


def test_a_module_of_the_current_folder_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    for name in ("json.py", "proxybench.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')\n")
    argv = process.python("proxybench.targets.lab.plan")
    assert subprocess.run(argv, cwd=tmp_path, timeout=60, check=False, env=process.environment()).returncode == 0


def test_it_has_a_session_of_its_own_and_is_collected(tmp_path: Path) -> None:
    started = process.start(["sleep", "600"], tmp_path / "log")
    assert os.getsid(started.pid) == started.pid
    process.wait_dead(started)
    assert started.returncode == -9
    process.wait_dead(started)


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdout
    pid = int(holder.stdout.readline())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x00600\x00" and time.monotonic() < deadline:
        time.sleep(0.01)  # until then it is setpriv, which has yet to ask for its death
    holder.kill()
    holder.communicate(timeout=20)
    while (state := _state(pid)) not in {"", "Z"} and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state in {"", "Z"}


def test_it_does_not_start_when_that_process_is_gone_already(tmp_path: Path) -> None:
    argv = process.guarded(["touch", str(tmp_path / "ran")])
    other = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)", *argv]
    assert subprocess.run(other, check=False, timeout=20).returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run(argv, check=False, timeout=20).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ran"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
