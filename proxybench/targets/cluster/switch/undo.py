"""The undo log: what is about to change, on the disk before it does; and the way back from any of its prefixes.

One JSON object a line. The first says which cluster it is of, each further one is a change that may or may not have
been made; "done" is written when all is back. The way back is decided from the objects as they are, so that it may be
interrupted and repeated: a field that holds anything we know of goes back to what it was first, one that somebody else
has edited since is left alone and reported.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from proxybench.errors import ApiError, ResultsError, UsageError
from proxybench.targets.cluster.switch.changes import Change, read, written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.kube.base import ObjectApi

FILE: Final = "undo.jsonl"
_CONFLICT: Final = 409
_TRIES: Final = 5


@dataclass(frozen=True)
class Header:
    """Which cluster a log is of: by which kubeconfig and context it was reached, and where its API is."""

    server: str
    kubeconfig: str
    context: str


@dataclass(frozen=True)
class Undo:
    """A log that was read."""

    header: Header
    changes: tuple[Change, ...]
    done: bool


class UndoLog:
    """Writes a log; what ``add`` was given is on the disk when it returns."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        if whole:
            os.truncate(path, whole)  # a line that was cut off was of nothing that was begun
        else:
            path.unlink(missing_ok=True)
            self._append(asdict(header))

    def add(self, change: Change) -> None:
        """Note a change that is about to be made."""
        self._append(asdict(change))

    def finish(self) -> None:
        """Note that all is back."""
        self._append({"done": True})

    def _append(self, words: dict[str, Any]) -> None:
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(words).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def read_undo(text: str, where: str) -> Undo:
    """Read a log; a last line that was cut off is no change, since nothing is changed before its line is whole.

    Raises ResultsError for anything else that is no line of such a log.
    """
    lines = text.split("\n")[:-1]
    if not lines:
        return Undo(Header("", "", ""), (), done=True)
    try:
        words = [json.loads(line) for line in lines]
        header = Header(**words[0])
        done = False
        changes = []
        for one in words[1:]:
            done = one == {"done": True}
            if not done:
                changes.append(Change(one["path"], tuple(one["field"]), one["before"], one["after"]))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ResultsError(f"{where}: is no undo log: {error}") from None
    return Undo(header, tuple(changes), done)


def make(api: ObjectApi, log: UndoLog, change: Change) -> None:
    """Make a change, noted before. Raises UsageError when somebody has edited the field meanwhile, ApiError."""
    for attempt in range(_TRIES):
        obj = api.ask("GET", change.path)
        now = read(obj, change.field)
        if now == change.after:
            return
        if now != change.before:
            raise UsageError(f"{change.what} was edited by somebody else meanwhile; nothing of it was overwritten")
        if attempt == 0:
            log.add(change)
        if _put(api, change, written(obj, change.field, change.after)):
            return
    raise ApiError(f"{change.what}: others write it all the time")


def undo(api: ObjectApi, changes: Sequence[Change]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bring every changed field back to what it was first, in the order of the changes.

    That order, since a configuration must be back before what is started anew reads it. Returns what was put back, and
    what was left alone since somebody else has edited it. Raises ApiError.
    """
    back: list[str] = []
    left: list[str] = []
    for path, field in dict.fromkeys((change.path, change.field) for change in changes):
        own = [change for change in changes if (change.path, change.field) == (path, field)]
        outcome = _undo(api, own)
        if outcome is not None:
            (back if outcome else left).append(own[0].what)
    return tuple(back), tuple(left)


def _undo(api: ObjectApi, own: Sequence[Change]) -> bool | None:
    """Return True when a field was put back, False when somebody else has edited it, None when it was right."""
    first = own[0]
    ours = [value for change in own for value in (change.before, change.after)]
    for _ in range(_TRIES):
        obj = api.ask("GET", first.path)
        now = read(obj, first.field)
        if now == first.before:
            return None
        if now not in ours:
            return False
        if _put(api, first, written(obj, first.field, first.before)):
            return True
    raise ApiError(f"{first.what}: others write it all the time")


def _put(api: ObjectApi, change: Change, obj: dict[str, Any]) -> bool:
    """Write an object of the version that was read; return False when another one was written meanwhile."""
    try:
        api.ask("PUT", change.path, obj)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return False
    return True
