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

NEEDS_NO_PASSWORD: Final = ("env", "LC_ALL=C", "sudo", "-k", "-n", "true")
"""Ends with 0 where sudo asks for no password; what it says else is English."""

_QUIET: Final = ("sudo", "-n", "--")
_ASKING: Final = ("sudo", "-k", "-S", "-p", "", "--")
TAKES_PASSWORD: Final = ("env", "LC_ALL=C", *_ASKING, "env", "true")
"""Ends with 0 where sudo takes the password that it reads; what it says else is English."""

_NOT_FOUND: Final = 127


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


def refused(wanted: Sudo, user: str, said: str, code: int) -> str:
    """Say why nothing can be done as root, and what would be right, by what sudo ``said`` and its exit code."""
    tag = "NOPASSWD: " if wanted.password is None else ""
    line = f"{user} ALL=(root) {tag}/usr/bin/env, /usr/bin/true"
    if code == _NOT_FOUND:
        why = f"there is no sudo for {user}; install it, or log in as root without it"
    elif "must have a tty" in said:
        why = f"sudo wants a terminal of {user}; let it do without: Defaults:{user} !requiretty"
    elif any(words in said for words in ("password is required", "authentication is required")):
        why = f"sudo asks {user} for a password; give one, or let it do without: {line}"
    elif any(words in said for words in ("not in the sudoers", "not allowed to", "may not run sudo", "can't do that")):
        why = f"sudo does not let {user} do this; what would: {line}"
    elif wanted.password is not None and any(words in said for words in ("try again", "incorrect", "no password")):
        why = f"sudo refuses {user} with this password"
    else:
        why = f"sudo does nothing for {user}"
    return f"{why} (it said: {said})" if said else f"{why} (it said nothing, and ended with code {code})"
