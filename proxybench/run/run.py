"""The main job: from an experiment, on a target, to a folder of results."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Final

from proxybench.columns import flat
from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.interrupts import UndisturbedStack
from proxybench.results.folder import held, open_run
from proxybench.run.journal import LegJournal, RunJournal
from proxybench.run.leg import clock_of, steps_of
from proxybench.run.outcome import RunOutcome
from proxybench.run.schedule import assign
from proxybench.run.session import Assignment
from proxybench.run.stopping import StoppableClock
from proxybench.run.worker import Worker
from proxybench.stats.summary import summarise
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.nodes.cluster import Cluster
    from proxybench.run.leg import Leg
    from proxybench.run.lineup import Lineup
    from proxybench.run.progress import Progress
    from proxybench.targets.base import TargetFacts
    from proxybench.units import Clock

PATIENCE: Final = 60.0
"""Seconds that a step may take to notice that its cluster is to be given back."""


class Run:
    """One run of an experiment: measures ``lineup`` in each of its legs, one after the other.

    ``began`` is told the run's folder before anything is opened. ``patience`` as ``PATIENCE``.
    """

    def __init__(
        self,
        experiment: Experiment,
        legs: Sequence[Leg],
        progress: Progress,
        lineup: Lineup,
        clock: Clock | None = None,
        began: Callable[[Path], None] = lambda _: None,
        patience: float = PATIENCE,
    ) -> None:
        self._experiment = experiment
        self._legs = legs
        self._progress = progress
        self._lineup = lineup
        self._clock = clock or SystemClock()
        self._began = began
        self._patience = patience

    def start(self, out: Path) -> RunOutcome:
        """Walk the matrix and write results below ``out``; what was measured is on the disk after every step.

        Raises ProxybenchError when the run cannot begin at all, and lets an interrupt through, after the clusters are
        given back and the folder says so.
        """
        steps = self._steps()
        journal = RunJournal.create(out, self._experiment, steps, self._facts, self._clock, self._lineup)
        with held(journal.folder.path):
            return self._walk(journal, steps)

    def resume(self, folder: Path) -> RunOutcome:
        """Go on with an unfinished run. Raises UsageError when it does not fit, ResultsError; else as ``start``."""
        steps = self._steps()
        with held(open_run(folder).path):
            journal, done = RunJournal.resume(folder, self._experiment, self._facts, self._clock)
            self._progress.note(f"resuming: {len(done)} of {len(steps)} steps are done")
            for line in journal.folder.lost:
                self._progress.note(line)
            if journal.folder.aside:
                kept = f"{journal.folder.path}/parts/abandoned"
                self._progress.note(f"what the others brought does not count and lies in {kept}")
            return self._walk(journal, [step for step in steps if step.index not in done])

    @property
    def _facts(self) -> tuple[TargetFacts, ...]:
        return tuple(leg.target.facts for leg in self._legs)

    def _steps(self) -> tuple[Step, ...]:
        return steps_of(self._experiment, self._legs, self._lineup.specs)

    def _walk(self, journal: RunJournal, steps: Sequence[Step]) -> RunOutcome:
        whole = Deadline(self._clock, self._experiment.limits.run, "the run")
        self._began(journal.folder.path)
        try:
            for leg in self._legs:
                clock = clock_of(leg, self._legs)
                if own := [step for step in steps if step.clock is clock]:
                    self._measure(leg, journal, own, whole)
        except KeyboardInterrupt:
            journal.finish("interrupted")
            raise
        journal.finish("complete" if journal.complete else "incomplete")
        records = summarise(journal.folder.samples())
        journal.folder.finish(records)
        return RunOutcome(journal.folder.path, journal.problems, tuple(flat(record) for record in records))

    def _measure(self, leg: Leg, journal: RunJournal, steps: Sequence[Step], whole: Deadline) -> None:
        """Take a leg's steps; one that cannot be had at all is a problem, and the next one goes on."""
        try:
            self._work(leg, journal, steps, whole)
        except ProxybenchError as error:
            journal.record_error(str(error))

    def _work(self, leg: Leg, journal: RunJournal, steps: Sequence[Step], whole: Deadline) -> None:
        clock = StoppableClock(self._clock, leg.stop)
        futures: list[Future[None]] = []
        workers: list[Worker] = []
        assigned = assign(steps, leg.target.capacity())
        with ThreadPoolExecutor(len(assigned), "worker") as pool, UndisturbedStack() as opened:
            self._progress.stage("opening a cluster" if len(assigned) == 1 else f"opening {len(assigned)} clusters")
            clusters = opened.enter_context(leg.target.open(len(assigned), self._progress.note))
            # Told first, given back then: a worker that waits for a lab's node notices that it is gone. Nodes that
            # stay do not tell it, and it could write to the API or switch after all was put back: it is waited for.
            if not leg.target.facts.starts_proxies:
                opened.callback(self._await_end, futures, workers)
            opened.callback(leg.stop.set)
            self._progress.stage("connecting to the nodes")
            self._progress.plan(steps, len(assigned))
            workers += [
                self._worker(leg, cluster, own, journal, clock) for cluster, own in zip(clusters, assigned, strict=True)
            ]
            futures += [pool.submit(worker.work, whole) for worker in workers]
            wait(futures)  # one that fails is no reason for the others to end
            for future in futures:
                try:
                    future.result()
                except ProxybenchError as error:
                    journal.record_error(str(error))
                except Exception as error:  # noqa: BLE001 - a fault of our own; what was measured is to be had all the same
                    journal.record_error(f"unexpected {type(error).__name__}: {error}")

    def _await_end(self, futures: Sequence[Future[None]], workers: Sequence[Worker]) -> None:
        """Wait for the workers; one that does not end loses its connections, so that it can write no more."""
        if wait(futures, self._patience).not_done:
            note = f"a step has not ended within {self._patience:g} s; its connections are cut"
            self._progress.note(f"{note}, and the cluster is given back")
            for worker in workers:
                worker.cut()

    def _worker(
        self, leg: Leg, cluster: Cluster, steps: Sequence[Step], journal: RunJournal, clock: StoppableClock
    ) -> Worker:
        assignment = Assignment(journal.folder.run, self._experiment, steps, clock, self._progress.note)
        connect = partial(leg.connect, cluster, assignment)
        own = LegJournal(journal, clock_of(leg, self._legs))
        return Worker(connect, steps, own, self._progress, clock, leg.stop)
