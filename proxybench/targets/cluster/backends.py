"""Our backend at the addresses that are endpoints: it runs while a run lasts, and ends with its connection.

On hosts, or on a host in the network of a pod that is there already, which is not touched otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.errors import CommandTimeoutError, ConnectionLostError, HostError, RunError
from proxybench.hosts.fleet import close_together
from proxybench.kube.base import is_leaving
from proxybench.nodes.client import install

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from proxybench.hosts.base import Executor, Session
    from proxybench.kube.base import Object

_READY_SECONDS: Final = 30.0
# $1 python, $2 agent, $3 port, $4 the address of a pod, in whose network it is to run ("" for the host's). Without a
# terminal nobody hangs up on it: the end of the input is what ends it. A server that ends by itself ends the shell, so
# that what it said is reported.
_RUN: Final = r"""
enter=
if [ -n "$4" ]; then
  seen=" $(readlink /proc/self/ns/net) "
  for net in /proc/[0-9]*/ns/net; do
    name=$(readlink "$net") || continue
    case "$seen" in *" $name "*) continue ;; esac
    seen="$seen$name "
    pid=${net#/proc/} pid=${pid%/ns/net}
    grep -A1 -E -- "-- $4\$" "/proc/$pid/net/fib_trie" | grep -q "/32 host LOCAL" || continue
    enter="nsenter -t $pid -n --"
    break
  done 2>/dev/null
  [ -n "$enter" ] || { echo "no pod there has the address $4" >&2; exit 1; }
fi
exec 3<&0
$enter "$1" -I -S "$2" backend --port "$3" & server=$!
(cat <&3; kill $server) >/dev/null 2>&1 & wait $server
"""


def start_backend(executor: Executor, python: str, workdir: str, port: int, pod: str = "") -> Session:
    """Start our backend on a host, and return what ends it when it is closed; ``pod`` is the address of a pod of its.

    Raises RunError, HostError.
    """
    path = install(executor, workdir)
    session = executor.open(["sh", "-c", _RUN, "backend", python, path, str(port), pod])
    try:
        line = session.read_line(_READY_SECONDS)
    except HostError as error:
        session.close()
        where = f"port {port}{f' of {pod}' if pod else ''}"
        raise RunError(f"{executor.name}: the backend did not start on {where}: {error}") from error
    if line != f"ready {port}":
        session.close()
        raise RunError(f"{executor.name}: the backend said {line!r}")
    return session


class Backends:
    """What serves the endpoints while a cluster is open: started once, and anew where its connection has broken."""

    def __init__(self) -> None:
        self._running: list[tuple[Callable[[], Session], Session]] = []

    def add(self, session: Session, anew: Callable[[], Session]) -> None:
        """Take one that runs; ``anew`` starts it once more, and raises RunError, HostError."""
        self._running.append((anew, session))

    def revive(self) -> None:
        """Start those anew that have ended. Raises RunError, HostError."""
        for number, (anew, session) in enumerate(self._running):
            if not _goes_on(session):
                session.close()
                self._running[number] = anew, anew()

    def close(self) -> None:
        """End all, at once. Never raises."""
        running, self._running = self._running, []
        close_together([session.close for _, session in running])


def _goes_on(session: Session) -> bool:
    """Tell whether a session is still there: one that says nothing more is."""
    try:
        session.read_line(0.0)
    except CommandTimeoutError:
        return True
    except ConnectionLostError:
        return False
    return True


def endpoints(addresses: Mapping[str, Iterable[str]]) -> tuple[tuple[str, str], ...]:
    """Return (host, address) of each endpoint, the hosts by turns, so that few endpoints are on many hosts."""
    left = {name: list(own) for name, own in addresses.items()}
    found = []
    while any(left.values()):
        found += [(name, own.pop(0)) for name, own in left.items() if own]
    return tuple(found)


def addresses_of(pods: Sequence[Object], hosts: Collection[str]) -> dict[str, list[str]]:
    """Return the addresses of pods by their hosts: those that run, of IPv4, in a network of their own. Pure."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        spec, status = pod["spec"], pod.get("status") or {}
        addresses = [status.get("podIP", ""), *(one["ip"] for one in status.get("podIPs") or ())]
        address, host = next((one for one in addresses if "." in one), ""), spec.get("nodeName", "")
        runs = status.get("phase") == "Running" and not is_leaving(pod)
        if runs and host in hosts and address and not spec.get("hostNetwork"):
            found.setdefault(host, []).append(address)
    return found
