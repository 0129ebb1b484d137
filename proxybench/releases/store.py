"""The cache of programs: ``bin/VERSION/ARCH/COMPONENT`` and beside each ``COMPONENT.json``, where it came from."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.cache import locked, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PARTIAL = ".partial"
_BUILD = ".build-"
_MODE = 0o755


@dataclass(frozen=True)
class Binary:
    """A program in the cache.

    ``source`` says where it came from: "release URL", "go module PATH@VERSION" or "checkout of commit ID". ``sha512``
    is of the file, in hex; ``go`` is the Go release that built it here, "" for a download.
    """

    path: Path
    component: str
    version: str
    arch: str
    source: str
    sha512: str
    go: str = ""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.path.stat().st_size


class Store:
    """Programs below one folder; safe for many processes at once when used inside ``lock``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, component: str, key: str, arch: str) -> Path:
        """Return where a program lies or would lie. ``key`` is its version, or a commit's name."""
        return self._root / key / arch / component

    @contextmanager
    def lock(self, place: Path, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a program's place, and make its folder; ``waiting`` is called when somebody else holds it.

        Raises UsageError when the cache cannot be written.
        """
        with self._held(self._name(place), waiting):
            with usable(self._root, "written"):
                place.parent.mkdir(parents=True, exist_ok=True)
            yield

    @contextmanager
    def _held(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        lock = self._root / ".locks" / name
        with ExitStack() as held:
            with usable(self._root, "written"):
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(lock, waiting))
            yield

    @contextmanager
    def workshop(self, place: Path) -> Iterator[Path]:
        """Make an empty folder for a build; only inside ``lock`` of the same place."""
        folder = self._root / f"{_BUILD}{self._name(place)}"
        shutil.rmtree(folder, ignore_errors=True)  # of a build that was killed
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def find(self, place: Path) -> Binary | None:
        """Return the program at a place; None when it is not there, or not as it was put there."""
        found = _read(place)
        if found is None or sha512(place) != found.sha512:
            return None
        if not os.access(place, os.X_OK):  # in a copy of a cache that lost it
            with contextlib.suppress(OSError):
                place.chmod(_MODE)
        return found if os.access(place, os.X_OK) else None

    def keep(self, file: Path, binary: Binary) -> Binary:
        """Move a verified file to its place. The record comes last: a program without one counts as absent."""
        binary.path.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(_MODE)
        file.replace(binary.path)
        facts = {key: value for key, value in dataclasses.asdict(binary).items() if key != "path"}
        temporary = _record(binary.path).with_suffix(".json.new")
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
        temporary.replace(_record(binary.path))
        return binary

    def all(self) -> tuple[Binary, ...]:
        """Return all programs, by version, architecture and name. Files are not read again.

        Raises UsageError when the cache cannot be read.
        """
        with usable(self._root, "read"), contextlib.suppress(FileNotFoundError):
            next(self._root.iterdir(), None)  # glob would find nothing
        records = sorted(self._root.glob("[!.]*/*/*.json"), key=lambda path: (_order(path), path))
        found = (_read(record.with_suffix("")) for record in records)
        return tuple(binary for binary in found if binary)

    def remove(self, binary: Binary) -> None:
        """Remove a program and its record, and folders that are empty then."""
        with self.lock(binary.path, lambda: None):
            _record(binary.path).unlink(missing_ok=True)
            binary.path.unlink(missing_ok=True)
        self._prune(binary.path)

    def remove_rests(self) -> None:
        """Remove what broken downloads and killed builds left; what is in use stays."""
        for partial in self._root.glob(f"[!.]*/*/*{PARTIAL}"):
            place = partial.with_suffix("")
            with contextlib.suppress(_InUseError), self.lock(place, _in_use):
                partial.unlink(missing_ok=True)
        for folder in self._root.glob(f"{_BUILD}*"):
            with contextlib.suppress(_InUseError), self._held(folder.name.removeprefix(_BUILD), _in_use):
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self._root.glob("[!.]*/*"):  # of versions that were never had
            self._prune(folder / "any")

    def _name(self, place: Path) -> str:
        return "-".join(place.relative_to(self._root).parts)

    def _prune(self, place: Path) -> None:
        with contextlib.suppress(OSError):  # not empty
            for folder in (place.parent, place.parent.parent):
                folder.rmdir()


class _InUseError(Exception):
    """Somebody else holds a lock."""


def _in_use() -> None:
    raise _InUseError


def sha512(path: Path) -> str:
    """Return a file's SHA-512 in hex; "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha512").hexdigest()
    except OSError:
        return ""


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read(path: Path) -> Binary | None:
    try:
        facts = json.loads(_record(path).read_text()) if path.is_file() else {}
        return Binary(path=path, **facts) if facts and all(isinstance(word, str) for word in facts.values()) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _order(record: Path) -> tuple[int, ...]:
    numbers = record.parent.parent.name.lstrip("v").split("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdecimal())
