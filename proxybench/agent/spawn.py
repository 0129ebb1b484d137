"""Programs that the agent starts, watches and stops: each in its own session and, if asked, its own cgroup."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

from proxybench.agent.fields import OpError
from proxybench.agent.node import small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

NS_PER_S = 1_000_000_000
CHANGES = os.WEXITED | os.WSTOPPED | os.WCONTINUED  # the codes of the last two are above CLD_DUMPED (sigaction(2))
HELD_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CGROUP_LIMIT_S = 2.0  # how long killed members may take to leave their cgroup


class Process:
    """A program that was started; ``code`` is None while it runs, negative when a signal ended it.

    ``stood_still``: whether it was stopped (SIGSTOP), also for a while. Its zombie is kept until ``sweep``: so its pid,
    which is also its group's, cannot come to name a stranger.
    """

    def __init__(self, pid: int, cgroup: str | None, grace_s: float) -> None:
        self.pid = pid
        self.cgroup = cgroup
        self.grace_s = grace_s
        self.code: int | None = None
        self.stood_still = False

    def poll(self) -> int | None:
        """Return the exit code if the program has ended; note whether it stood still, which the kernel remembers."""
        if self.code is None:
            seen = os.waitid(os.P_PID, self.pid, CHANGES | os.WNOHANG | os.WNOWAIT)
            if seen is not None and seen.si_code > os.CLD_DUMPED:
                self.stood_still = True
            elif seen is not None:
                self.code = seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
        return self.code

    def signal(self, number: int) -> None:
        """Send a signal to the program, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def ask_to_end(self) -> None:
        """Send SIGTERM, which one that stands still heeds once it goes on."""
        self.signal(signal.SIGTERM)
        if self.stood_still:
            self.signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return whether it came within the time. Resolution: 1 to 20 ms."""
        deadline = time.monotonic_ns() + int(timeout_s * NS_PER_S)
        pause = 0.001
        while self.poll() is None:
            if time.monotonic_ns() >= deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        return True

    def sweep(self) -> bool:
        """Kill what the ended program left in its group or cgroup, remove the cgroup; return whether it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left: the usual case
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, os.WNOHANG)
        return self.cgroup is None or _remove_cgroup(self.cgroup)


def spawn(fields: Fields, state: State) -> dict[str, object]:
    """Start a program; its output goes to the end of ``log``. Raises OpError when it cannot be executed."""
    argv = fields.texts("argv")
    environment = fields.text_map("env")
    cgroup = fields.maybe_text("cgroup")
    log = fields.text("log")
    grace_s = fields.number("grace_s", 0, 600, 10)
    fields.finish()
    if not argv:
        raise OpError("argv must name a program")
    if cgroup is not None:
        _make_cgroup(cgroup)
    # Signals wait until the child is on the list: an agent told to stop must not forget one.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        at_ns = time.monotonic_ns()
        pid, problem = _fork(argv, {**os.environ, **environment}, cgroup, log)
        process = Process(pid, cgroup, grace_s)
        state.processes[pid] = process
        if problem:
            process.wait(CGROUP_LIMIT_S)
            process.sweep()
            del state.processes[pid]
            raise OpError(problem)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return {"pid": pid, "at_ns": at_ns}


def alive(fields: Fields, state: State) -> dict[str, object]:
    """Tell whether a spawned program still runs, its exit code if not, and whether it ever stood still."""
    process = _known(fields, state)
    fields.finish()
    code = process.poll()
    return {"alive": code is None, "code": code, "stood_still": process.stood_still}


def stop(fields: Fields, state: State) -> dict[str, object]:
    """End a program: TERM to it alone (its children may be in the middle of something), KILL to all at the end.

    ``had_ended``: whether it had before anybody asked it to.
    """
    process = _known(fields, state)
    timeout_s = fields.number("timeout_s", 0, 600)
    fields.finish()
    had_ended = process.poll() is not None
    process.ask_to_end()
    killed = not process.wait(timeout_s)
    if killed:
        process.signal(signal.SIGKILL)
        process.wait(CGROUP_LIMIT_S)
    removed = process.sweep()
    del state.processes[process.pid]
    return {
        "code": process.code,
        "killed": killed,
        "cgroup_removed": removed,
        "had_ended": had_ended,
        "stood_still": process.stood_still,
    }


def stop_all(processes: dict[int, Process]) -> None:
    """End every program at once, each with the grace given when it was spawned. Used when the agent ends."""
    for process in processes.values():
        process.ask_to_end()
    start = time.monotonic_ns()
    for process in processes.values():
        spent_s = (time.monotonic_ns() - start) / NS_PER_S
        if not process.wait(max(0.0, process.grace_s - spent_s)):
            process.signal(signal.SIGKILL)
            process.wait(CGROUP_LIMIT_S)
        process.sweep()
    processes.clear()


def _known(fields: Fields, state: State) -> Process:
    pid = fields.whole("pid", 1, 2**31)
    if pid not in state.processes:
        raise OpError(f"no program with pid {pid} was spawned here")
    return state.processes[pid]


def _fork(argv: list[str], env: dict[str, str], cgroup: str | None, log: str) -> tuple[int, str]:
    """Return the child's pid, and what kept it from executing the program ("" when it did)."""
    reader, writer = os.pipe()  # both ends close on exec: an empty read means that it happened
    pid = os.fork()
    if pid == 0:
        step = "start"
        try:
            for name, action in _steps(cgroup, log):
                step = name
                action()
            step = f"execute {argv[0]}"
            os.execvpe(argv[0], argv, env)  # noqa: S606 - an argument list, never a shell
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
            os.write(writer, f"cannot {step}: {getattr(error, 'strerror', None) or error}".encode())
        finally:
            os._exit(127)
    os.close(writer)
    try:
        problem = os.read(reader, 4096).decode("utf-8", "replace")
    finally:
        os.close(reader)
    return pid, problem


def _steps(cgroup: str | None, log: str) -> tuple[tuple[str, Callable[[], None]], ...]:
    """Name what a child does before it becomes the program; the cgroup comes first, so that all is counted."""
    return (
        (f"enter {cgroup}", lambda: _enter(cgroup)),
        ("leave the agent's session", os.setsid),
        (f"write {log}", lambda: _redirect(log)),
        ("reset signals", _reset_signals),
    )


def _enter(cgroup: str | None) -> None:
    if cgroup is None:
        return
    procs = os.open(f"{cgroup}/cgroup.procs", os.O_WRONLY)
    os.write(procs, str(os.getpid()).encode())
    os.close(procs)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _reset_signals() -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and exec would pass that on
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _make_cgroup(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
        if not os.path.exists(f"{path}/cgroup.procs"):
            raise OpError(f"{path} is not a cgroup v2 folder")
        if small_file(f"{path}/cgroup.procs"):
            raise OpError(f"{path} already holds processes")  # its members are killed at the end: never strangers
    except OSError as error:
        raise OpError(f"cannot make {path}: {error.strerror}") from None
    try:
        with open(f"{os.path.dirname(path)}/cgroup.subtree_control", "w") as control:
            control.write("+memory")
    except OSError:
        pass  # without the memory controller usage shows no memory, and all else


def _remove_cgroup(path: str) -> bool:
    """Kill the members and remove the folder; return whether it is gone."""
    deadline = time.monotonic_ns() + int(CGROUP_LIMIT_S * NS_PER_S)
    while True:
        for pid in (small_file(f"{path}/cgroup.procs") or "").split():
            with contextlib.suppress(ProcessLookupError):  # it went by itself
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic_ns() >= deadline:
                return False
            time.sleep(0.005)
        else:
            return True
