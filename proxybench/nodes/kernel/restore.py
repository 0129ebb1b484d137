"""Puts a node's kernel back to a state that was captured, whatever a Service proxy left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.errors import ProxierError
from proxybench.nodes.kernel.capture import LOOK_SECONDS, capture
from proxybench.nodes.kernel.removal import commands
from proxybench.nodes.kernel.state import added, changed, diff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.hosts.base import Executor
    from proxybench.nodes.kernel.capture import Tools
    from proxybench.nodes.kernel.removal import Command
    from proxybench.nodes.kernel.state import KernelState

_SHOWN = 5
_ROUNDS = 20


def restore(executor: Executor, before: KernelState, tools: Tools, *, limit_s: float = LOOK_SECONDS) -> tuple[str, ...]:
    """Remove what was not there before, put settings back, and forget tracked connections on a node of ours.

    Returns what had been left, in lines for people; empty when there was nothing. It may be called again and again.
    ``limit_s`` is the time limit of each command. What is gone that was there before stays gone: it is in the lines.

    Raises ProxierError naming what stays, and as ``capture`` does; HostError as the executor does.
    """
    first = now = capture(executor, tools, limit_s=limit_s)
    for _ in range(_ROUNDS):
        errors = _remove(executor, commands(before, now, tools), limit_s)
        seen, changes = set(added(before, now)), changed(before, now)
        if not seen and not changes:
            break
        now = capture(executor, tools, limit_s=limit_s)
        # Linux 6.1 leaves out of a namespace's /proc/net/ip_vs some of its virtual servers where another namespace has
        # some, too. So what was not seen before is removed in another round; what was, stays for another reason.
        if seen.issuperset(added(before, now)):
            break
    _verify(executor, before, now, errors)
    return diff(before, first)


def _remove(executor: Executor, removals: Sequence[Command], limit_s: float) -> list[str]:
    """Run commands, each whatever became of the one before; return the errors. Raises ProxierError for a needed one."""
    errors = []
    for command in removals:
        done = executor.run(command.argv, stdin=command.stdin, timeout=limit_s, check=False)
        if done.code:
            errors.append(" ".join(done.stderr.split()) or f"{command.argv[-1]} ended with {done.code}")
            if command.needed:
                raise ProxierError(f"{executor.name}: could not be cleaned: {errors[-1]}")
    return errors


def _verify(executor: Executor, before: KernelState, now: KernelState, errors: list[str]) -> None:
    if not added(before, now) and not changed(before, now):
        return
    stays = [line for line in diff(before, now) if not line.startswith("gone: ")]
    why = f" ({'; '.join(errors[:_SHOWN])})" if errors else ""
    raise ProxierError(f"{executor.name}: could not be cleaned: {'; '.join(stays[:_SHOWN])}{why}")
