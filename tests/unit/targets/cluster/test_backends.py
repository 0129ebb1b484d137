from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import CommandTimeoutError, RunError
from proxybench.nodes.zipapp import build_zipapp, zipapp_name
from proxybench.targets.cluster.backends import _RUN, addresses_of, start_backend
from proxybench.testing.hosts import FakeExecutor, FakeSession, Line, Open, Put, Run, done

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.testing.hosts import Step

AGENT = build_zipapp()
PATH = f"/run/pb/{zipapp_name(AGENT)}"
THERE = Run(["sha256sum", PATH], done(f"{hashlib.sha256(AGENT).hexdigest()}  {PATH}\n"))
MISSING: list[Step] = [Run(["sha256sum", PATH], done(code=1)), Run(["mkdir", "-p", "/run/pb"]), Put(PATH, AGENT)]
ARGV = ["sh", "-c", _RUN, "backend", "/usr/bin/python3.9", PATH, "8080", ""]


def started(session: FakeSession, *before: Step) -> FakeExecutor:
    return FakeExecutor("worker-1", [*before, Open(ARGV, session)])


@pytest.mark.parametrize("before", [[THERE], MISSING])
def test_it_runs_by_the_host_s_python_and_is_left_open(before: list[Step]) -> None:
    session = FakeSession([Line("ready 8080")])
    host = started(session, *before)
    assert start_backend(host, "/usr/bin/python3.9", "/run/pb", 8080) is session
    host.assert_done()
    assert not session.closed
    session.close()
    session.assert_done()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("ready 8081", "worker-1: the backend said 'ready 8081'"),
        ("OSError: port in use", "worker-1: the backend said 'OSError: port in use'"),
        (
            CommandTimeoutError("worker-1: no line within 30 s"),
            "worker-1: the backend did not start on port 8080: worker-1: no line within 30 s",
        ),
    ],
)
def test_one_that_is_not_ready_is_ended_and_says_why(said: str | Exception, message: str) -> None:
    session = FakeSession([Line(said)])
    with pytest.raises(RunError) as caught:
        start_backend(started(session, THERE), "/usr/bin/python3.9", "/run/pb", 8080)
    assert str(caught.value) == message
    session.assert_done()


def test_what_runs_there_answers_until_its_input_ends(tmp_path: Path) -> None:
    """The command itself, on this machine: ready, it listens; without its input, nothing does any more."""
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(AGENT)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = ["sh", "-c", _RUN, "backend", sys.executable, str(agent), str(port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == f"ready {port}\n"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        process.stdin.close()
        process.wait(timeout=10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def start(folder: Path, agent: str) -> subprocess.Popen[str]:
    file = folder / "agent.py"
    file.write_text(agent)
    pipe = subprocess.PIPE
    argv = ["sh", "-c", _RUN, "backend", sys.executable, str(file), "18080"]
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_backend_that_ends_by_itself_says_why_while_its_input_is_open(tmp_path: Path) -> None:
    with start(tmp_path, 'import sys; sys.exit("port 18080 is taken")') as shell:
        assert shell.wait(10) == 1
        assert shell.stdin is not None
        shell.stdin.close()
        assert shell.stderr is not None
        assert shell.stderr.read() == "port 18080 is taken\n"


def test_one_that_serves_ends_with_its_input(tmp_path: Path) -> None:
    with start(tmp_path, 'import time; print("ready", flush=True); time.sleep(60)') as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        assert shell.stdin is not None
        shell.stdin.close()
        assert shell.wait(10) != 0


def test_a_pod_that_is_not_there_is_told(tmp_path: Path) -> None:
    argv = ["sh", "-c", _RUN, "backend", sys.executable, str(tmp_path / "agent"), "18080", "192.0.2.77"]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "no pod there has the address 192.0.2.77\n")


def test_a_backend_of_a_pod_that_does_not_start_names_the_pod() -> None:
    session = FakeSession([Line(CommandTimeoutError("w: no line within 30 s"))])
    host = FakeExecutor("w", [THERE, Open([*ARGV[:-1], "10.244.1.5"], session)])
    with pytest.raises(
        RunError, match=r"^w: the backend did not start on port 8080 of 10\.244\.1\.5: w: no line within"
    ):
        start_backend(host, "/usr/bin/python3.9", "/run/pb", 8080, "10.244.1.5")


def pod(host: str, address: str, phase: str = "Running", **spec: object) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"nodeName": host, **spec}, "status": {"podIP": address, "phase": phase}}


def test_pods_that_lend_their_addresses_run_on_a_host_that_is_reached() -> None:
    gone = pod("n1", "10.244.1.9")
    gone["metadata"] = {"deletionTimestamp": "2026-11-26T09:00:00Z"}
    both = pod("n1", "fd00::8")
    both["status"]["podIPs"] = [{"ip": "fd00::8"}, {"ip": "10.244.1.8"}]
    pods = [
        pod("n1", "10.244.1.5"),
        pod("n2", "10.244.2.5"),
        pod("n1", "10.244.1.6"),
        pod("n1", "10.244.1.7", "Pending"),
        pod("n1", "192.0.2.11", hostNetwork=True),
        pod("n3", "10.244.3.5"),
        pod("n1", "fd00::5"),
        {"metadata": {}, "spec": {}},
        gone,
        both,
    ]
    found = {"n1": ["10.244.1.5", "10.244.1.6", "10.244.1.8"], "n2": ["10.244.2.5"]}
    assert addresses_of(pods, {"n1", "n2"}) == found
