"""Several commands on a node for the price of one: over SSH each exec costs a channel, and a shell on the node."""

from __future__ import annotations

import re
import secrets
import shlex
from typing import TYPE_CHECKING

from proxybench.errors import CommandFailedError
from proxybench.hosts.base import Completed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.hosts.base import Executor

_MARK_BYTES = 16


def run_together(executor: Executor, commands: Sequence[Sequence[str]], *, timeout: float) -> list[Completed]:
    """Run commands one after the other in one exec, and return how each ended, in their order.

    One that fails does not stop the next. Each has its own ``stdout`` and ``code``, and an empty standard input;
    ``stderr`` and ``seconds`` are those of all together, and so is ``timeout`` (seconds). As with ``Executor.run``,
    commands are programs, never builtins of a shell, and a missing one ends with 127.

    Raises CommandFailedError when the shell did not get to the end of them, CommandTimeoutError, ConnectionLostError.
    """
    if not commands:
        return []
    mark = secrets.token_hex(_MARK_BYTES)
    whole = executor.run(["sh", "-c", script(commands, mark)], timeout=timeout)
    pieces = split(whole.stdout, mark)
    if len(pieces) != len(commands):
        raise CommandFailedError(f"{executor.name}: {len(pieces)} of {len(commands)} commands were run to their end")
    return [Completed(stdout, whole.stderr, code, whole.seconds) for stdout, code in pieces]


def script(commands: Sequence[Sequence[str]], mark: str) -> str:
    """Return the shell's script: behind each command's output comes a line of its own with the mark and its code.

    The mark stands there in two halves, so that a command that prints the shell's arguments does not print it. Each
    command replaces a subshell: else a builtin of its name would be run, and ``exit`` would end the script.
    """
    half = len(mark) // 2
    ending = f"printf '\\n%s%s %d\\n' {mark[:half]} {mark[half:]} \"$?\""
    return "\n".join(f"(exec {shlex.join(command)} </dev/null); {ending}" for command in commands)


def split(stdout: str, mark: str) -> list[tuple[str, int]]:
    """Return the output and exit code of each command that ended, from the output of the script."""
    # Split with a group gives text, code, text, code, …, and at last what came behind the last mark.
    parts = re.split(rf"\n{re.escape(mark)} (\d+)\n", stdout)
    return [(text, int(code)) for text, code in zip(parts[:-1:2], parts[1::2], strict=True)]
