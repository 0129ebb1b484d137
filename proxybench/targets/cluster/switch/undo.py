"""The undo log: what is about to change, on the disk before it does; and the way back from any of its prefixes.

One JSON object a line. The first says which cluster it is of, each further one is a change that may or may not have
been made; "done" is written when all is back, and what comes after it is of another switch. What a mode has left and
is removed from a host is told, too: only kube-proxy in that mode makes it again. The way back is decided
from the objects as they are, so that it may be interrupted and repeated: a field that holds anything we know of goes
back to what it was first, one that somebody else has edited since is left alone and reported.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from proxybench.errors import ApiError, HostError, ResultsError, RunError, UsageError
from proxybench.targets.cluster.switch.changes import Change, read, written
from proxybench.targets.cluster.switch.way import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from proxybench.kube.base import Object
    from proxybench.targets.cluster.switch.changes import Field
    from proxybench.targets.cluster.switch.way import Things

FILE: Final = "undo.jsonl"
_TRIES: Final = 5
_EDITED: Final = "was edited by somebody else meanwhile; nothing of it was overwritten"


@dataclass(frozen=True)
class Header:
    """Which cluster a log is of: where its API is, by which kubeconfig and context, and which inventory of hosts.

    ``hosts`` are those on which numbers rest, as in ``Inventory.relied_on``; none where an older program did not note
    them.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    server: str
    kubeconfig: str
    context: str
    inventory: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Undo:
    """A log that was read: ``changes`` are those since all was back the last time, ``every`` all that it tells of."""

    header: Header
    changes: tuple[Change, ...]
    done: bool
    every: tuple[Change, ...] = ()


_HEADER: Final = TypeAdapter(Header)
_CHANGE: Final = TypeAdapter(Change)


class UndoLog:
    """Writes a log; what ``add`` was given is on the disk when it returns.

    All raise RunError where the disk refuses, before what was to be noted is begun.
    """

    def __init__(self, path: Path, header: Header) -> None:
        """Open or begin it. Raises UsageError where it is of others' cluster or hosts, ResultsError if it is no log."""
        self._path = path
        whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        if whole:
            began = read_undo(path.read_text(), str(path)).header
            if began.server != header.server:
                what = f"{path.parent}: the run was begun in the cluster at {began.server}, and this is {header.server}"
                raise UsageError(f"{what}; go on there, or begin a new run")
            if began.hosts and began.hosts != header.hosts:
                both = zip_longest(began.hosts, header.hosts, fillvalue="no further host")
                was, now = next(pair for pair in both if len(set(pair)) > 1)
                what = f"{path.parent}: the run was begun with {was}, in whose place {header.inventory} has {now}"
                raise UsageError(f"{what}; give the roles to the same hosts in the same order, or begin a new run")
            os.truncate(path, whole)  # a line that was cut off was of nothing that was begun
        else:
            path.unlink(missing_ok=True)
            self._append(asdict(header))

    def add(self, change: Change) -> None:
        """Note a change that is about to be made."""
        self._append(asdict(change))

    def note(self, words: Mapping[str, object]) -> None:
        """Note what is about to be removed from a host: a line that begins with ``host``."""
        self._append(dict(words))

    def finish(self) -> None:
        """Note that all is back."""
        self._append({"done": True}, "all is back, which it cannot tell")

    def _append(self, words: dict[str, Any], meaning: str = "nothing is changed without it") -> None:
        new = not self._path.exists()
        try:
            self._write(json.dumps(words).encode() + b"\n")
            if new:
                _sync(self._path.parent)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise RunError(f"{self._path}: cannot be written ({why}); {meaning}") from error

    def _write(self, line: bytes) -> None:
        """Write a line whole, or leave the file as it was. Raises OSError."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                rest = line
                while rest:  # a disk that is full takes a part first
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_undo(text: str, where: str) -> Undo:
    """Read a log; a last line that was cut off is no change, since nothing is changed before its line is whole.

    Raises ResultsError for anything else that is no line of such a log.
    """
    lines = text.split("\n")[:-1]
    if not lines:
        return Undo(Header("", "", ""), (), done=True)
    try:
        header = _HEADER.validate_json(lines[0], strict=True)
        done = False
        changes: list[Change] = []
        every: list[Change] = []
        for line in lines[1:]:
            word = json.loads(line)
            if isinstance(word, dict) and "host" in word:
                continue  # what was tidied there is told, not put back
            done = word == {"done": True}
            if done:
                changes = []  # what somebody edits from here on is theirs to keep
            else:
                changes.append(_CHANGE.validate_json(line, strict=True))
                every.append(changes[-1])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ResultsError(f"{where}: is no undo log: {place + ': ' if place else ''}{first['msg']}") from None
    except ValueError as error:
        raise ResultsError(f"{where}: is no undo log: {error}") from None
    return Undo(header, tuple(changes), done, tuple(every))


def make(things: Things, log: UndoLog, changes: Sequence[Change]) -> tuple[Change, ...]:
    """Make the changes of one object, all at once and noted before; return those that were not made already.

    Raises UsageError when somebody has edited a field meanwhile, RunError, ApiError, HostError.
    """
    path = changes[0].path
    noted: tuple[Change, ...] = ()
    for _ in range(_TRIES):
        found = things.get(path)
        left = tuple(change for change in changes if read(found, change.field) != change.after)
        if not left:
            return noted
        for change in left:
            if read(found, change.field) != change.before:
                raise UsageError(f"{change.what} {_EDITED}")
        if not noted:
            noted = left
            for change in noted:
                log.add(change)
        if things.put(path, found, _with(found, [(change.field, change.after) for change in left])):
            return noted
    raise ApiError(f"{changes[0].what}: others write it all the time")


def not_edited(known: Sequence[Change], planned: Sequence[Change]) -> None:
    """Raise UsageError where somebody has edited a field that we have changed before."""
    for change in planned:
        ours = _ours([one for one in known if (one.path, one.field) == (change.path, change.field)])
        if ours and change.before not in ours:
            raise UsageError(f"{change.what} {_EDITED}")


def undo(things: Things, changes: Sequence[Change]) -> Written:
    """Bring every changed field back to what it was first, object by object in the order of the changes.

    That order, since a configuration must be back before what is started anew reads it. A host that cannot be reached
    stops no other. Raises ApiError.
    """
    total = Written(())
    for path in dict.fromkeys(change.path for change in changes):
        own = [change for change in changes if change.path == path]
        try:
            one = _undo(things, path, own)
        except HostError as error:
            one = Written((), lost=(f"{path} ({error})",))
        total = Written(
            total.made + one.made, total.right + one.right, total.edited + one.edited, total.lost + one.lost
        )
    return total


def _undo(things: Things, path: str, own: Sequence[Change]) -> Written:
    """Bring back an object's fields; each is told by its first change."""
    by_field: dict[Field, list[Change]] = {}
    for change in own:
        by_field.setdefault(change.field, []).append(change)
    things.settle(path)
    for _ in range(_TRIES):
        found = things.get(path)
        made: list[Change] = []
        right: list[Change] = []
        edited: list[Change] = []
        for field, several in by_field.items():
            now, first = read(found, field), several[0]
            kind = right if now == first.before else made if now in _ours(several) else edited
            kind.append(first)
        back = [(change.field, change.before) for change in made]
        if not back or things.put(path, found, _with(found, back)):
            return Written(tuple(made), tuple(right), tuple(edited))
    raise ApiError(f"{own[0].what}: others write it all the time")


def _ours(changes: Sequence[Change]) -> list[Any]:
    return [value for change in changes for value in (change.before, change.after)]


def _with(obj: Object, values: Iterable[tuple[Field, Any]]) -> Object:
    for field, value in values:
        obj = written(obj, field, value)
    return obj
