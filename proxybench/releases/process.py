"""Runs a long command in a process group of its own: nothing of it outlives a time-out or Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.errors import BuildError
from proxybench.interrupts import undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_TAIL = 15


@dataclass(frozen=True)
class Ended:
    """How a command ended, and all that it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def tail(self) -> str:
        """The last lines that it wrote, for people."""
        lines = (self.stdout + self.stderr).strip().splitlines() or ["it wrote nothing"]
        return "\n".join(lines[-_TAIL:])


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    limit_s: float,
    still: Callable[[float], None] = lambda _: None,
    every_s: float = 30.0,
) -> Ended:
    """Run a command to its end; ``still`` is called with the seconds so far each ``every_s``.

    Raises BuildError when it cannot be started or does not end within its limit.
    """
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        with undisturbed():  # a signal between its start and what will end it would leave it running
            process = stack.enter_context(_start(argv, folder, env))
            stack.callback(_kill_group, process.pid)
        while True:
            left = start + limit_s - time.monotonic()
            try:
                stdout, stderr = process.communicate(timeout=max(0.0, min(every_s, left)))
                return Ended(process.returncode, stdout, stderr)
            except subprocess.TimeoutExpired:
                if left <= every_s:
                    raise BuildError(f"{' '.join(argv[:3])} did not end within {limit_s:.0f} s") from None
                still(time.monotonic() - start)


def _start(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]} cannot be started: {error.strerror}") from None


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
