"""The Service proxies of one step: one on each node that runs one, and what those nodes' kernels were before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from proxybench.errors import CommandTimeoutError, ConnectionLostError, ProxybenchError
from proxybench.hosts.fleet import ASKED_AT_ONCE, together
from proxybench.nodes.kernel.capture import Tools, capture
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.state import added
from proxybench.scenarios.base import Contender, Rivals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.deadline import Deadline
    from proxybench.model import Mode
    from proxybench.nodes.kernel.state import KernelState, Thing
    from proxybench.nodes.node import NodeHandle
    from proxybench.scenarios.result import StepResult
    from proxybench.subjects.driver import RunningProxy

_T = TypeVar("_T")
_READY_LIMIT = 300.0
_STOP_LIMIT = 120.0
_FIND_LIMIT = 300.0  # of one that runs already: several questions, each with a limit of its own
_CHECK_LIMIT = 120.0
_END_LIMIT = 300.0  # to stop watching it, and to read its log


class KernelGuard(Protocol):
    """Notes what a node's kernel holds, and puts it back."""

    def capture(self, handle: NodeHandle) -> None:
        """Note it. Raises ProxierError and HostError."""
        ...

    def look(self, handle: NodeHandle) -> tuple[Thing, ...]:
        """Return what is there by now that was not noted. Raises ProxierError and HostError."""
        ...

    def restore(self, handle: NodeHandle) -> tuple[str, ...]:
        """Put back what was noted; return in lines for people what had been left. Raises ProxierError and HostError.

        Does nothing on a node of which nothing was noted.
        """
        ...


class NodeKernels:
    """Implements KernelGuard by ``nodes.kernel``; ``exclusive`` as in ``Traits`` of the cluster."""

    def __init__(self, *, exclusive: bool) -> None:
        self._exclusive = exclusive
        self._before: dict[str, KernelState] = {}

    def capture(self, handle: NodeHandle) -> None:
        """Note what the node's kernel holds. Raises ProxierError and HostError."""
        self._before[handle.name] = capture(handle.executor, self._tools(handle))

    def look(self, handle: NodeHandle) -> tuple[Thing, ...]:
        """Return what came since. Raises ProxierError and HostError."""
        return added(self._before[handle.name], capture(handle.executor, self._tools(handle)))

    def restore(self, handle: NodeHandle) -> tuple[str, ...]:
        """Put it back. Raises ProxierError and HostError."""
        before = self._before.get(handle.name)
        return () if before is None else restore(handle.executor, before, self._tools(handle))

    def _tools(self, handle: NodeHandle) -> Tools:
        return Tools.of(handle.node, exclusive=self._exclusive)


class NoKernels:
    """Implements KernelGuard where nodes' kernels are not ours: looks at nothing, removes nothing."""

    def capture(self, handle: NodeHandle) -> None:
        """Note nothing."""

    def look(self, handle: NodeHandle) -> tuple[Thing, ...]:
        """See nothing."""
        del handle
        return ()

    def restore(self, handle: NodeHandle) -> tuple[str, ...]:
        """Put nothing back."""
        del handle
        return ()


@dataclass(frozen=True)
class Launcher:
    """A subject: how it is started on a node, and how it removes there what it made."""

    label: str
    mode: Mode
    launch: Callable[[NodeHandle], RunningProxy]
    clean: Callable[[NodeHandle], None]


@dataclass(frozen=True)
class _Ended:
    """What one left when it was stopped: its log and its files by name, as far as they could be read."""

    log: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    error: ProxybenchError | None = None


class Proxies:
    """Starts the subject on nodes (the measured one first), stops it, and puts the nodes' kernels back.

    ``launch`` starts it on a node and returns at once; ``ready`` is called before, once, for all nodes. What a subject
    leaves in the kernel is no fault of a step: it is noted, and removed. ``min_sync_period`` is the subject's, in
    seconds; ``in_endpoints``: whether it reads Endpoints objects. ``pair`` is the subject and the one that it is
    migrated to, where it is. ``at_once``: all nodes are asked at the same time; else one after the other, so that what
    they do comes in the same order each time.
    """

    def __init__(
        self,
        handles: Sequence[NodeHandle],
        launch: Callable[[NodeHandle], RunningProxy],
        kernels: KernelGuard,
        min_sync_period: float,
        *,
        ready: Callable[[], None] = lambda: None,
        in_endpoints: bool = False,
        pair: Sequence[Launcher] = (),
        at_once: bool = False,
    ) -> None:
        self.min_sync_period = min_sync_period
        self.in_endpoints = in_endpoints
        self._handles = tuple(handles)
        self._launch = launch
        self._kernels = kernels
        self._ready = ready
        self._pair = tuple(pair)
        self._at_once = at_once
        self._started: list[RunningProxy] = []

    def prepare(self) -> None:
        """Have the nodes made ready for it, and note what their kernels hold.

        Raises ProxierError and HostError, and as ``ProxyDriver.prepare`` does.
        """
        self._ready()
        for handle in self._handles:
            self._kernels.capture(handle)

    def start_measured(self) -> RunningProxy:
        """Start it on the measured node, and return at once. Raises ProxierError."""
        return self._start(self._handles[0])

    def stop_measured(self) -> None:
        """End all that were started on the measured node; their logs are kept. Raises ProxierError."""
        for proxy in self._started:
            if proxy.handle.name == self._handles[0].name:
                proxy.stop(_STOP_LIMIT)

    def second(self) -> RunningProxy | None:
        """Return the one that was started last on the second node; None where it does not run there."""
        if len(self._handles) < 2:  # noqa: PLR2004 - the second node
            return None
        name = self._handles[1].name
        return next((proxy for proxy in reversed(self._started) if proxy.handle.name == name), None)

    def check(self) -> None:
        """Look whether all that were started can still be measured. Raises ProxierLostError, HostError."""
        self._each({title: proxy.check for title, proxy in self._titled()}, _CHECK_LIMIT)

    def rivals(self) -> Rivals | None:
        """Return the subject and the one it is migrated to, on the measured node; None without such a pair."""
        measured = self._handles[0]

        def contender(one: Launcher) -> Contender:
            return Contender(
                one.label, one.mode, lambda: self._start(measured, one.launch), lambda: one.clean(measured)
            )

        if not self._pair:
            return None
        own, other = self._pair
        return Rivals(contender(own), contender(other), lambda: self._kernels.look(measured))

    def start_others(self, deadline: Deadline) -> None:
        """Start it on all other nodes, and wait until it is ready there.

        Raises ProxierError, and ConnectionLostError where many are started at once and one is late.
        """
        self._start_all(self._handles[1:], deadline, _READY_LIMIT)

    def start_all(self, deadline: Deadline, limit_s: float) -> None:
        """Start it on all nodes, and wait until it is ready there. Raises ProxierError."""
        self._start_all(self._handles, deadline, limit_s)

    def _start_all(self, handles: Sequence[NodeHandle], deadline: Deadline, limit_s: float) -> None:
        if not handles:
            return
        starts = {handle.name: partial(self._start, handle) for handle in handles}
        started = self._each(starts, deadline.left(_FIND_LIMIT))
        waits = {name: partial(proxy.wait_ready, deadline, limit_s) for name, proxy in started.items()}
        self._each(waits, limit_s + _CHECK_LIMIT)

    def stop(self, result: StepResult, prefix: str) -> None:
        """Stop all that were started, keep their logs and files by name, and put the kernels back.

        Never raises: what goes wrong is a problem of the step. After a lost connection nothing is put back; whoever
        connects anew does that.
        """
        started = self._titled()
        ended: dict[str, _Ended] = {}
        try:
            self._each({title: partial(_end, proxy, title, ended) for title, proxy in started}, _END_LIMIT)
        except ConnectionLostError as error:  # of the others all is there
            result.record_error("stopping", error)
        for title, proxy in started:
            one = ended.get(title, _Ended())
            files = {f"{prefix}-{title}-{file}": text for file, text in one.files.items()}
            if title == self._handles[0].name:
                result.cgroup, result.no_cpu, result.config = proxy.cgroup, proxy.no_cpu, next(iter(files), "")
            if one.log is not None:
                result.logs[f"{prefix}-{title}.log"] = one.log
            result.logs.update(files)
            if one.error and not result.lost:  # else the cause is known, and this is its consequence
                result.record_error(f"stopping on {proxy.handle.name}", one.error)
        for handle in () if result.lost else self._handles:
            self._put_back(handle, result, prefix)

    def _titled(self) -> list[tuple[str, RunningProxy]]:
        """Return all that were started, each with its node's name, numbered where several were on it."""
        counts: Counter[str] = Counter()
        titled = []
        started = list(self._started)
        if self._at_once:  # they came as they were found
            order = [handle.name for handle in self._handles]
            started.sort(key=lambda proxy: order.index(proxy.handle.name))
        for proxy in started:
            name = proxy.handle.name
            counts[name] += 1
            titled.append((f"{name}-{counts[name]}" if counts[name] > 1 else name, proxy))
        return titled

    def _each(self, jobs: Mapping[str, Callable[[], _T]], limit_s: float) -> dict[str, _T]:
        if not self._at_once:
            return {name: job() for name, job in jobs.items()}
        try:
            return together(jobs, limit_s, at_once=ASKED_AT_ONCE)
        except CommandTimeoutError as error:  # who is late goes on, over connections that are used no more
            raise ConnectionLostError(str(error)) from error

    def _put_back(self, handle: NodeHandle, result: StepResult, prefix: str) -> None:
        try:
            left = self._kernels.restore(handle)
        except ProxybenchError as error:
            result.record_error(f"cleaning {handle.name}", error)
            return
        if left:
            log = f"{prefix}-{handle.name}-left.log"
            more = f" and {len(left) - 1} more, see logs/{log}" if len(left) > 1 else ""
            result.notes.append(f"left on {handle.name}, and removed: {left[0]}{more}")
            result.logs[log] = "".join(f"{line}\n" for line in left)

    def _start(self, handle: NodeHandle, launch: Callable[[NodeHandle], RunningProxy] | None = None) -> RunningProxy:
        proxy = (launch or self._launch)(handle)
        self._started.append(proxy)
        return proxy


def _end(proxy: RunningProxy, title: str, ended: dict[str, _Ended]) -> None:
    """Stop it, and read what it leaves; what goes wrong is noted there, too."""
    log, files = None, {}
    try:
        try:
            proxy.stop(_STOP_LIMIT)
        finally:  # above all of one that would not stop
            log = proxy.log()
            files = dict(proxy.files())
    except ProxybenchError as error:
        ended[title] = _Ended(log, files, error)
    else:
        ended[title] = _Ended(log, files)
