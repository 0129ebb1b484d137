"""The folder for what is fetched or built once, and locks between the processes that use it."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from proxybench.errors import UsageError
from proxybench.home import home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_folder() -> Path:
    """Return the folder for what is fetched once (PROXYBENCH_CACHE, else the user's cache).

    Raises UsageError where no home is known.
    """
    chosen = os.environ.get("PROXYBENCH_CACHE")
    if not chosen and not os.environ.get("XDG_CACHE_HOME"):
        home()  # or say that none is known
    # A relative one would be another folder for whoever runs in another.
    return (Path(chosen) if chosen else platformdirs.user_cache_path("proxybench")).absolute()


_ANOTHER: Final = "name another folder with PROXYBENCH_CACHE"


def unwritable(folder: Path) -> tuple[str, str] | None:
    """Return why nothing can be made in a folder of the cache, there or not, and what would mend it; None if it can.

    Nothing is made to find out.
    """
    there = next(one for one in (folder, *folder.parents) if os.access(one, os.F_OK))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"{folder}: cannot be written", _ANOTHER


@contextmanager
def usable(folder: Path, how: str) -> Iterator[None]:
    """Say in one line what the system refuses in a folder of the cache, which may be another user's.

    ``how`` is what is done with it: "read" or "written". Raises UsageError.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{folder}: cannot be {how} ({error.strerror}); {_ANOTHER}") from None


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file; ``waiting`` is called first where another process or thread holds it.

    The file stays: removing it would let a third one in beside whoever waits.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
