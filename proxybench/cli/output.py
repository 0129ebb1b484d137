"""Files and folders that a verb is to write: looked at before any work is done, and made with those above them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from proxybench.errors import UsageError
from proxybench.results.atomic import make_folder, write_bytes


class Target(click.Path):
    """A path that is to be written. One that could not be is a wrong argument, which is told at once."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ANN401 - click's own
        """Return the path. Raises BadParameter."""
        path = Path(str(super().convert(value, param, ctx)))
        why = "" if _is_device(path) else unwritable(path if self.dir_okay else path.parent)
        if why:
            self.fail(f"'{path}' cannot be written: {why}", param, ctx)
        return path


FILE = Target(dir_okay=False)
FOLDER = Target(file_okay=False)


def unwritable(folder: Path) -> str:
    """Return why no file can be made in a folder, which may be still to be made; "" when one can."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if _is_there(path))
    except OSError as error:
        return str(error.strerror)
    if not there.is_dir():
        return f"{there} is not a folder"
    try:  # root may everywhere, and cannot all the same on a read-only disk or in /proc
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return f"nothing can be made in {there} ({error.strerror})"
    return ""


def check_folder(folder: Path) -> None:
    """Refuse a folder in which nothing can be written. Raises UsageError."""
    if why := unwritable(folder):
        raise UsageError(f"{folder}: cannot be written: {why}")


def write_out(path: Path, data: bytes) -> None:
    """Write what was asked for to a file of the user's. Raises RunError when the disk refuses."""
    make_folder(path.parent)
    write_bytes(path, data)


def _is_there(path: Path) -> bool:
    """Tell whether there is such a path. Raises OSError where one cannot look, as exists() did before Python 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_device(path: Path) -> bool:
    """Tell whether it is what a shell gives for a file: /dev/stdout, or the pipe of >(…)."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return False
