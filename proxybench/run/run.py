"""The main job: from an experiment, on a target, to a folder of results."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Protocol

from proxybench.columns import flat
from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.experiment.matrix import expand
from proxybench.run.journal import RunJournal
from proxybench.run.outcome import RunOutcome
from proxybench.run.schedule import assign
from proxybench.run.session import Assignment
from proxybench.run.stopping import StoppableClock
from proxybench.run.worker import Worker
from proxybench.stats.summary import summarise
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.nodes.cluster import Cluster
    from proxybench.run.lineup import Lineup
    from proxybench.run.progress import Progress
    from proxybench.run.worker import Session
    from proxybench.targets.base import Target
    from proxybench.units import Clock


class Connect(Protocol):
    """How a cluster is reached; ``run.session.Sessions.connect`` is one."""

    def __call__(self, cluster: Cluster, assignment: Assignment, stack: ExitStack) -> Session:
        """Connect; leaving ``stack`` ends the connection. Raises HostError, ApiError."""
        ...


class Run:
    """One run of an experiment: measures ``lineup`` on the clusters that ``target`` opens and ``connect`` reaches."""

    def __init__(
        self,
        experiment: Experiment,
        target: Target,
        connect: Connect,
        progress: Progress,
        lineup: Lineup,
        clock: Clock | None = None,
    ) -> None:
        self._experiment = experiment
        self._target = target
        self._connect = connect
        self._progress = progress
        self._lineup = lineup
        self._clock = clock or SystemClock()

    def start(self, out: Path) -> RunOutcome:
        """Walk the matrix and write results below ``out``; what was measured is on the disk after every step.

        Raises ProxybenchError when the run cannot begin at all, and lets an interrupt through, after the clusters are
        given back and the folder says so.
        """
        steps = self._steps()
        journal = RunJournal.create(out, self._experiment, steps, self._target.facts, self._clock, self._lineup)
        return self._walk(journal, steps)

    def resume(self, folder: Path) -> RunOutcome:
        """Go on with an unfinished run. Raises RunError when it does not fit; otherwise as ``start``."""
        steps = self._steps()
        journal, done = RunJournal.resume(folder, self._experiment, self._target.facts, self._clock)
        self._progress.note(f"resuming: {len(done)} of {len(steps)} steps are done")
        if journal.folder.aside:
            kept = f"{journal.folder.path}/parts/abandoned"
            self._progress.note(f"what the others brought does not count and lies in {kept}")
        return self._walk(journal, [step for step in steps if step.index not in done])

    def _steps(self) -> tuple[Step, ...]:
        return expand(self._experiment, tuple(self._lineup.specs))

    def _walk(self, journal: RunJournal, steps: Sequence[Step]) -> RunOutcome:
        try:
            if steps:
                self._work(journal, steps)
        except KeyboardInterrupt:
            journal.finish("interrupted")
            raise
        except ProxybenchError as error:
            journal.record_error(str(error))
        journal.finish("complete" if journal.complete else "incomplete")
        records = summarise(journal.folder.samples())
        journal.folder.finish(records)
        return RunOutcome(journal.folder.path, journal.problems, tuple(flat(record) for record in records))

    def _work(self, journal: RunJournal, steps: Sequence[Step]) -> None:
        stop = Event()
        clock = StoppableClock(self._clock, stop)
        assigned = assign(steps, self._target.capacity())
        whole = Deadline(self._clock, self._experiment.limits.run, "the run")
        with ThreadPoolExecutor(len(assigned), "worker") as pool, ExitStack() as opened:
            self._progress.stage("opening a cluster" if len(assigned) == 1 else f"opening {len(assigned)} clusters")
            clusters = opened.enter_context(self._target.open(len(assigned), self._progress.note))
            # Told first, given back then: a worker that waits for a node notices that it is gone.
            opened.callback(stop.set)
            self._progress.stage("connecting to the nodes")
            self._progress.plan(steps, len(assigned))
            futures = [
                pool.submit(self._worker(cluster, own, journal, clock, stop).work, whole)
                for cluster, own in zip(clusters, assigned, strict=True)
            ]
            wait(futures)  # one that fails is no reason for the others to end
            for future in futures:
                try:
                    future.result()
                except ProxybenchError as error:
                    journal.record_error(str(error))

    def _worker(
        self, cluster: Cluster, steps: Sequence[Step], journal: RunJournal, clock: StoppableClock, stop: Event
    ) -> Worker:
        assignment = Assignment(journal.folder.run, self._experiment, steps, clock, self._progress.note)
        connect = partial(self._connect, cluster, assignment)
        return Worker(connect, steps, journal, self._progress, clock, stop)
