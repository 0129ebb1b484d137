"""Programs that a benchmark runs: asked to end, it asks them to end, and waits while they clean up."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

from proxybench.interrupts import Interrupter, undisturbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLEAN_UP_S = 120


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP be what Ctrl-C is, also where a background job ignores that: each block cleans up."""
    Interrupter.install().raises = True


def run(argv: Sequence[str], limit_s: float | None, env: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Run a program; return its exit code and standard output. Raises TimeoutExpired at the limit, after its end."""
    with ExitStack() as stack:
        with undisturbed():  # a signal between its start and what will end it would leave it running
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, env=env))
            stack.callback(_end, process)
        output, _ = process.communicate(timeout=limit_s)
    return process.returncode, output


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        process.terminate()
        process.communicate(timeout=CLEAN_UP_S)
