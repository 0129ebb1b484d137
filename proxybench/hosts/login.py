"""Logging in by public keys: which are offered, in what order, and what is said when none is taken."""

from __future__ import annotations

import contextlib
import time
from threading import Event
from typing import TYPE_CHECKING, Final

import paramiko

from proxybench.errors import ConnectionLostError
from proxybench.hosts.keys import Agent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.hosts.inventory import SshTarget
    from proxybench.hosts.keys import Identity

_POLL: Final = 0.1


def log_in(transport: paramiko.Transport, target: SshTarget, identities: Sequence[Identity]) -> None:
    """Offer keys until one is taken: those that files name first, since a server takes only so many (MaxAuthTries).

    Raises ConnectionLostError when none is, there is none, or an agent does not answer; OSError when the connection
    breaks.
    """
    with contextlib.ExitStack() as stack:
        agent, held = None, {}
        if target.agent:
            agent = stack.enter_context(contextlib.closing(Agent(target.agent)))
            held = {key.blob: key for key in agent.get_keys()}
        offers: list[tuple[paramiko.PKey, str]] = []
        idle = ""
        for one in identities:
            agents = held.pop(one.public or b"", None)
            key = one.private or agents  # ours may have a certificate beside it
            if key is None:
                idle += f"; the key in {one.file} was not offered: {one.why}"
            else:
                offers.append((key, f"the key in {one.file}"))
        if not target.only:
            offers += [(key, "the agent's keys") for key in held.values()]
        if not offers:
            raise ConnectionLostError(f"there is no key to show {target.place}: {_mend(target)}{idle}")
        _offer(transport, target, offers, idle, agent)


def _offer(
    transport: paramiko.Transport,
    target: SshTarget,
    offers: Sequence[tuple[paramiko.PKey, str]],
    idle: str,
    agent: Agent | None,
) -> None:
    for number, (key, name) in enumerate(offers, 1):
        try:
            wanted = _show(transport, target.user, key, agent)
        except paramiko.AuthenticationException as error:
            if not transport.is_active() and number < len(offers):
                raise ConnectionLostError(
                    f"{target.place} let {target.user} show {number} of {len(offers)} keys (MaxAuthTries of its sshd); "
                    "name the right one: `key` in the inventory, or IdentityFile and IdentitiesOnly in ~/.ssh/config"
                ) from error
        except paramiko.SSHException as error:
            raise ConnectionLostError(f"cannot log in to {target.place} with {name}: {error}") from error
        else:
            if wanted:
                raise ConnectionLostError(
                    f"{target.place} wants more of {target.user} than {name}: {', '.join(wanted)}"
                )
            return
    names = " and ".join(dict.fromkeys(name for _, name in offers))
    raise ConnectionLostError(f"{target.place} refused {target.user} with {names}{idle}")


def _show(transport: paramiko.Transport, user: str, key: paramiko.PKey, agent: Agent | None) -> list[str]:
    """Offer a key, and return what else is wanted. The server's time limit does not run while an agent signs.

    Raises SSHException where it is refused, TimeoutError, what ended the connection.
    """
    answered = Event()
    transport.auth_publickey(user, key, answered)
    end = time.monotonic() + transport.auth_timeout
    while not answered.wait(_POLL) and transport.is_active():
        if agent is not None and agent.signing:
            end = time.monotonic() + transport.auth_timeout
        elif time.monotonic() > end:
            raise TimeoutError
    found: list[str] = transport.auth_handler.wait_for_response(answered)  # type: ignore[union-attr]  # one is there
    return found


def _mend(target: SshTarget) -> str:
    if not target.agent:
        return "name one, or use an ssh-agent"
    if target.only:
        return "the ssh-agent has none of those that are named (IdentitiesOnly): ssh-add one, or name one"
    return "the ssh-agent has none: ssh-add one, or name one"
