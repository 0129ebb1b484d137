"""The orchestrator's side of the agent: put it on a node, start it, ask it."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from proxybench.agent.node import AGENT
from proxybench.errors import AgentError, CommandTimeoutError, ConnectionLostError
from proxybench.nodes.requests import (
    AskAlive,
    AskHello,
    AskUsage,
    HttpGet,
    ReadFiles,
    Request,
    SetApi,
    Sleep,
    Spawn,
    Stop,
)
from proxybench.nodes.zipapp import build_zipapp, zipapp_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.hosts.base import Executor, Session
    from proxybench.nodes.answers import Alive, Hello, HttpAnswer, Slept, Spawned, Stopped, Usage

T = TypeVar("T")
MARGIN_S = 30.0  # for the way there and back, and for a node that is busy with what is measured


class Pending(ABC, Generic[T]):
    """A request under way."""

    @abstractmethod
    def finish(self) -> T:
        """Wait for the answer; raise AgentError, CommandTimeoutError or ConnectionLostError."""


class Agent(ABC):
    """An agent on a node. One request at a time: finish what was begun before the next.

    All methods raise AgentError when the agent refuses or fails, CommandTimeoutError when it does not answer in
    the request's time and a margin, and ConnectionLostError when it is gone.
    """

    broken: str = ""
    """Why it cannot be asked any more; empty while it can. A new one must be started then."""
    oom_kills: int = 0
    """How many processes its kernel had killed for want of memory when this was last looked at."""
    real_time: bool = False
    """Whether its probes have real-time priority, by its own try when it was greeted."""
    gap_s: float = 0.0
    """From one write to the API to the next, where nothing is measured meanwhile."""
    put_off: tuple[float, ...] = ()
    """For how long the API has put off (429) each change that was then made anew, since this was told."""

    @property
    def ended(self) -> str:
        """How its program ended, in one line that names it; empty while it runs, also if it cannot be asked."""
        return ""

    @abstractmethod
    def begin(self, request: Request[T]) -> Pending[T]:
        """Send a request and return at once."""

    @abstractmethod
    def close(self) -> None:
        """End the agent and with it all that it spawned. Never raises."""

    def call(self, request: Request[T]) -> T:
        """Send a request and wait for its answer."""
        return self.begin(request).finish()

    def hello(self) -> Hello:
        """Ask who is there."""
        return self.call(AskHello())

    def api(self, url: str, token: str, ca: str | None = None) -> None:
        """Make the API known, for later changes."""
        self.call(SetApi(url, token, ca))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: str,
        cgroup: str | None = None,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> Spawned:
        """Start a program; see requests.Spawn."""
        return self.call(Spawn(tuple(argv), log, dict(env or {}), cgroup, grace_s))

    def alive(self, pid: int) -> Alive:
        """Ask whether a spawned program runs."""
        return self.call(AskAlive(pid))

    def stop(self, pid: int, timeout_s: float = 10.0) -> Stopped:
        """Stop a spawned program."""
        return self.call(Stop(pid, timeout_s))

    def usage(self, cgroups: Sequence[str] = ()) -> Usage:
        """Read the CPU counters."""
        return self.call(AskUsage(tuple(cgroups)))

    def http_get(self, url: str, *, timeout_s: float = 10.0, max_bytes: int = 1 << 24) -> HttpAnswer:
        """Read a URL as the node sees it."""
        return self.call(HttpGet(url, timeout_s, max_bytes))

    def sleep(self, seconds: float) -> Slept:
        """Let the node's time pass."""
        return self.call(Sleep(seconds))

    def read(self, paths: Sequence[str]) -> dict[str, str | None]:
        """Read small files."""
        return self.call(ReadFiles(tuple(paths)))


class AgentClient(Agent):
    """An agent at the other end of a session; ``name`` is the node's, for messages."""

    def __init__(self, session: Session, name: str = "node", margin_s: float = MARGIN_S) -> None:
        self._session = session
        self._name = name
        self._margin_s = margin_s
        self._number = 0
        self._open = False

    @property
    def ended(self) -> str:
        """How its program ended."""
        how = self._session.ended
        return f"{self._name}: the agent {how}" if how else ""

    def begin(self, request: Request[T]) -> Pending[T]:
        """Send a request; AgentError when another is unfinished or an earlier one broke the conversation."""
        if self.broken:
            raise AgentError(f"{self._name}: the agent cannot be asked any more: {self.broken}")
        if self._open:
            raise AgentError(f"{self._name}: {request.op} was begun before the request under way was finished")
        self._number += 1
        line = json.dumps({**request.wire(), "id": self._number, "op": request.op}, separators=(",", ":"))
        try:
            self._session.send_line(line)
        except ConnectionLostError:
            self.broken = f"{request.op} could not be sent"
            raise
        self._open = True
        return _PendingAnswer(self, request)

    def close(self) -> None:
        """End the agent and with it all that it spawned. Never raises."""
        self.broken = self.broken or "it was closed"
        self._session.close()

    def receive(self, request: Request[T]) -> T:
        """Wait for the answer to the request under way (what ``finish`` does)."""
        if not self._open:
            raise AgentError(f"{self._name}: {request.op} is not under way")
        self._open = False
        try:
            line = self._session.read_line(request.limit_s + self._margin_s)
        except (CommandTimeoutError, ConnectionLostError):
            self.broken = f"{request.op} got no answer"  # and a late one would be taken for the next
            raise
        result = self._result(line, request.op)
        try:
            return request.decode(result)
        except (KeyError, TypeError, ValueError) as error:
            raise AgentError(f"{self._name}: the agent's answer to {request.op} is wrong: {error}") from error

    def _result(self, line: str, op: str) -> Mapping[str, object]:
        try:
            answer = json.loads(line)
            number, good = answer["id"], answer["ok"]
            body = answer["result"] if good else answer["error"]
        except (ValueError, TypeError, KeyError):
            self.broken = "it answered nonsense"
            raise AgentError(f"{self._name}: the agent did not answer {op} with an answer: {line[:200]}") from None
        if number != self._number:
            self.broken = "its answers are out of step"
            raise AgentError(f"{self._name}: the agent answered request {number} instead of {self._number}")
        if not good:
            raise AgentError(f"{self._name}: {op}: {body}")
        if not isinstance(body, dict):
            raise AgentError(f"{self._name}: the agent's answer to {op} is wrong: it is not an object")
        return body


class _PendingAnswer(Pending[T]):
    def __init__(self, client: AgentClient, request: Request[T]) -> None:
        self._client = client
        self._request = request

    def finish(self) -> T:
        """Wait for the answer."""
        return self._client.receive(self._request)


def install(executor: Executor, workdir: str) -> str:
    """Put the agent into ``workdir`` on a node, unless these very bytes are there; return its path."""
    data = build_zipapp()
    digest = hashlib.sha256(data).hexdigest()
    path = f"{workdir}/{zipapp_name(data)}"
    found = executor.run(["sha256sum", path], check=False)
    if found.code == 0 and found.stdout.lstrip("\\").split()[:1] == [digest]:  # a backslash in the name: one before
        return path
    executor.run(["mkdir", "-p", workdir])
    executor.put(data, path)
    return path


def connect_agent(executor: Executor, python: str, path: str, margin_s: float = MARGIN_S) -> AgentClient:
    """Start the agent on a node and greet it. Raises AgentError when it is another version."""
    client = AgentClient(executor.open([python, "-I", "-S", path, "serve"]), executor.name, margin_s)
    try:
        hello = client.hello()
    except BaseException:
        client.close()
        raise
    if hello.agent != AGENT:
        client.close()
        raise AgentError(f"{executor.name}: the agent is {hello.agent}, not {AGENT}")
    client.oom_kills, client.real_time = hello.oom_kills, hello.real_time
    return client
