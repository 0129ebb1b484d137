"""Files that exist whole or not at all, also after a power cut or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from proxybench.errors import ResultsError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNFINISHED = ".proxybench.tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing that takes the place of ``path`` only once it is complete and on the disk.

    What is no file but a device or a pipe is written as it is, and a link stays one. Raises RunError, with what to do,
    when the disk is full or refuses; ``path`` is then as it was.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError as error:
        raise refusal(path, error) from error
    temporary = unfinished(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically. Raises RunError as ``writing`` does."""
    with writing(path) as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it is not there yet. Raises RunError when the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error) from error


def point_link(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to ``target``; never missing once it was there.

    Raises ResultsError when something that is not a link stands in its place, RunError when the disk refuses.
    """
    if link.exists() and not link.is_symlink():
        raise ResultsError(f"{link}: is not a link; move it away, proxybench keeps its link to the newest run there")
    temporary = unfinished(link)
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
        sync_folder(link.parent)
    except OSError as error:
        raise refusal(link, error) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process had begun to write in a folder and those below it, which nobody else writes to."""
    for found in list(folder.rglob(f".*{_UNFINISHED}")):
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()


def unfinished(path: Path) -> Path:
    """Return a free name in the same folder for what is no more, or not yet; it is short, however long the other is."""
    return path.with_name(f".{secrets.token_hex(8)}{_UNFINISHED}")


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk: a rename is only safe after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(path: Path, error: OSError) -> RunError:
    """Say in one line why a file could not be written and what would help."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return RunError(
            f"{path}: cannot be written ({reason}): free some space or choose another folder with --out; "
            "what was measured before is kept and readable"
        )
    return RunError(f"{path}: cannot be written ({reason}): check its folder's mode, or choose another with --out")
