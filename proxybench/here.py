"""Runs a short program on this machine to its end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run_here(
    argv: Sequence[str], seconds: float, *, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program and return how it ended, and what it wrote: bytes that are no UTF-8 are escaped.

    It reads nothing. ``env`` None is this process's environment. Raises OSError when it cannot be started, and
    subprocess.TimeoutExpired when it does not end in time.
    """
    return subprocess.run(
        argv,
        timeout=seconds,
        env=env,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        stdin=subprocess.DEVNULL,
    )


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of what a program wrote, for an error message."""
    return (ended.stderr.strip() or ended.stdout.strip() or "no output").splitlines()[-1]
