"""Makes a cluster's kube-proxy run in another mode, and puts everything back."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from itertools import groupby
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from proxybench.errors import ApiError, ConnectionLostError, HostError, ProxybenchError, RunError, UsageError
from proxybench.model import Mode
from proxybench.targets.cluster.place import to_finish
from proxybench.targets.cluster.switch.changes import IMAGE, read
from proxybench.targets.cluster.switch.owners import last_writer
from proxybench.targets.cluster.switch.tidying import Tidied, leave, modes_of, surely_left
from proxybench.targets.cluster.switch.undo import FILE, UndoLog, make, not_edited, read_undo, undo
from proxybench.targets.cluster.switch.way import START_SECONDS, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.switch.tidying import Tidy
    from proxybench.targets.cluster.switch.undo import Header, Undo
    from proxybench.targets.cluster.switch.way import Way

ROLLOUT_SECONDS: Final = 600.0
PATIENCE: Final = 120.0
"""Seconds that an API server may be away when all is to be put back; then the command that does it is told."""
_POLL: Final = 1.0
_AWAY: Final = 5.0


@dataclass
class Switcher:
    """Switches one cluster; ``modes`` asks every node that is reached in which mode its kube-proxy runs.

    ``connect`` opens the way by credentials that are good now: a run may outlive those with which it began. ``say`` is
    told what happens. ``limit_s`` is for a rollout, ``patience_s`` as ``PATIENCE``, ``start_s`` as
    ``START_SECONDS``. ``folder`` is the run's, in which the undo log lies before anything is changed. Once ``over`` is
    set nothing is switched any more, and who waits for a switch is told so. ``tidy`` cleans the nodes of what a mode
    has left.
    """

    connect: Callable[[], AbstractContextManager[Way]]
    header: Header
    modes: Callable[[], Mapping[str, str]]
    say: Callable[[str], None]
    limit_s: float = ROLLOUT_SECONDS
    patience_s: float = PATIENCE
    sleep: Callable[[float], None] = time.sleep
    folder: Path | None = None
    over: Event = field(default_factory=Event)
    tidy: Tidy = leave
    start_s: float = START_SECONDS
    _left: set[str] = field(default_factory=set)  # modes that ran, and may have left something
    _lock: Lock = field(default_factory=Lock)  # held while objects are changed

    def to(self, mode: Mode, image: str = "") -> None:
        """Make every node's kube-proxy run in a mode, from an image; "" for the one that was found first.

        Raises UsageError, RunError, ApiError, HostError, and ConnectionLostError once the cluster is being given back.
        """
        found = set(self.modes().values())
        self._left |= found & set(Mode)
        there = found == {str(mode)}
        if self.folder is None:
            if there and not image:
                return
            raise RunError("there is no run folder yet, where an undo log could lie")
        path = self.folder / FILE
        known = read_undo(path.read_text(), str(path)).changes if path.exists() else ()
        first = next((str(change.before) for change in known if change.field == IMAGE), "")
        if there and not (image or first):
            self._clean(mode)
            return
        with self.connect() as way:
            written: tuple[Change, ...] = ()
            with self._lock:
                self._go_on()
                planned = way.plan(mode, image or first, uuid.uuid4().hex)
                if not there or any(change.field == IMAGE for change in planned):
                    not_edited(known, planned)
                    self._make(way, path, planned, f"{mode} mode{f' of {image}' if image else ''}")
                    written = planned

            def pause(seconds: float, hosts: Collection[str] = ()) -> None:
                self._look_after(way, [change for change in written if change.host in {"", *hosts}])
                self._pause(seconds)

            way.await_running(self.limit_s, pause)
            self._await_mode(mode, pause)
        self._clean(mode)

    def put_back(self) -> None:
        """Undo all that was changed, for good.

        Raises RunError when something could not be put back, ApiError; UsageError where the kubeconfig leads to no
        cluster, or another one, by now, with what is to be done.
        """
        self.over.set()
        with self._lock:
            path = None if self.folder is None else self.folder / FILE
            if path is None or not path.exists() or not read_undo(path.read_text(), str(path)).every:
                return
            self._restore(path)

    def _restore(self, path: Path) -> None:
        """Put back, and try again for a while where the API is away."""
        end = time.monotonic() + self.patience_s
        while True:
            try:
                with self.connect() as way:
                    lines = restore(way, path, self.limit_s, self.sleep, self.tidy)
            except ApiError as error:
                if not error.away or time.monotonic() > end:
                    raise
                self.say(f"{error}; trying for {self.patience_s:g} s to put all back")
                self.sleep(_AWAY)
            except UsageError as error:
                raise to_finish(error, path.parent) from error
            else:
                for line in lines:
                    self.say(line)
                return

    def _make(self, way: Way, path: Path, planned: tuple[Change, ...], what: str) -> None:
        log = UndoLog(path, self.header)
        self.say(f"switching kube-proxy to {what}, with {path} for the way back")
        made: tuple[Change, ...] = ()
        for _, changes in groupby(planned, lambda change: change.path):
            made += make(way, log, tuple(changes))
        way.start_anew(Written(made, planned))

    def _clean(self, mode: Mode) -> None:
        """Have what other modes have left removed. Raises RunError where it stays for sure, since it spoils figures."""
        old = [one for one in Mode if one in self._left - {mode}]
        if self.folder is None or not old:
            return
        with self._lock:
            self._go_on()
            done = self.tidy(old, UndoLog(self.folder / FILE, self.header).note, self._pause)
        for line in (*done.lines, *done.faults):
            self.say(line)
        if done.faults and surely_left(old, mode):
            raise RunError(f"{'; '.join(done.faults)}; kube-proxy itself leaves what {' and '.join(old)} mode made")
        self._left = {str(mode)}

    def _go_on(self) -> None:
        if self.over.is_set():
            raise ConnectionLostError("the cluster is being given back; kube-proxy is not switched any more")

    def _pause(self, seconds: float) -> None:
        self._go_on()
        self.sleep(seconds)

    def _look_after(self, way: Way, written: Sequence[Change]) -> None:
        """Look whether what we wrote still stands. Raises RunError with who has written it since.

        Nothing is told where the API or a host does not answer: whoever waits finds that out, too.
        """
        for change in written:
            try:
                found = way.get(change.path)
            except (ApiError, HostError):
                return
            if (now := read(found, change.field)) != change.after:
                self._go_on()  # else it was we who put it back
                done = "taken back" if now == change.before else "edited"
                who = last_writer(found, change.field)
                raise RunError(f"{change.what} was {done} by {who} during the switch; let nobody write it in a run")

    def _await_mode(self, mode: Mode, pause: Callable[[float, Collection[str]], None]) -> None:
        """Wait until every node says the mode; one that has never answered is not waited for as long as a rollout.

        ``pause`` is told which nodes do not say it yet.
        """
        began = time.monotonic()
        mute: set[str] | None = None
        while True:
            others = {name: found for name, found in self.modes().items() if found != mode}
            if not others:
                return
            silent = {name for name, found in others.items() if not found}
            mute = silent if mute is None else mute & silent
            took = time.monotonic() - began
            if took > self.limit_s:
                shown = ", ".join(f"{name} in {found or 'none'}" for name, found in others.items())
                raise RunError(f"not every node's kube-proxy runs in {mode} mode within {self.limit_s:g} s: {shown}")
            if mute and took > self.start_s:
                who = ", ".join(sorted(mute))
                raise RunError(f"kube-proxy does not answer within {self.start_s:g} s of its start; see its log: {who}")
            pause(_POLL, others)


def restore(
    way: Way,
    path: Path,
    limit_s: float = ROLLOUT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    tidy: Tidy = leave,
) -> tuple[str, ...]:
    """Put back what an undo log tells of, as often as it is called; return what was done, in lines for people.

    Then ``tidy`` cleans the nodes of what the modes of the run have left. Raises RunError when something was left
    alone, since somebody else has edited it or its host is not reached, which says what was put back and what is still
    needed; ApiError, HostError, ResultsError.
    """
    known = read_undo(path.read_text(), str(path))
    if known.done:
        return (f"{path}: all is back already", *_tidied(tidy, path, known, sleep))
    written = undo(way, known.changes)
    lines = [f"put back: {change.what}" for change in written.made]
    faults = []
    if written.edited:
        edited = ", ".join(change.what for change in written.edited)
        # What runs has read it at its start, perhaps with our mode in it: no rollout follows an edit by hand.
        hint = "start kube-proxy anew when it says what you want"
        faults.append(f"edited by somebody else since, and left as it is: {edited} ({hint})")
    if written.lost:
        faults.append(f"not reached: {', '.join(written.lost)}; run proxybench restore again when it can be")
    try:
        lines += way.start_anew(written)
    except HostError as error:
        faults.append(str(error))
    if faults:
        raise RunError("; ".join([*faults, f"see {path}", *lines]))
    UndoLog(path, known.header).finish()
    if lines:
        try:
            way.await_running(limit_s, sleep)
        except RunError as error:
            raise RunError("; ".join([*lines, f"but {error}"])) from error
    return (*lines, *_tidied(tidy, path, known, sleep)) or ("nothing had been changed",)


def _tidied(tidy: Tidy, path: Path, known: Undo, sleep: Callable[[float], None]) -> tuple[str, ...]:
    """Clean the nodes of what the modes of a run have left; return what was done, and what could not be."""
    modes = modes_of(known.every)
    try:
        done = tidy(sorted(modes), UndoLog(path, known.header).note, sleep) if modes else Tidied()
    except ProxybenchError as error:  # all is back, which is what must be told
        return (f"no node was cleaned: {error}",)
    return (*done.lines, *done.faults)
