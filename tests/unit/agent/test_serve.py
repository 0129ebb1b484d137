from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.agent import schedule
from proxybench.errors import AgentError
from proxybench.nodes.requests import AskClocks, Await, Connect, Sleep, Target

from .pythons import PYTHON, both_pythons
from .talker import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.nodes.client import AgentClient, Pending

    from .conftest import Api, PipeSession

MS = 1_000_000
HERE = "127.0.0.1"


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@both_pythons
def test_hello_tells_of_this_machine(agent: AgentClient, session: PipeSession, python: str) -> None:
    seen = agent.hello()
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert (seen.agent, seen.python) == ("proxybench-agent 7", version)
    assert (seen.kernel, seen.online_cpus) == (os.uname().release, os.sysconf("SC_NPROCESSORS_ONLN"))
    assert seen.cpu_model
    assert seen.real_time is schedule.real_time()
    assert f"oom_kill {seen.oom_kills}\n" in Path("/proc/vmstat").read_text()


@both_pythons
@pytest.mark.parametrize(
    "request_",
    [Await(HERE, 1, "answer", timeout_s=1), Connect((Target("it", HERE, 1),), 100_000, 10, limit=1)],
    ids=["await", "connect"],
)
def test_what_was_timed_while_the_agent_stood_still_is_no_measurement(
    agent: AgentClient, session: PipeSession, request_: Await | Connect
) -> None:
    agent.hello()
    pending: Pending[Any] = agent.begin(request_)
    time.sleep(0.2)
    os.kill(session.process.pid, signal.SIGSTOP)
    time.sleep(0.2)
    os.kill(session.process.pid, signal.SIGCONT)
    with pytest.raises(AgentError) as raised:
        pending.finish()
    assert str(raised.value) == f"node1: {request_.op}: the agent stood still for a while: it got SIGSTOP and SIGCONT"
    agent.hello()  # it goes on


def test_a_stop_while_nothing_is_measured_does_no_harm(agent: AgentClient, session: PipeSession) -> None:
    agent.hello()
    for deed in (signal.SIGSTOP, signal.SIGCONT):
        os.kill(session.process.pid, deed)
        time.sleep(0.05)
    assert agent.call(Await(HERE, 1, "answer", timeout_s=0.2)).censored


@both_pythons
def test_spawned_programs_are_watched_and_stopped(agent: AgentClient, tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = time.monotonic_ns()
    spawned = agent.spawn(
        ["sh", "-c", 'echo "$WORD to stdout"; echo err >&2; exec sleep 60'], log=str(log), env={"WORD": "hello"}
    )
    assert before < spawned.at_ns < time.monotonic_ns()
    assert os.getsid(spawned.pid) == spawned.pid
    wait_for(lambda: log.read_text() == "hello to stdout\nerr\n")
    assert log.stat().st_mode & 0o777 == 0o600
    alive = agent.alive(spawned.pid)
    assert (alive.alive, alive.code) == (True, None)
    stopped = agent.stop(spawned.pid, 5)
    assert (stopped.code, stopped.killed, stopped.cgroup_removed) == (-signal.SIGTERM, False, True)
    assert gone(spawned.pid)
    with pytest.raises(AgentError, match=rf"^node1: alive: no program with pid {spawned.pid} was spawned here$"):
        agent.alive(spawned.pid)


def test_a_program_that_ended_by_itself_says_how(agent: AgentClient, tmp_path: Path) -> None:
    spawned = agent.spawn(["sh", "-c", "exit 7"], log=str(tmp_path / "log"))
    wait_for(lambda: not agent.alive(spawned.pid).alive)
    assert agent.alive(spawned.pid).code == 7
    stopped = agent.stop(spawned.pid, 5)
    assert (stopped.code, stopped.killed, stopped.had_ended, stopped.stood_still) == (7, False, True, False)


@both_pythons
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_program_that_stood_still_says_so_and_is_stopped_all_the_same(
    agent: AgentClient, tmp_path: Path, *, goes_on: bool
) -> None:
    spawned = agent.spawn(["sleep", "60"], log=str(tmp_path / "log"))
    assert not agent.alive(spawned.pid).stood_still
    os.kill(spawned.pid, signal.SIGSTOP)
    wait_for(lambda: state_of(spawned.pid) == "T")
    if goes_on:
        os.kill(spawned.pid, signal.SIGCONT)
        wait_for(lambda: state_of(spawned.pid) == "S")
    for _ in range(2):
        alive = agent.alive(spawned.pid)
        assert (alive.alive, alive.code, alive.stood_still) == (True, None, True)
    stopped = agent.stop(spawned.pid, 5)
    assert (stopped.code, stopped.killed) == (-signal.SIGTERM, False)
    assert (stopped.had_ended, stopped.stood_still) == (False, True)


def test_a_deaf_program_is_killed_and_so_are_its_children(agent: AgentClient, tmp_path: Path) -> None:
    log = tmp_path / "log"
    spawned = agent.spawn(["sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait; sleep 60"], log=str(log))
    wait_for(lambda: log.read_text().endswith("\n"))
    stopped = agent.stop(spawned.pid, 0.1)
    assert (stopped.code, stopped.killed) == (-signal.SIGKILL, True)
    wait_for(lambda: gone(int(log.read_text())) or "Z" in state_of(int(log.read_text())))


def state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - one small read
            return file.read().split()[2]
    except FileNotFoundError:
        return "Z"


def test_a_program_is_in_its_cgroup_before_it_runs(agent: AgentClient, tmp_path: Path) -> None:
    group = tmp_path / "group"  # a folder that looks like a cgroup: what is checked is who writes what, and when
    group.mkdir()
    (group / "cgroup.procs").touch()
    log = tmp_path / "log"
    spawned = agent.spawn(["cat", str(group / "cgroup.procs")], log=str(log), cgroup=str(group))
    wait_for(lambda: not agent.alive(spawned.pid).alive)
    assert log.read_text() == str(spawned.pid)
    with pytest.raises(AgentError, match=rf"^node1: spawn: {group} already holds processes$"):
        agent.spawn(["true"], log=str(log), cgroup=str(group))
    stopped = agent.stop(spawned.pid, 1)
    assert not stopped.cgroup_removed  # an ordinary folder with a file in it cannot be removed like a cgroup


def test_what_cannot_be_spawned_says_why(agent: AgentClient, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    for arguments, message in (
        ((["/nonexistent/program"], log), "cannot execute /nonexistent/program: No such file or directory"),
        ((["true"], "/nonexistent/log"), "cannot write /nonexistent/log: No such file or directory"),
        ((["true", "a\0b"], log), "cannot execute true: embedded null byte"),
        (([], log), "argv must name a program"),
    ):
        with pytest.raises(AgentError) as caught:
            agent.spawn(arguments[0], log=arguments[1])
        assert str(caught.value) == f"node1: spawn: {message}"
    plain = tmp_path / "plain"
    with pytest.raises(AgentError, match=rf"^node1: spawn: {plain} is not a cgroup v2 folder$"):
        agent.spawn(["true"], log=log, cgroup=str(plain))


@both_pythons
def test_when_the_input_ends_so_do_all_programs(agent: AgentClient, session: PipeSession, tmp_path: Path) -> None:
    soft = agent.spawn(["sleep", "60"], log=str(tmp_path / "a"))
    hard = agent.spawn(
        ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done"], log=str(tmp_path / "b"), grace_s=0.2
    )
    wait_for(lambda: (tmp_path / "b").read_text() == "\n")
    agent.close()
    assert session.process.returncode == 0
    assert gone(soft.pid)
    assert gone(hard.pid)
    with pytest.raises(AgentError, match=r"^node1: the agent cannot be asked any more: it was closed$"):
        agent.hello()


def test_a_hang_up_ends_even_a_request_that_goes_on(agent: AgentClient, session: PipeSession, tmp_path: Path) -> None:
    spawned = agent.spawn(["sleep", "60"], log=str(tmp_path / "a"))
    agent.begin(Sleep(30))
    started = time.monotonic()
    session.close()
    assert time.monotonic() - started < 5
    assert session.process.returncode == 0
    assert gone(spawned.pid)


def test_a_signal_ends_it_tidily(agent: AgentClient, session: PipeSession, tmp_path: Path) -> None:
    spawned = agent.spawn(["sleep", "60"], log=str(tmp_path / "a"))
    session.process.terminate()
    assert session.process.wait(5) == 0
    assert gone(spawned.pid)


def test_the_usage_counts(agent: AgentClient, tmp_path: Path) -> None:
    first = agent.usage()
    group = tmp_path / "group"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    (group / "memory.peak").write_text("8192\n")
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n4194305\n")  # this process, and one that is gone
    second = agent.usage([str(group)])
    figures = second.groups[str(group)]
    assert (figures.usage_ns, figures.user_ns, figures.system_ns) == (5000, 3000, 2000)
    assert (figures.memory_peak, figures.memory_current) == (8192, None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak // 2 < figures.resident_peak < 2 * peak  # the two are read a moment apart
    assert first.at_ns < second.at_ns
    assert 0 < first.self_ns < second.self_ns
    assert second.stat.busy_ns >= first.stat.busy_ns > 0
    with pytest.raises(AgentError, match=r"^node1: usage: /nonexistent is not a cgroup v2 folder that can be read$"):
        agent.usage(["/nonexistent"])


def test_both_clocks_are_read_at_one_moment(agent: AgentClient) -> None:
    monotonic, utc = time.monotonic_ns(), time.time_ns()
    seen = agent.call(AskClocks())
    assert monotonic < seen.monotonic_ns < time.monotonic_ns()
    assert abs((seen.utc_ns - seen.monotonic_ns) - (utc - monotonic)) < 1_000_000


def test_reading_and_sleeping(agent: AgentClient, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text\n")
    assert agent.read([str(tmp_path / "a"), "/nonexistent"]) == {str(tmp_path / "a"): "text\n", "/nonexistent": None}
    slept = agent.sleep(0.05)
    assert 50 * MS <= slept.end_ns - slept.start_ns < 2000 * MS


def test_metrics_are_read_over_http(agent: AgentClient, api: Api) -> None:
    seen = agent.http_get(f"{api.url}/metrics")
    assert (seen.status, seen.body) == (200, "up 1\n")
    assert agent.http_get(f"{api.url}/chunked").body == "hello world"
    assert agent.http_get(f"{api.url}/other").status == 404
    with pytest.raises(AgentError, match=r"^node1: http_get: the response is longer than 10 bytes$"):
        agent.http_get(f"{api.url}/metrics", max_bytes=10)
    port = free_port()
    with pytest.raises(AgentError, match=rf"^node1: http_get: cannot read 127.0.0.1:{port}: Connection refused$"):
        agent.http_get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('{"id":1,"op":"dance"}', {"id": 1, "ok": False, "error": "unknown op dance"}),
        ('{"op":"hello"}', {"id": None, "ok": False, "error": "id must be a whole number"}),
        ("[]", {"id": None, "ok": False, "error": "a request must be a JSON object"}),
        ("{", {"id": None, "ok": False, "error": "a request must be one line of JSON"}),
        ('{"id":2,"op":"hello","x":1}', {"id": 2, "ok": False, "error": "unknown field x"}),
        ('{"id":3,"op":"sleep"}', {"id": 3, "ok": False, "error": "seconds is missing"}),
        (
            '{"id":4,"op":"sleep","seconds":"1"}',
            {"id": 4, "ok": False, "error": "seconds must be a number from 0 to 3600"},
        ),
        ('{"id":5,"op":"read","paths":"x"}', {"id": 5, "ok": False, "error": "paths must be a list of texts"}),
        ('{"id":6,"op":"read","paths":["\\u0000"]}', {"id": 6, "ok": False, "error": "ValueError: embedded null byte"}),
        (
            '{"id":7,"op":"api","url":"x","token":"geheim"}',
            {"id": 7, "ok": False, "error": "x is not an http or https URL of the form scheme://host:port/path"},
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_named_and_the_agent_lives_on(
    session: PipeSession, line: str, answer: dict[str, object]
) -> None:
    session.send_line(line)
    assert json.loads(session.read_line(5)) == answer
    session.send_line('{"id":9,"op":"sleep","seconds":0}')
    assert json.loads(session.read_line(5))["ok"] is True


def test_a_start_loads_nothing_that_it_cannot_afford(zipapp: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-X", "importtime", "-I", "-S", str(zipapp), "serve"],
        input='{"id":1,"op":"hello"}\n', capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "proxybench.agent.serve" in loaded
    assert not loaded & {"typing", "asyncio", "http.client", "email", "subprocess", "socket", "ssl", "dataclasses"}
