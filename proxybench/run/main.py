"""The main job: from an experiment to a folder of results and its report."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from proxybench.columns import flat
from proxybench.deadline import Deadline
from proxybench.errors import ProxybenchError
from proxybench.experiment.matrix import expand
from proxybench.model import ClockKind
from proxybench.report.page import write_report
from proxybench.run.journal import Book
from proxybench.run.outcome import RunOutcome
from proxybench.run.worker import Shard, split
from proxybench.stats.summary import summarise
from proxybench.targets.lab.choose import choose
from proxybench.units import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.spec import Experiment
    from proxybench.run.progress import Progress
    from proxybench.targets.lab.choose import Choice
    from proxybench.units import Clock

# A step waits a good part of its time, for periods to pass and for SSH: one guest more than there are processors.
_MOST_SHARDS = 3
_SHARD_BYTES = 3 << 30  # what a guest and its API server may take


def run_experiment(
    experiment: Experiment, out: Path, *, resume: Path | None, progress: Progress, clock: Clock | None = None
) -> RunOutcome:
    """Walk the matrix in a lab and write results below ``out``, or go on with the run in ``resume``.

    What was measured is on disk after every step. Raises ProxybenchError when the run cannot begin at all, and lets an
    interrupt through, after the lab is gone and the folder says so.
    """
    clock = clock or SystemClock()
    progress.stage("looking at what this machine can do")
    lab = experiment.target.lab
    choice = choose(lab.kind, lab.clock, experiment.modes, progress.note)
    progress.note(f"lab: {choice.kind}, clock: {choice.settings.clock} ({choice.why})")
    steps = expand(experiment)
    done: tuple[int, ...] = ()
    if resume is None:
        book = Book.begin(out, experiment, steps, choice, clock)
    else:
        book, done = Book.go_on(resume, experiment, choice, clock)
        progress.note(f"resuming: {len(done)} of {len(steps)} steps are done")
        if book.folder.aside:
            progress.note(f"what the others brought does not count and lies in {book.folder.path}/parts/abandoned")
    try:
        _walk(experiment, choice, book, [step for step in steps if step.index not in done], progress, clock)
    except KeyboardInterrupt:
        book.end("interrupted")
        raise
    except ProxybenchError as error:
        book.trouble(str(error))
    return _finish(book, progress)


def shards_for(experiment: Experiment, choice: Choice) -> int:
    """Return how many labs work side by side: what the experiment says, else as many as keep this machine busy.

    By the wall clock there is one, always.
    """
    if choice.settings.clock is not ClockKind.INSTRUCTIONS:
        return 1
    fitting = max(1, _available_bytes() // _SHARD_BYTES)
    return experiment.target.lab.shards or min(_MOST_SHARDS, (os.cpu_count() or 1) + 1, fitting)


def _available_bytes() -> int:
    words = Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()
    return int(words[0]) * 1024


def _walk(
    experiment: Experiment,
    choice: Choice,
    book: Book,
    steps: Sequence[Step],
    progress: Progress,
    clock: Clock,
) -> None:
    if not steps:
        return
    stop = Event()
    hands = split(steps, shards_for(experiment, choice))
    whole = Deadline(clock, experiment.limits.run, "the run")
    with ThreadPoolExecutor(len(hands), "shard") as pool, ExitStack() as labs:
        # Taken down first, last in first out: a shard that waits for a node then notices that it is gone.
        labs.callback(stop.set)
        progress.stage("building the lab" if len(hands) == 1 else f"building {len(hands)} labs")
        made = [choice.make(progress.note) for _ in hands]
        for lab in made:
            labs.callback(lab.down)
            lab.begin()  # in this thread: what a lab starts dies with the thread that started it
        clusters = [lab.up() for lab in made]
        labs.callback(stop.set)
        progress.stage("connecting to the nodes")
        progress.plan(steps, len(hands))
        shard = Shard(experiment, book, progress, clock, stop)
        futures = [pool.submit(shard.work, cluster, hand, whole) for cluster, hand in zip(clusters, hands, strict=True)]
        wait(futures)  # one that fails is no reason for the others to end
        for future in futures:
            try:
                future.result()
            except ProxybenchError as error:
                book.trouble(str(error))


def _finish(book: Book, progress: Progress) -> RunOutcome:
    book.end("complete" if book.complete else "incomplete")
    progress.stage("writing the report")
    folder = book.folder
    records = summarise(folder.samples())
    folder.finish(records)
    report = write_report(folder.path) if records else None
    return RunOutcome(folder.path, report, book.problems, tuple(flat(record) for record in records))
