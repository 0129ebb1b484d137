from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import AgentError, CommandTimeoutError, ConnectionLostError
from proxybench.hosts.base import Completed
from proxybench.nodes.answers import Alive, ConnectFigures, Slept
from proxybench.nodes.client import AgentClient, connect_agent, install
from proxybench.nodes.requests import AskAlive, Await, AwaitAll, Change, Connect, SetApi, Sleep, Target, Write
from proxybench.nodes.zipapp import build_zipapp, zipapp_name
from proxybench.testing.agent import FakeAgent
from proxybench.testing.hosts import FakeSession, Sent
from tests.unit.agent.conftest import PipeSession

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HELLO = {
    "agent": "proxybench-agent 7", "python": "3.8.18", "kernel": "6.1",
    "cpu_model": "x", "online_cpus": 2,
}  # fmt: skip
AWAITED = {
    "start_ns": 1, "first_ns": 9, "sent_ns": 8, "interval_at_success_ns": 3, "last_other_ns": None,
    "answered_by": "10.0.0.1", "attempts": 3, "answers": 1, "errors": {"ECONNREFUSED": 2}, "end_ns": 9,
    "censored": False,
}  # fmt: skip


class Scripted:
    """A session that gives prepared lines (or raises prepared errors) and remembers what it was sent."""

    def __init__(self, *lines: str | Exception) -> None:
        self.lines = list(lines)
        self.sent: list[dict[str, Any]] = []
        self.timeouts: list[float] = []
        self.closed = False
        self.ended = ""

    def send_line(self, line: str) -> None:
        self.sent.append(json.loads(line))

    def read_line(self, timeout: float) -> str:
        self.timeouts.append(timeout)
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return line

    def close(self) -> None:
        self.closed = True


CONNECTED = {
    "connect_ns": [1], "first_byte_ns": [2], "rtt_us": [3], "answers": {"e": 1}, "wrong": 0, "errors": {},
    "timeouts": 0, "connect_censored_ns": [], "first_byte_censored_ns": [],
}  # fmt: skip


def good(number: int, result: object) -> str:
    return json.dumps({"id": number, "ok": True, "result": result})


def test_requests_are_numbered_and_wait_for_their_own_time() -> None:
    session = Scripted(good(1, {"start_ns": 1, "end_ns": 2}), good(2, {"alive": False, "code": 3}))
    agent = AgentClient(session, "n1", margin_s=7)
    assert agent.sleep(20) == Slept(1, 2)
    assert agent.alive(4) == Alive(alive=False, code=3)
    assert session.sent == [{"seconds": 20, "id": 1, "op": "sleep"}, {"pid": 4, "id": 2, "op": "alive"}]
    assert session.timeouts == [32.0, 12.0]


def test_requests_on_the_wire() -> None:
    change = Change(
        (Write("DELETE", "/x"), Write("POST", "/y", {"a": [1]})), (Await("10.0.0.1", 80, "answer", 9, want=("e",)),)
    )
    probe = {
        "host": "10.0.0.1", "port": 80, "until": "answer", "timeout_s": 9, "want": ["e"], "interval_us": 1000,
        "max_interval_fraction": 0.005, "quiet_ms": 500, "settle_ms": 0, "pending": 8,
    }  # fmt: skip
    assert json.loads(json.dumps(change.wire())) == {
        "writes": [{"method": "DELETE", "path": "/x"}, {"method": "POST", "path": "/y", "body": {"a": [1]}}],
        "probes": [probe],
        "lead_s": 5.0,
    }
    assert change.limit_s == 24.0
    several = AwaitAll((Await("10.0.0.1", 80, "answer", 9, want=("e",)), Await("10.0.0.1", 80, "answer", 7)))
    anyone = {**{k: v for k, v in probe.items() if k != "want"}, "timeout_s": 7}
    assert json.loads(json.dumps(several.wire())) == {"probes": [probe, anyone]}
    assert several.limit_s == 14.0
    assert json.loads(json.dumps(Connect((Target("a", "h", 1),), 2, 3).wire())) == {
        "targets": [{"label": "a", "host": "h", "port": 1}],
        "rounds": 2, "block": 3, "warmup": 0, "timeout_ms": 1000, "limit_s": 120.0,
    }  # fmt: skip
    assert "geheim" not in repr(SetApi("http://h", "geheim"))


def test_one_request_at_a_time_each_finished_once() -> None:
    agent = AgentClient(Scripted(good(1, {"start_ns": 1, "end_ns": 2})), "n1")
    pending = agent.begin(Sleep(1))
    with pytest.raises(AgentError, match=r"^n1: alive was begun before the request under way was finished$"):
        agent.alive(1)
    assert pending.finish() == Slept(1, 2)
    with pytest.raises(AgentError, match=r"^n1: sleep is not under way$"):
        pending.finish()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hm", "n1: the agent did not answer alive with an answer: hm"),
        ('{"id":1}', 'n1: the agent did not answer alive with an answer: {"id":1}'),
        (good(5, {}), "n1: the agent answered request 5 instead of 1"),
        ('{"id":1,"ok":false,"error":"no such pid"}', "n1: alive: no such pid"),
        (good(1, []), "n1: the agent's answer to alive is wrong: it is not an object"),
        (
            good(1, {"alive": True}),
            "n1: the agent's answer to alive is wrong: code: Field required",
        ),
        (
            good(1, {"alive": 1, "code": None}),
            "n1: the agent's answer to alive is wrong: alive: Input should be a valid boolean",
        ),
    ],
)
def test_wrong_answers_are_errors(line: str, message: str) -> None:
    with pytest.raises(AgentError) as caught:
        AgentClient(Scripted(line), "n1").alive(1)
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [CommandTimeoutError("late"), ConnectionLostError("gone")])
def test_after_a_lost_answer_nothing_more_is_asked(error: Exception) -> None:
    agent = AgentClient(Scripted(error), "n1")
    with pytest.raises(type(error), match=rf"^{error}$"):
        agent.alive(1)
    with pytest.raises(AgentError, match=r"^n1: the agent cannot be asked any more: alive got no answer$"):
        agent.alive(1)
    assert agent.broken == "alive got no answer"


def test_a_request_that_cannot_be_sent_breaks_the_conversation() -> None:
    session = FakeSession([Sent('{"pid":1,"id":1,"op":"alive"}', ConnectionLostError("gone"))])
    agent = AgentClient(session, "n1")
    assert agent.broken == ""
    with pytest.raises(ConnectionLostError, match=r"^gone$"):
        agent.alive(1)
    assert agent.broken == "alive could not be sent"


AWAIT = Await("10.0.0.1", 80, "answer", 1)


def test_awaited_results_are_checked() -> None:
    assert AWAIT.decode(AWAITED).errors == {"ECONNREFUSED": 2}
    for change, message in (
        ({"censored": True}, "Value error, censored and first_ns contradict each other"),
        ({"attempts": 1.5}, "attempts: Input should be a valid integer"),
        ({"attempts": True}, "attempts: Input should be a valid integer"),
        ({"errors": {"a": "b"}}, "errors.a: Input should be a valid integer"),
        ({"more": 1}, "more: Unexpected keyword argument"),
    ):
        with pytest.raises(ValueError, match=rf"^{message}$"):
            AWAIT.decode({**AWAITED, **change})


def test_an_answer_has_as_many_parts_as_were_asked_for() -> None:
    assert len(AwaitAll((AWAIT, AWAIT)).decode({"probes": [AWAITED, AWAITED]}).probes) == 2
    with pytest.raises(ValueError, match=r"^it is about 1, not about 2$"):
        AwaitAll((AWAIT, AWAIT)).decode({"probes": [AWAITED]})
    connect = Connect((Target("a", "h", 1),), 1, 1)
    assert connect.decode({"targets": {"a": CONNECTED}, "complete": True}).targets == {
        "a": ConnectFigures((1,), (2,), (3,), {"e": 1}, 0, {}, 0, (), ())
    }
    with pytest.raises(ValueError, match=r"^it is about \['b'\], not about \['a'\]$"):
        connect.decode({"targets": {"b": CONNECTED}, "complete": True})
    ordered = connect.decode({"targets": {"a": {**CONNECTED, "order": ["e"]}}, "complete": True})
    assert ordered.targets["a"].order == ("e",)


class Node:
    """An Executor for install and connect_agent: a folder of files and the commands that were run."""

    name = "n1"

    def __init__(self, session: object = None) -> None:
        self.files: dict[str, bytes] = {}
        self.ran: list[list[str]] = []
        self.session = session

    def run(self, argv: Sequence[str], *, check: bool = True, **_: object) -> Completed:
        self.ran.append(list(argv))
        if argv[0] == "sha256sum":
            data = self.files.get(argv[1])
            if data is None:
                return Completed("", "No such file", 1, 0.0)
            return Completed(f"{hashlib.sha256(data).hexdigest()}  {argv[1]}\n", "", 0, 0.0)
        return Completed("", "", 0, 0.0)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        self.files[path] = data

    def open(self, argv: Sequence[str]) -> Any:
        self.ran.append(list(argv))
        return self.session


def test_the_agent_is_installed_once() -> None:
    node = Node()
    path = install(node, "/w")  # type: ignore[arg-type] # the parts of an Executor that install uses
    assert path == f"/w/{zipapp_name(build_zipapp())}"
    assert node.files == {path: build_zipapp()}
    assert node.ran == [["sha256sum", path], ["mkdir", "-p", "/w"]]
    assert install(node, "/w") == path  # type: ignore[arg-type] # as above
    assert node.ran[2:] == [["sha256sum", path]]
    node.files[path] = b"spoilt"
    install(node, "/w")  # type: ignore[arg-type] # as above
    assert node.files == {path: build_zipapp()}


def test_the_agent_is_greeted_when_it_starts() -> None:
    session = Scripted(good(1, {**HELLO, "oom_kills": 5, "real_time": True}))
    node = Node(session)
    agent = connect_agent(node, "/usr/bin/python3", "/w/a.pyz")  # type: ignore[arg-type] # only open is used
    assert node.ran == [["/usr/bin/python3", "-I", "-S", "/w/a.pyz", "serve"]]
    assert (agent.oom_kills, agent.real_time) == (5, True)
    agent.close()
    assert session.closed


def test_another_version_is_turned_away() -> None:
    session = Scripted(good(1, {**HELLO, "agent": "proxybench-agent 0"}))
    with pytest.raises(AgentError, match=r"^n1: the agent is proxybench-agent 0, not proxybench-agent 7$"):
        connect_agent(Node(session), "python", "/w/a.pyz")  # type: ignore[arg-type] # only open is used
    assert session.closed


def test_an_agent_that_does_not_start_is_let_go() -> None:
    session = Scripted(ConnectionLostError("gone"))
    with pytest.raises(ConnectionLostError, match=r"^gone$"):
        connect_agent(Node(session), "python", "/w/a.pyz")  # type: ignore[arg-type] # only open is used
    assert session.closed


def test_the_zipapp_is_the_same_bytes_every_time_and_needs_nothing_else(tmp_path: Path) -> None:
    assert build_zipapp() == build_zipapp()
    (tmp_path / "a.pyz").write_bytes(build_zipapp())
    session = PipeSession([sys.executable, "-I", "-S", str(tmp_path / "a.pyz"), "serve"])
    agent = AgentClient(session)
    assert agent.hello().agent == "proxybench-agent 7"
    agent.close()


def test_the_zipapp_holds_no_orchestrator_code(tmp_path: Path) -> None:
    (tmp_path / "a.pyz").write_bytes(build_zipapp())
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(tmp_path / "a.pyz")], capture_output=True, text=True, check=True
    ).stdout
    assert "proxybench/agent/serve.py" in listing
    for name in ("client", "fake", "requests", "answers", "build"):
        assert f"proxybench/agent/{name}.py" not in listing


def test_the_fake_insists_on_its_script() -> None:
    agent = FakeAgent([(AskAlive(1), Alive(alive=True, code=None)), (Sleep(1), AgentError("n1: sleep: no"))])
    with pytest.raises(AssertionError, match=r"^AskAlive\(pid=1\) was never asked$"):
        agent.verify()
    pending = agent.begin(AskAlive(1))
    with pytest.raises(AssertionError, match=r"^Sleep\(seconds=1\) was begun before alive was finished$"):
        agent.sleep(1)
    assert pending.finish() == Alive(alive=True, code=None)
    with pytest.raises(AssertionError, match=r"^an answer was taken twice$"):
        pending.finish()
    with pytest.raises(AgentError, match=r"^n1: sleep: no$"):
        agent.sleep(1)
    agent.verify()
    with pytest.raises(AssertionError, match=r"^Sleep\(seconds=2\) was asked, but nothing more was expected$"):
        agent.sleep(2)
    agent.close()
    with pytest.raises(AssertionError, match=r"^Sleep\(seconds=2\) was asked of a closed agent$"):
        agent.sleep(2)


def test_the_fake_refuses_another_request() -> None:
    agent = FakeAgent([(AskAlive(1), None)])
    with pytest.raises(AssertionError, match=r"^AskAlive\(pid=2\) was asked, but AskAlive\(pid=1\) was expected$"):
        agent.alive(2)
