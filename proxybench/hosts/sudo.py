"""Commands as root where one logs in as somebody else: sudo, with and without a password. Pure.

The password goes through standard input, never into an argument. sudo remembers who gave one a while ago, and would
then leave it to the command to read; so ``-k`` makes it ask each time, or never.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.hosts.inventory import Sudo

NEEDS_NO_PASSWORD: Final = ("sudo", "-k", "-n", "true")
"""Ends with 0 where sudo asks for no password."""

_QUIET: Final = ("sudo", "-n", "--")
_ASKING: Final = ("sudo", "-k", "-S", "-p", "", "--")


def command(how: Sudo | None, argv: Sequence[str], setting: str = "") -> str:
    """Quote arguments for the remote shell: the one place that does. ``exec`` leaves no shell waiting behind it.

    ``setting`` ("NAME=value") is put into the command's environment, which sudo would else empty.
    """
    if how is None:
        return f"{setting} exec {shlex.join(argv)}" if setting else f"exec {shlex.join(argv)}"
    words = (*(_QUIET if how.password is None else _ASKING), "env", *([setting] if setting else ()), *argv)
    return f"exec {shlex.join(words)}"


def opening(how: Sudo | None) -> bytes:
    """Return what sudo reads before the command gets its input."""
    return b"" if how is None or how.password is None else f"{how.password}\n".encode()


def refused(wanted: Sudo, user: str) -> str:
    """Say why nothing can be done as root, and what would be right."""
    if wanted.password is None:
        return f"sudo asks {user} for a password; give one, or let it do without: {user} ALL=(ALL) NOPASSWD: ALL"
    return f"sudo refuses {user} with this password"
