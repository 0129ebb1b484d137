"""Several nodes, connected at once and asked at once."""

from __future__ import annotations

import queue
import resource
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

from proxybench.errors import CommandTimeoutError, HostError
from proxybench.hosts.connect import DEFAULT_POLICY, ConnectPolicy, LinkPool
from proxybench.hosts.ssh import SshExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from proxybench.hosts.base import Executor
    from proxybench.hosts.inventory import SshTarget

_T = TypeVar("_T")
_CLOSE_SECONDS: Final = 10.0
AT_ONCE: Final = 256
"""Nodes that are connected to at a time. A jump host sees one connection that all go through."""
ASKED_AT_ONCE: Final = 512
"""Nodes that are asked at a time over connections that are there: they work, and we wait. All of 500 in one round."""
_FILES: Final = 4096
"""Open files for 500 nodes: a connection each, twice while a switch makes its own, and an ssh-agent's each."""


class Fleet:
    """One executor per node; connections to jump hosts are shared. A context manager: leaving it closes all."""

    def __init__(self, executors: Mapping[str, Executor], pool: LinkPool | None = None) -> None:
        """Take executors that are already open (fakes in tests); ``Fleet.connect`` makes real ones."""
        self._executors = dict(executors)
        self._pool = pool

    @classmethod
    def connect(cls, targets: Mapping[str, SshTarget], policy: ConnectPolicy = DEFAULT_POLICY) -> Self:
        """Connect to all nodes, by name, concurrently; all or none.

        Raises ConnectionLostError of the first bad node.
        """
        pool = LinkPool(policy)

        def opening(name: str, target: SshTarget) -> Callable[[], SshExecutor]:
            return lambda: SshExecutor(name, target, pool=pool, policy=policy)

        try:
            # A jump host and the node behind it are each allowed the policy's total and one more step.
            limit = 2 * (policy.total + policy.step)
            executors = together({name: opening(name, target) for name, target in targets.items()}, limit)
        except BaseException:
            pool.close()
            raise
        return cls(executors, pool)

    def __getitem__(self, name: str) -> Executor:
        return self._executors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._executors)

    def __len__(self) -> int:
        return len(self._executors)

    def fan_out(
        self, work: Callable[[Executor], _T], *, timeout: float, nodes: Iterable[str] | None = None
    ) -> dict[str, _T]:
        """Call ``work`` with each node's executor (or ``nodes``'), ``ASKED_AT_ONCE`` at a time; results so ordered.

        Waits for all of them, then raises the first node's error, the others' attached as notes. When ``timeout``
        seconds pass: closes the connections of the late nodes and raises CommandTimeoutError naming them.
        """
        names = list(self._executors if nodes is None else nodes)

        def working(name: str) -> Callable[[], _T]:
            return lambda: work(self._executors[name])

        return together({name: working(name) for name in names}, timeout, self._cut, ASKED_AT_ONCE)

    def ask(
        self, work: Callable[[Executor], _T], *, timeout: float, nodes: Iterable[str], further: Collection[str]
    ) -> tuple[dict[str, _T], dict[str, str]]:
        """Do as ``fan_out``; one of ``further`` that fails or is late stops no other: the fleet goes on without it.

        Returns results, and why there are none, by name. Raises HostError of any other node.
        """

        def working(name: str) -> Callable[[], _T]:
            return lambda: work(self._executors[name])

        jobs = {name: working(name) for name in nodes}
        results, lost = together_but(jobs, timeout, further, self._cut, ASKED_AT_ONCE)
        self.leave_out(lost)
        return results, lost

    def leave_out(self, names: Iterable[str]) -> None:
        """Close connections, and know them no more. Never raises."""
        close_together([self._executors.pop(name).close for name in tuple(names)])

    def close(self) -> None:
        """Close all connections, nodes before jump hosts. Never raises."""
        close_together([executor.close for executor in self._executors.values()])
        if self._pool is not None:
            self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self, names: Iterable[str]) -> None:
        for name in names:
            threading.Thread(target=self._executors[name].close, daemon=True).start()


class Reached(NamedTuple):
    """The nodes that were reached, and why others were not, by name."""

    fleet: Fleet
    lost: Mapping[str, str]


def reach(targets: Mapping[str, SshTarget], policy: ConnectPolicy = DEFAULT_POLICY, at_once: int = AT_ONCE) -> Reached:
    """Connect to all nodes that can be reached, at most ``at_once`` at a time: one that is dead stops no other."""
    pool = LinkPool(policy)

    def opening(name: str, target: SshTarget) -> Callable[[], SshExecutor | str]:
        def job() -> SshExecutor | str:
            try:
                return SshExecutor(name, target, pool=pool, policy=policy)
            except HostError as error:
                return str(error)

        return job

    allow_files()
    rounds = -(-len(targets) // at_once)
    limit = 2 * rounds * (policy.total + policy.step)
    try:
        jobs = {name: opening(name, target) for name, target in targets.items()}
        ended = together(jobs, limit, at_once=at_once)
    except BaseException:
        pool.close()
        raise
    there = {name: one for name, one in ended.items() if not isinstance(one, str)}
    return Reached(Fleet(there, pool), {name: one for name, one in ended.items() if isinstance(one, str)})


def close_together(closers: Iterable[Callable[[], None]]) -> None:
    """Call all at once, which raise nothing, and wait up to 10 s for them."""
    threads = [threading.Thread(target=closer, daemon=True) for closer in closers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _CLOSE_SECONDS
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))


def allow_files() -> None:
    """Let this process have as many files open as hundreds of nodes take, up to the most that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def together(
    jobs: Mapping[str, Callable[[], _T]],
    timeout: float,
    cut: Callable[[Iterable[str]], None] = lambda _names: None,
    at_once: int = AT_ONCE,
) -> dict[str, _T]:
    """Run all jobs, ``at_once`` at a time, in threads; return their results in the jobs' order.

    Raises what ``Fleet.fan_out`` says. ``cut`` is told the names of the jobs that have not ended when the time is over
    or the caller is interrupted; no further one begins then. The threads are daemons, so they never keep the program
    from ending.
    """
    return together_but(jobs, timeout, (), cut, at_once)[0]


def together_but(
    jobs: Mapping[str, Callable[[], _T]],
    timeout: float,
    further: Collection[str],
    cut: Callable[[Iterable[str]], None] = lambda _names: None,
    at_once: int = AT_ONCE,
) -> tuple[dict[str, _T], dict[str, str]]:
    """Do as ``together``; of those in ``further`` that raise HostError or are late tell why instead."""
    ended: queue.SimpleQueue[tuple[str, _T | None, BaseException | None]] = queue.SimpleQueue()
    left = deque(jobs.items())
    deadline = time.monotonic() + timeout
    waiting = dict.fromkeys(jobs)
    results: dict[str, _T | None] = {}
    errors: dict[str, BaseException] = {}
    try:
        for number in range(min(at_once, len(jobs))):
            threading.Thread(target=_take, args=(left, ended), name=f"nodes-{number}", daemon=True).start()
        while waiting:
            name, result, error = ended.get(timeout=max(deadline - time.monotonic(), 0.001))
            del waiting[name]
            if error is None:
                results[name] = result
            else:
                errors[name] = error
    except queue.Empty:
        left.clear()
        cut(tuple(waiting))
        if needed := [name for name in waiting if name not in further]:
            raise CommandTimeoutError(f"no end within {timeout:g} s on {', '.join(needed)}") from None
        errors |= {name: CommandTimeoutError(f"{name}: no end within {timeout:g} s") for name in waiting}
    except BaseException:
        left.clear()
        cut(tuple(waiting))
        raise
    lost = {name: str(error) for name, error in errors.items() if name in further and isinstance(error, HostError)}
    _raise_first([errors[name] for name in jobs if name in errors and name not in lost])
    return {name: results[name] for name in jobs if name not in lost}, lost  # type: ignore[misc]  # ended without error


def _take(
    left: deque[tuple[str, Callable[[], _T]]],
    ended: queue.SimpleQueue[tuple[str, _T | None, BaseException | None]],
) -> None:
    while True:
        try:
            name, job = left.popleft()
        except IndexError:
            return
        try:
            ended.put((name, job(), None))
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            ended.put((name, None, error))


def _raise_first(errors: list[BaseException]) -> None:
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"also: {other}")
        raise errors[0]
