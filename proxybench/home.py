"""The user and their home: also where this machine knows neither, as in a container with a uid of its own."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from proxybench.errors import UsageError


def expanded(name: str) -> Path:
    """Return a path with its ``~`` or ``~user`` replaced, as it is written where no such home is known."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - pathlib's raises RuntimeError for a user that is not known


def home() -> Path:
    """Return the user's home. Raises UsageError where none is known."""
    found = expanded("~")
    if not found.is_absolute():
        raise UsageError(f"your home is not known (no HOME, and passwd has no uid {os.getuid()}); set HOME")
    return found


def user() -> str:
    """Return the user's name. Raises UsageError where none is known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError(f"your name is not known (passwd has no uid {os.getuid()}); set LOGNAME") from None
