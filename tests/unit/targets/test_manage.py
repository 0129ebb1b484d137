from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxybench.errors import LabError
from proxybench.targets.lab import daemon, manage, process
from proxybench.targets.lab.cluster_file import to_json
from tests.lab.labs import processes_naming
from tests.unit.targets.test_cluster_file import EXAMPLE

# `up` leaves its daemon running and forgets it, which is its purpose; Python warns of that at the next collection.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

STATE = f"lab-{os.geteuid()}.json"

# Stands for proxybench.targets.lab.daemon, and is called the same: `-m` finds this package first.
DAEMON = """
import json, os, signal, sys, time
from pathlib import Path
kind, clock, kernel, state = sys.argv[1:]
print(f"asked for {kind} {clock} {kernel}", flush=True)
if kind == "netns":
    sys.exit("error: no such lab here")
if kind == "vm":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
signals = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
own = {"daemon": os.getpid(), "started": started}
Path(state + ".part").write_text(json.dumps({**own, "cluster": json.loads(os.environ["CLUSTER"])}))
Path(state + ".part").rename(state)
if kind == "vm":
    time.sleep(600)
signal.sigwait(signals)
Path(state).unlink()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "fakes/proxybench/targets/lab"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "daemon.py").write_text(DAEMON)
    monkeypatch.chdir(tmp_path / "fakes")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLUSTER", json.dumps(to_json(EXAMPLE)))
    return tmp_path / "cache"


def hold(cache: Path) -> None:
    """Say that this very process holds a lab up."""
    cache.mkdir()
    own = {"daemon": os.getpid(), "started": process.started(os.getpid())}
    (cache / STATE).write_text(json.dumps({**own, "cluster": to_json(EXAMPLE)}))


def test_a_lab_stays_up_until_it_is_removed(cache: Path) -> None:
    assert manage.status() is None
    assert manage.up("auto", "wall", "6.12") == EXAMPLE
    try:
        assert manage.status() == EXAMPLE
        assert (cache / STATE.replace("json", "log")).read_text() == "asked for auto wall 6.12\n"
        with pytest.raises(LabError) as raised:
            manage.up("auto", "wall")
        assert str(raised.value) == "a lab is up already; `proxybench lab down` removes it"
    finally:
        assert manage.down()
    assert manage.status() is None
    assert not manage.down()
    assert not (cache / STATE).exists()


def test_a_daemon_that_fails_says_why(cache: Path) -> None:
    with pytest.raises(LabError) as raised:
        manage.up("netns", "auto")
    assert str(raised.value) == "no such lab here"
    assert manage.status() is None


def test_a_daemon_that_does_not_listen_is_killed(cache: Path) -> None:
    manage.up("vm", "auto")
    pid = json.loads((cache / STATE).read_text())["daemon"]
    assert manage.down(limit_s=0.3)
    assert process.started(pid) == ""
    assert not (cache / STATE).exists()


def test_a_daemon_that_is_not_up_in_time_is_ended(cache: Path) -> None:
    with pytest.raises(LabError, match=r"^the lab was not up within 0 s: "):
        manage.up("auto", "auto", limit_s=0.0)
    assert manage.status() is None
    assert processes_naming(str(cache)) == {}


def test_a_file_of_a_daemon_that_is_gone_is_removed(cache: Path) -> None:
    cache.mkdir()
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):  # the second is alive, but was started at another time
        content = {"daemon": pid, "started": "1", "cluster": to_json(EXAMPLE)}
        (cache / STATE).write_text(json.dumps(content))
        assert manage.status() is None
        assert not (cache / STATE).exists()


def test_another_users_lab_that_has_the_pid_of_one_that_was_killed_is_left_alone(cache: Path, tmp_path: Path) -> None:
    manage.up("auto", "wall")
    theirs = json.loads((cache / STATE).read_text())
    (cache / STATE).rename(tmp_path / "theirs.json")
    (cache / STATE).write_text(json.dumps({**theirs, "started": str(int(theirs["started"]) - 1)}))
    assert not manage.down()
    assert process.started(theirs["daemon"]) == theirs["started"]
    (tmp_path / "theirs.json").rename(cache / STATE)
    assert manage.down()


DAMAGED = (
    *(b"", b"{}", b"[]", b"null", b"\xff\x00\x7fELF", b"[" * 100_000),
    *(b'{"daemon": "x", "cluster": {}}', b'{"daemon": 1, "cluster": {}}', b'{"daemon": Infinity, "started": 1}'),
    b'{"daemon": 1, "started": "1", "cluster": {"client": "x"}}',
)


@pytest.mark.parametrize("content", [*DAMAGED, json.dumps({"daemon": 1, "cluster": to_json(EXAMPLE)}).encode()[:-90]])
def test_a_damaged_file_is_named_and_the_lab_is_removed_all_the_same(cache: Path, content: bytes) -> None:
    manage.up("auto", "wall")
    pid = json.loads((cache / STATE).read_text())["daemon"]
    (cache / STATE).write_bytes(content)
    for call in (manage.status, lambda: manage.up("auto", "wall"), lambda: manage.shell("a")):
        with pytest.raises(LabError) as raised:
            call()
        assert str(raised.value) == f"{cache}/{STATE}: damaged; `proxybench lab down` removes it, and the lab with it"
    assert process.started(pid)
    assert manage.down()
    assert process.started(pid) == ""
    assert not (cache / STATE).exists()
    assert not manage.down()


def test_two_commands_at_once_are_refused(cache: Path) -> None:
    cache.mkdir()
    with (cache / STATE.replace("json", "lock")).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for call in (lambda: manage.up("auto", "auto"), manage.down):
            with pytest.raises(LabError) as raised:
                call()
            assert str(raised.value) == ("another command is building or removing the lab; try again when it is done")


def test_a_shell_needs_a_lab_a_node_and_ssh(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError) as raised:
        manage.shell("a")
    assert str(raised.value) == "no lab is up; `proxybench lab up` builds one"
    hold(cache)
    with pytest.raises(LabError) as raised:
        manage.shell("c")
    assert str(raised.value) == "no node is called c; there are a, b"
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(LabError) as raised:
        manage.shell("a")
    assert str(raised.value) == "ssh is not installed; `apt-get install openssh-client` brings it"


def test_a_shell_is_ssh_with_our_configuration_and_its_exit_code(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        f'#!/bin/sh\ncp "$2" {tmp_path}/config\necho "$* $(readlink b-jump.key)" > {tmp_path}/asked\nexit 7\n'
    )
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    hold(cache)
    assert manage.shell("b") == 7
    assert (tmp_path / "asked").read_text() == "-F config b /s/identity\n"
    assert "Host b-jump\n" in (tmp_path / "config").read_text()


def test_the_daemon_itself_says_an_error_of_ours_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "proxybench.targets.lab.daemon",
            "netns",
            "instructions",
            "6.1",
            str(tmp_path / "lab.json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(daemon.__file__).parents[3],
    )
    message = "error: clock: instructions needs target.lab.kind: vm (this kernel counts real time)\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


def test_down_removes_what_killed_owners_left(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    kept = tmp_path / "scratch/another-prefix.x"
    for name in ("proxybench-lab.x", "proxybench-api-x", "proxybench-ssh.x", "proxybench-kvm.x", kept.name):
        (tmp_path / "scratch" / name).mkdir(parents=True)
        (tmp_path / "scratch" / name / "owner").touch()
    assert not manage.down()
    assert list((tmp_path / "scratch").iterdir()) == [kept]
