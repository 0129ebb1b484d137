"""Starting the lab's long-lived processes so that none outlives its owner, nor sees its owner's settings."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE = 10.0
_START = 19  # among the fields of /proc/PID/stat behind the program's name: starttime, proc_pid_stat(5)


def search_path() -> str:
    """Return where programs are looked for: the user's PATH, and where root's are."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def environment() -> dict[str, str]:
    """Return the environment of a lab's processes: no preloaded library, proxy, language or Python setting of a user's.

    A node's commands do not even see this: sshd gives each session an environment of its own.
    """
    return {"PATH": search_path(), "LC_ALL": "C.UTF-8"}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours; no module of the current folder is taken for one (``-P``)."""
    return [sys.executable, "-P", "-X", "utf8", "-m", module, *arguments]


def start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, in ``environment()``, its output appended to ``log``.

    The kernel kills it when the thread that started it dies, however that happens; so start it from the main
    thread. A session of its own keeps a Ctrl-C at the terminal from reaching it before we do.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            guarded(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment(),
        )


def guarded(argv: Sequence[str]) -> list[str]:
    """Return the command that runs ``argv`` as long as this process lives.

    Who dies between the fork and the request to the kernel would be missed: so the parent is looked at once more.
    """
    orphan = 'test "$PPID" = "$0" && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", orphan, str(os.getpid()), *argv]


def wait_dead(process: subprocess.Popen[bytes]) -> None:
    """Kill a child of ours and collect it."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)


def started(pid: int) -> str:
    """Return when a process was started, in ticks since the machine was; "" for one that has ended.

    With its pid it names a process for ever: a pid alone is given to another one some day.
    """
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[_START]
    return ""


def tail(log: Path, lines: int = 3) -> str:
    """Return the last lines of a log as one line, for an error message."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "no log"
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:]) or "an empty log"
