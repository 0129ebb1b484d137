"""A proxy's process on a node, started by the agent in a cgroup of its own; its log is kept, its secrets removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Self

from proxybench.clocks import Instant
from proxybench.errors import AgentError, HostError, ProxierError, ProxierLostError
from proxybench.hosts.base import end_of
from proxybench.hosts.batch import run_together
from proxybench.subjects.bundle import put_folder
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.deadline import Deadline
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.bundle import Bundle
    from proxybench.units import Clock

_READ_LIMIT: Final = 60.0
_OK: Final = 200
_POLL_SHARE: Final = 0.02  # of the time waited so far: a look costs the CPU that is measured
_GRACE_S: Final = 60.0
_STOOD_STILL: Final = "stood still for a while, since it got SIGSTOP"


@dataclass(frozen=True)
class Program:
    """What is started, and what must be there for it.

    ``what`` names it in messages. ``argv`` may name files of ``bundle`` by the folder's path (``proxy_folder``).
    ``secrets`` are the files of the bundle that are removed when it ends. ``good_ends`` are the exit codes of a proxy
    that was told to stop, negative for a signal; None: any. ``tail`` puts the end of a log into one line.
    """

    what: str
    argv: tuple[str, ...]
    bundle: Bundle
    tail: Callable[[str], str]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ("token",)
    good_ends: frozenset[int] | None = frozenset({0})


def proxy_folder(handle: NodeHandle) -> str:
    """Return the folder on the node that holds a proxy's files and log; one proxy at a time runs on a node."""
    return f"{handle.node.workdir}/proxy"


def proxy_cgroup(handle: NodeHandle) -> str:
    """Return the cgroup v2 folder on the node that holds a proxy and all its children."""
    return f"{handle.node.cgroup_root}/proxy"


class Process(ABC):
    """A proxy's process: one that we started (``NodeProcess``), or one that runs anyway (``AttachedProcess``).

    ``what`` names it in messages; ``tail`` puts the end of its log into one line. ``cgroup`` and ``no_cpu`` as in
    ``RunningProxy``. ``zone_s``: how many seconds its log's times are ahead of UTC. All methods raise ProxierError, and
    HostError when the node cannot be asked.
    """

    _over: ClassVar = "was stopped"
    no_cpu = ""
    zone_s = 0

    def __init__(
        self, handle: NodeHandle, what: str, cgroup: str | None, started_at: Instant, tail: Callable[[str], str]
    ) -> None:
        self.handle = handle
        self.cgroup = cgroup
        self.started_at = started_at
        self._what = what
        self._tail = tail
        self._stopped = False
        self._lost = False  # which was told

    def check(self) -> None:
        """Raise ProxierLostError when it is no longer what is to be measured; once, and never after ``stop``."""
        if not (self._stopped or self._lost):
            self.check_alive()

    @abstractmethod
    def check_alive(self) -> None:
        """Raise ProxierLostError when it has ended, with the log's tail, or stood still."""

    @abstractmethod
    def stop(self, limit_s: float) -> None:
        """End it, or the watching of it."""

    @abstractmethod
    def log(self) -> str:
        """Return its log."""

    def get(self, port: int, path: str) -> str:
        """Return what it serves at a port of the node's loopback; ProxierError for any answer but 200."""
        self.check_running()
        return get(self.handle, self._what, port, path)

    def check_running(self) -> None:
        """Raise ProxierError when it was stopped."""
        if self._stopped:
            raise ProxierError(f"{self.handle.name}: {self._what} {self._over}")

    def error(self, problem: str) -> ProxierError:
        """Return an error that names the node and the program, and ends with the log's tail."""
        return ProxierError(f"{self.handle.name}: {self._what} {self.with_tail(problem)}")

    def lost(self, problem: str) -> ProxierLostError:
        """Return that it can no longer be measured; ``stop`` does not tell it again."""
        self._lost = True
        return ProxierLostError(f"{self.handle.name}: {self._what} {problem}")

    def with_tail(self, problem: str) -> str:
        """Return a problem with the log's tail."""
        try:
            return f"{problem}: {self._tail(self.log())}"
        except HostError as error:
            return f"{problem}: its log cannot be read: {error}"


def get(handle: NodeHandle, what: str, port: int, path: str) -> str:
    """Return what a program serves at a port of the node's loopback; ProxierError for any answer but 200."""
    try:
        answer = handle.agent.http_get(f"http://127.0.0.1:{port}{path}")
    except AgentError as error:
        raise ProxierError(f"{handle.name}: {path} of {what}: {error}") from error
    if answer.status != _OK:
        raise ProxierError(f"{handle.name}: {path} of {what}: HTTP {answer.status}")
    return answer.body


class NodeProcess(Process):
    """A program that was started."""

    def __init__(self, program: Program, handle: NodeHandle, pid: int, started_at: Instant) -> None:
        super().__init__(handle, program.what, proxy_cgroup(handle), started_at, program.tail)
        self.program = program
        self.pid = pid
        self._folder = proxy_folder(handle)
        self._log: str | None = None

    @classmethod
    def start(cls, program: Program, handle: NodeHandle) -> Self:
        """Put the files on the node and start the program; a start that fails leaves no secrets there."""
        folder = proxy_folder(handle)
        put_folder(handle.executor, folder, program.bundle)
        try:
            spawned = handle.agent.spawn(
                program.argv, log=f"{folder}/log", cgroup=proxy_cgroup(handle), env=program.env, grace_s=_GRACE_S
            )
        except AgentError as error:
            handle.executor.run(_removal(folder, program), check=False)
            raise ProxierError(f"{handle.name}: {program.what} could not be started: {error}") from error
        return cls(program, handle, spawned.pid, Instant(spawned.at_ns, handle.node.clock))

    def check(self) -> None:
        """Look after its cgroup, too: its CPU time is read there."""
        super().check()
        if not (self._stopped or self._lost) and (away := self._away()):
            raise self.lost(away)

    def check_alive(self) -> None:
        """Raise ProxierLostError with the log's tail when it has ended or stood still."""
        self.check_running()
        life = self.handle.agent.alive(self.pid)
        if not life.alive:
            raise self.lost(self.with_tail(_end(life.code)))
        if life.stood_still:
            raise self.lost(_STOOD_STILL)

    def _away(self) -> str:
        members = f"{self.cgroup}/cgroup.procs"
        found = self.handle.agent.read([members])[members]
        if found is None:
            return f"lost its cgroup {self.cgroup}"
        return "" if str(self.pid) in found.split() else f"was moved out of its cgroup {self.cgroup}"

    def stop(self, limit_s: float) -> None:
        """End it: SIGTERM, after the limit SIGKILL, and SIGKILL for all its children. Does nothing the second time.

        Raises ProxierError when it had to be killed or ended otherwise, ProxierLostError when it had ended or stood
        still before and that was not told yet.
        """
        if self._stopped:
            return
        self._stopped = True
        end = self.handle.agent.stop(self.pid, limit_s)
        commands = [_removal(self._folder, self.program), ["cat", f"{self._folder}/log"]]
        removed, log = run_together(self.handle.executor, commands, timeout=_READ_LIMIT)
        self._log = log.stdout if log.code == 0 else None
        if end.killed:
            raise self.error(f"did not end within {limit_s:g} s and was killed")
        if end.stood_still and not self._lost:
            raise self.lost(_STOOD_STILL)
        if self.program.good_ends is not None and not self._lost:
            if end.had_ended:
                raise self.lost(self.with_tail(_end(end.code)))
            if end.code not in self.program.good_ends:
                raise self.error(_end(end.code))
        if removed.code != 0:
            raise ProxierError(f"{self.handle.name}: its token could not be removed: {removed.stderr.strip()}")

    def log(self) -> str:
        """Return its log: the whole one after ``stop``, before it what is written so far."""
        if self._log is not None:
            return self._log
        return self.handle.executor.get(f"{self._folder}/log").decode(errors="replace")


def _end(code: int | None) -> str:
    return "has ended" if code is None else end_of(code)


def _removal(folder: str, program: Program) -> list[str]:
    return ["rm", "-f", *(f"{folder}/{name}" for name in program.secrets)]


class RunningProgram:
    """What every RunningProxy has that is one process on a node; ``_poll_s`` is between the first two looks at it."""

    _poll_s: ClassVar = 0.05

    def __init__(self, process: Process, clock: Clock) -> None:
        self._process = process
        self._clock = clock

    @property
    def handle(self) -> NodeHandle:
        """The node."""
        return self._process.handle

    @property
    def started_at(self) -> Instant:
        """When it was started, by the node's clock."""
        return self._process.started_at

    @property
    def cgroup(self) -> str | None:
        """The cgroup v2 folder on the node that holds the proxy and all its children."""
        return self._process.cgroup

    @property
    def no_cpu(self) -> str:
        """Why there is no such cgroup; "" where there is."""
        return self._process.no_cpu

    @property
    def periods(self) -> tuple[float, float] | None:
        """None: those that were planned."""
        return None

    def check(self) -> None:
        """Raise ProxierLostError when it has ended or stood still; never once it was stopped."""
        self._process.check()

    def stop(self, limit_s: float) -> None:
        """End it and all its children. Raises ProxierError when it had to be killed."""
        self._process.stop(limit_s)

    def log(self) -> str:
        """Return its log: the whole one after ``stop``."""
        return self._process.log()

    def _wait_while(self, missing: Callable[[], str], what: str, deadline: Deadline, limit_s: float) -> None:
        """Wait until nothing is missing, looking less often the longer it takes.

        Raises ProxierError with the log's tail: it ended, or ``what`` did not come within the limit.
        """
        start = self._clock.monotonic_ns()
        while lack := missing():
            self._process.check_alive()
            waited = (self._clock.monotonic_ns() - start) / NS_PER_S
            if waited >= limit_s:
                raise self._process.error(f"{what} within {limit_s:g} s ({lack})")
            self._clock.sleep(deadline.left(max(self._poll_s, _POLL_SHARE * waited)))
        self._process.check_alive()
