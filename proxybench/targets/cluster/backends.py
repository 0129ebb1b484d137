"""Our backend on the hosts whose addresses are endpoints: it runs while a run lasts, and ends with its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.errors import HostError, RunError
from proxybench.nodes.client import install

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxybench.hosts.base import Executor, Session

_READY_SECONDS: Final = 30.0
# $1 python, $2 agent, $3 port. Without a terminal nobody hangs up on it: the end of the input is what ends it. A server
# that ends by itself ends the shell, so that what it said is reported.
_RUN: Final = (
    'exec 3<&0; "$1" -I -S "$2" backend --port "$3" & server=$!; (cat <&3; kill $server) >/dev/null 2>&1 & wait $server'
)


def start_backend(executor: Executor, python: str, workdir: str, port: int) -> Session:
    """Start our backend on a host, and return what ends it when it is closed. Raises RunError, HostError."""
    path = install(executor, workdir)
    session = executor.open(["sh", "-c", _RUN, "backend", python, path, str(port)])
    try:
        line = session.read_line(_READY_SECONDS)
    except HostError as error:
        session.close()
        raise RunError(f"{executor.name}: the backend did not start on port {port}: {error}") from error
    if line != f"ready {port}":
        session.close()
        raise RunError(f"{executor.name}: the backend said {line!r}")
    return session


def endpoints(addresses: Mapping[str, Iterable[str]]) -> tuple[tuple[str, str], ...]:
    """Return (host, address) of each endpoint, the hosts by turns, so that few endpoints are on many hosts."""
    left = {name: list(own) for name, own in addresses.items()}
    found = []
    while any(left.values()):
        found += [(name, own.pop(0)) for name, own in left.items() if own]
    return tuple(found)
