"""Folders in the temporary directory that do not outlive their owner for long.

Each holds a file that its owner keeps locked. The kernel lets the lock go however the owner ends, so a folder whose
lock is free belongs to nobody: ``sweep`` removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.interrupts import undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWNER = "owner"
YOUNG_S = 60.0
"""An empty folder is as old before it is taken for one whose maker was killed between two steps."""

_held: dict[Path, int] = {}
_PID = os.getpid()


def make(prefix: str) -> Path:
    """Make a folder that only its owner can read, and hold it until ``remove`` or the end of this process."""
    with undisturbed():
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        # Locked before it has its name: who sees the name sees the lock.
        unnamed = folder / f"{OWNER}.new"
        lock = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(folder / OWNER)
        _held[folder] = lock
    return folder


@atexit.register
def remove_all() -> None:
    """Remove what nobody has removed, since a signal came just then; a fork of this process owns none of it."""
    for folder in list(_held) if os.getpid() == _PID else ():
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, and let it go."""
    shutil.rmtree(folder, ignore_errors=True)
    lock = _held.pop(folder, None)
    if lock is not None:
        os.close(lock)


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Make a folder for the length of a ``with`` block."""
    made = make(prefix)
    try:
        yield made
    finally:
        remove(made)


def sweep(prefix: str, before: Callable[[Path], None] = lambda _: None) -> tuple[Path, ...]:
    """Remove this user's folders of that prefix whose owner is gone, and return them.

    ``before`` is called with each one first. Links are not followed, and folders without a lock are left alone
    unless they are empty and older than ``YOUNG_S``.
    """
    base = Path(tempfile.gettempdir())
    return tuple(found for found in sorted(base.glob(f"{prefix}*")) if _is_ours(found) and _swept(found, before))


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(OSError):
        found = path.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return False


def _swept(path: Path, before: Callable[[Path], None]) -> bool:
    try:
        lock = os.open(path / OWNER, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return _removed_empty(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before(path)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return False  # its owner is alive, or another sweep is at it
    else:
        return not path.exists()
    finally:
        os.close(lock)


def _removed_empty(path: Path) -> bool:
    with contextlib.suppress(OSError):
        if time.time() - path.lstat().st_mtime > YOUNG_S:
            path.rmdir()
            return True
    return False
