"""A worker: takes its steps one after the other on one cluster, over as many connections as that takes."""

from __future__ import annotations

import traceback
from collections import deque
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from proxybench.errors import ApiError, ConnectionLostError, HostError, ProxybenchError
from proxybench.scenarios.result import StepResult
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from threading import Event

    from proxybench.deadline import Deadline
    from proxybench.experiment.matrix import Step
    from proxybench.nodes.kernel.state import KernelState
    from proxybench.nodes.machine import Machine
    from proxybench.run.progress import Progress
    from proxybench.units import Clock

_CONNECTS = 3  # tries to reach a cluster, each with its own retries per node (hosts/connect.py)
_PAUSE = 2.0  # seconds between two of them


class Session(Protocol):
    """One connection to a cluster: good for steps until it breaks."""

    @property
    def broken(self) -> bool:
        """Whether a node can no longer be asked."""
        ...

    def capture(self) -> Mapping[str, KernelState]:
        """Read what may differ once something has run: the nodes' kernels. Raises ProxierError, HostError."""
        ...

    def restore(self, before: Mapping[str, KernelState], whole: Deadline) -> None:
        """Bring API and nodes back to what they were ``before``. Raises ProxierError, HostError, ApiError."""
        ...

    def machines(self) -> tuple[Mapping[str, Machine], Sequence[str]]:
        """Describe every node, and name those that run a Service proxy. Raises HostError."""
        ...

    def get_ready(self, whole: Deadline) -> None:
        """Wait for what would take the first step's time. Raises HostError, MeasurementError."""
        ...

    def warm_up(self, steps: Sequence[Step], whole: Deadline) -> None:
        """Do once, unmeasured, what these steps will do. Raises ConnectionLostError."""
        ...

    def take(self, step: Step, whole: Deadline, report: Callable[[str], None]) -> StepResult:
        """Take a step; most of what goes wrong is in the result. Raises ProxybenchError between the nodes' work."""
        ...


class Journal(Protocol):
    """Where a worker records; ``run.journal.RunJournal`` is one."""

    def record_machines(self, machines: Mapping[str, Machine], proxies: Sequence[str]) -> None:
        """Keep what the nodes are."""
        ...

    def record_step(self, step: Step, result: StepResult, seconds: float) -> None:
        """Keep what a step brought."""
        ...


class Worker:
    """Lives as long as one cluster. ``connect`` makes a session; leaving the stack ends it."""

    def __init__(
        self,
        connect: Callable[[ExitStack], Session],
        steps: Sequence[Step],
        journal: Journal,
        progress: Progress,
        clock: Clock,
        stop: Event,
    ) -> None:
        self._connect = connect
        self._steps = steps
        self._left = deque(steps)
        self._journal = journal
        self._progress = progress
        self._clock = clock
        self._stop = stop
        self._before: Mapping[str, KernelState] | None = None  # the nodes' kernels before anything ran
        self._warm = False
        self._lock = Lock()
        self._held = ExitStack()  # what ends the connections that there are
        self._is_cut = False

    def cut(self) -> None:
        """End its connections, from another thread: whatever it still does reaches nobody. Never raises."""
        with self._lock:
            self._is_cut = True
            held = self._held
        held.close()

    def work(self, whole: Deadline) -> None:
        """Connect and take the steps; ``whole`` is the run's time limit.

        A step in which a connection or an agent is lost has failed. The worker then connects anew, restores the nodes
        and goes on with the next one. When the cluster cannot be reached any more, the steps that are left fail with
        that reason. Raises RunError only when the disk refuses.
        """
        while self._left and not self._stop.is_set():
            with ExitStack() as stack:
                try:
                    session = self._reach(stack, whole)
                except ProxybenchError as error:
                    self._give_up(error)
                    return
                good = True
                while good and self._left and not self._stop.is_set():
                    good = self._take(session, self._left.popleft(), whole)

    def _reach(self, stack: ExitStack, whole: Deadline) -> Session:
        """Connect, in a few tries, and make the cluster ready for a step."""
        retrying = Retrying(
            retry=retry_if_exception_type((HostError, ApiError)),
            stop=stop_after_attempt(_CONNECTS),
            wait=wait_fixed(_PAUSE),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return retrying(self._reach_once, stack, whole)

    def _reach_once(self, stack: ExitStack, whole: Deadline) -> Session:
        whole.left(1)
        with ExitStack() as own:
            session = self._connect(own)
            self._hold(own)
            if self._before is None:
                self._before = session.capture()
            else:
                self._progress.note("connected anew; cleaning the nodes")
                session.restore(self._before, whole)
            self._journal.record_machines(*session.machines())
            session.get_ready(whole)
            if not self._warm:
                session.warm_up(self._steps, whole)
                self._warm = True
            stack.push(own.pop_all())
            self._hold(stack)
        return session

    def _hold(self, stack: ExitStack) -> None:
        """Note what ends the connections. Raises ConnectionLostError when they are to be ended already."""
        with self._lock:
            if self._is_cut:
                raise ConnectionLostError("the run is being stopped")
            self._held = stack

    def _give_up(self, error: ProxybenchError) -> None:
        while self._left and not self._stop.is_set():
            step = self._left.popleft()
            self._progress.step_started(step)
            self._journal.record_step(step, StepResult(problems=[str(error)]), 0.0)
            self._progress.step_finished(step, 0.0, str(error))

    def _take(self, session: Session, step: Step, whole: Deadline) -> bool:
        """Take a step and return whether the session is good for another."""
        self._progress.step_started(step)
        started = self._clock.monotonic_ns()
        try:
            result = session.take(step, whole, partial(self._report, step))
        except ProxybenchError as error:  # between the nodes' work, so that nobody knows what the API holds now
            result = StepResult(problems=[str(error)], lost=True)
        except Exception as error:  # noqa: BLE001 - a fault of our own costs the step in which it shows, not the others
            result = _unforeseen(step, error)
        if result.problems and self._stop.is_set():
            return False  # the cluster was taken away on purpose; the step counts as not taken
        for note in (*result.notes, *filter(None, (result.late, result.skipped))):
            self._progress.note(f"{step.cell.subject.label} at {step.cell.services} Services: {note}")
        seconds = (self._clock.monotonic_ns() - started) / NS_PER_S
        self._journal.record_step(step, result, seconds)
        self._progress.step_finished(step, seconds, "; ".join(result.problems) or None)
        return not (result.lost or session.broken)

    def _report(self, step: Step, text: str) -> None:
        """Show what a step does. Raises ConnectionLostError, also in the middle of a bulk of writes, at the end."""
        if self._stop.is_set():
            raise ConnectionLostError("the run is being stopped")
        self._progress.step_activity(step, text)


def _unforeseen(step: Step, error: Exception) -> StepResult:
    """Return a failed step with the cause in one line; where it came from is in a log of the run's folder."""
    cause = " ".join(f"unexpected {type(error).__name__}: {error}".split())
    name = f"{step.index:03d}-unexpected.log"
    return StepResult(problems=[f"{cause} (logs/{name})"], lost=True, logs={name: traceback.format_exc()})
