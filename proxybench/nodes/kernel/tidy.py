"""Removes from a node in use what modes of kube-proxy have left there that no longer run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.nodes.kernel.capture import LOOK_SECONDS, capture
from proxybench.nodes.kernel.leftovers import NODE_PORTS_COMMAND, left_by, read_node_ports, removal, without
from proxybench.nodes.kernel.state import diff

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from proxybench.hosts.base import Executor
    from proxybench.nodes.kernel.capture import Tools
    from proxybench.nodes.kernel.removal import Command
    from proxybench.nodes.kernel.state import KernelState, Thing

TRIES: Final = 10
_SHOWN: Final = 5


def look(executor: Executor, tools: Tools, old: Collection[Mode], new: Mode) -> tuple[KernelState, tuple[Thing, ...]]:
    """Return a node's kernel state, and what of it only modes make that do not run. Changes nothing.

    Raises ProxierError when it cannot be looked at, HostError.
    """
    state = capture(executor, tools)
    ports: frozenset[tuple[str, str]] = frozenset()
    if Mode.IPVS in old:
        ports = read_node_ports(executor.run(NODE_PORTS_COMMAND, check=False, timeout=LOOK_SECONDS).stdout)
    found = {thing for mode in old for thing in left_by(mode, new, state, ports)}
    return state, tuple(thing for thing in state.things if thing in found)


def tidy(
    executor: Executor,
    tools: Tools,
    old: Collection[Mode],
    new: Mode,
    note: Callable[[Sequence[str], Sequence[Command]], None],
    *,
    sleep: Callable[[float], None],
) -> tuple[str, ...]:
    """Remove what modes have left where ``new`` runs; return it in lines for people, () where there was nothing.

    ``note`` is told these lines and the commands before any of them is run. What rules of ``new`` still name goes only
    once they are written anew: it is tried again, a second later. Raises ProxierError naming what stays, HostError.
    """
    said: tuple[str, ...] = ()
    errors: list[str] = []
    for left in range(TRIES, -1, -1):
        state, things = look(executor, tools, old, new)
        if not things:
            return said
        lines, commands = diff(without(state, things), state), removal(state, things, tools)
        if not left:
            break
        if said:
            sleep(1.0)
        else:
            said = lines
            note(said, commands)
        errors = _run(executor, commands)
    why = f" ({'; '.join(errors[:_SHOWN])})" if errors else ""
    raise ProxierError(f"{executor.name}: could not be cleaned: {'; '.join(lines[:_SHOWN])}{why}")


def _run(executor: Executor, commands: Sequence[Command]) -> list[str]:
    """Run commands, each whatever became of the one before; return the errors."""
    errors = []
    for command in commands:
        done = executor.run(command.argv, stdin=command.stdin, timeout=LOOK_SECONDS, check=False)
        if done.code:
            errors.append(" ".join(done.stderr.split()) or f"{command.argv[-1]} ended with {done.code}")
    return errors
