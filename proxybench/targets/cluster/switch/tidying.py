"""Cleans a cluster's nodes of what modes of kube-proxy have left there that no longer run.

Since 1.31 kube-proxy removes iptables' and IPVS's rules itself when it starts with nftables, and the reverse; between
iptables and IPVS it leaves everything. So each node is looked at, after its first sync in the new mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from proxybench.errors import HostError, ProxierError
from proxybench.model import Mode
from proxybench.nodes.kernel.leftovers import removal, without
from proxybench.nodes.kernel.state import diff
from proxybench.nodes.kernel.tidy import look, tidy
from proxybench.targets.cluster.switch.changes import CONFIG, TEXT, said_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxybench.hosts.base import Executor
    from proxybench.hosts.fleet import Reached
    from proxybench.nodes.kernel.capture import Tools
    from proxybench.nodes.kernel.removal import Command
    from proxybench.targets.cluster.switch.changes import Change

ASK_SYNCED: Final = """\
import urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def get(path):
    return opener.open("http://127.0.0.1:10249/" + path, timeout=5).read().decode()
def values(name, lines=get("metrics").splitlines()):
    return [(line, float(line.split()[-1])) for line in lines if line.startswith(name)]
stamps = [value for _, value in values("kubeproxy_sync_proxy_rules_last_timestamp_seconds")]
asked = values("rest_client_requests_total{")
answered = sum(value for line, value in asked if 'code="2' in line)
print(get("proxyMode").strip(), min(stamps or [0.0]) > 0, int(answered), int(sum(value for _, value in asked)))
"""
"""For a node's Python: in which mode kube-proxy runs, whether it has written its rules since it was started, and how
many of its requests the API has answered, of all."""

DEAF_SECONDS: Final = 120.0
"""For a kube-proxy whose requests the API has never answered: so long we wait for an API that is away, too."""
_LIMIT: Final = 30.0
_ALL_SECONDS: Final = 900.0
_POLL: Final = 1.0
_LEAVES: Final = {Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE}

Note = dict[str, object]


class Tidied(NamedTuple):
    """What was removed, and why a node could not be looked at or cleaned; each in lines for people."""

    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class _Seen(NamedTuple):
    """A kube-proxy: its mode (None where it does not answer), whether it has synced, and its requests to the API."""

    mode: Mode | None = None
    synced: bool = False
    answered: int = 0
    asked: int = 0


Tidy = Callable[[Collection[Mode], Callable[[Note], None], Callable[[float], None]], Tidied]
"""Removes what modes (the first argument) have left wherever another one runs, as ``Tidying`` does.

The second is told before anything is removed; the third sleeps, and may raise HostError to have it end.
"""


def leave(old: Collection[Mode], note: Callable[[Note], None], sleep: Callable[[float], None]) -> Tidied:
    """Clean nothing."""
    del old, note, sleep
    return Tidied()


def modes_of(changes: Iterable[Change]) -> frozenset[Mode]:
    """Return the modes that configurations had before and after changes; none is iptables."""
    texts = (
        text
        for change in changes
        if change.field in {CONFIG, TEXT}
        for text in (change.before, change.after)
        if isinstance(text, str)
    )
    names = (str((said_by(text) or {}).get("mode") or Mode.IPTABLES) for text in texts)
    return frozenset(Mode(name) for name in names if name in set(Mode))


def surely_left(old: Collection[Mode], new: Mode) -> bool:
    """Tell whether no kube-proxy removes what these modes leave: then there is something that spoils figures."""
    return new in _LEAVES and bool(_LEAVES & set(old) - {new})


@dataclass(frozen=True)
class Tidying:
    """Cleans all nodes that run a kube-proxy and can be reached.

    ``reach`` connects to them anew, ``tools`` asks a node what it has, and its Python. ``limit_s`` is for a first sync,
    ``deaf_s`` as ``DEAF_SECONDS``.
    """

    reach: Callable[[], Reached]
    tools: Callable[[Executor], Tools]
    limit_s: float = 600.0
    deaf_s: float = DEAF_SECONDS

    def __call__(self, old: Collection[Mode], note: Callable[[Note], None], sleep: Callable[[float], None]) -> Tidied:
        """Remove what modes have left wherever another one runs, as ``Tidy`` says."""
        lock = Lock()

        def clean(executor: Executor) -> Tidied:
            def told(lines: Sequence[str], commands: Sequence[Command]) -> None:
                with lock:
                    note({"host": executor.name, "leftovers": list(lines), "removed_by": shown(commands)})

            try:
                tools = self.tools(executor)
                new = self._synced(executor, tools.python, sleep)
                left = [mode for mode in old if mode is not new]
                lines = tidy(executor, tools, left, new, told, sleep=sleep) if left else ()
            except (HostError, ProxierError) as error:
                return Tidied(faults=(f"{executor.name} was not cleaned: {error}",))
            whose = f"removed from {executor.name}, as {' and '.join(left)} left it"
            return Tidied(tuple(f"{whose}: {line}" for line in lines))

        return self._everywhere(clean)

    def foreseen(self, new: Mode) -> Tidied:
        """Say what would be left on each node by the mode that runs there, if ``new`` came now. Changes nothing."""

        def foresee(executor: Executor) -> Tidied:
            try:
                tools = self.tools(executor)
                now = self._ask(executor, tools.python).mode
                if now is None or now is new:
                    return Tidied()
                state, things = look(executor, tools, {now}, new)
            except (HostError, ProxierError) as error:
                return Tidied(faults=(f"{executor.name} would not be cleaned: {error}",))
            lines, by = diff(without(state, things), state), ", ".join(shown(removal(state, things, tools)))
            start = f"{executor.name} from {now} to {new}: unless kube-proxy removes it, by"
            return Tidied(tuple([f"{start} {by}: {'; '.join(lines)}"] if lines else []))

        return self._everywhere(foresee)

    def _everywhere(self, work: Callable[[Executor], Tidied]) -> Tidied:
        fleet, lost = self.reach()
        with fleet:
            found = fleet.fan_out(work, timeout=self.limit_s + _ALL_SECONDS)
        lines = [line for one in found.values() for line in one.lines]
        gone = [f"{name} is left as it is: {why}" for name, why in lost.items()]
        return Tidied((*lines, *gone), tuple(fault for one in found.values() for fault in one.faults))

    def _synced(self, executor: Executor, python: str, sleep: Callable[[float], None]) -> Mode:
        """Wait for the first sync; return the mode. Raises ProxierError when it takes too long, HostError."""
        began = time.monotonic()
        while True:
            found = self._ask(executor, python)
            if found.mode is not None and found.synced:
                return found.mode
            took = time.monotonic() - began
            if took > self.deaf_s and found.asked and not found.answered:
                what = f"the API has answered none of its kube-proxy's {found.asked} requests"
                raise ProxierError(f"{what} in {self.deaf_s:g} s; look at its log, and at the way to the API")
            if took > self.limit_s:
                raise ProxierError(f"its kube-proxy has written no rules within {self.limit_s:g} s of its start")
            sleep(_POLL)

    def _ask(self, executor: Executor, python: str) -> _Seen:
        words = executor.run([python, "-c", ASK_SYNCED], check=False, timeout=_LIMIT).stdout.split()
        if len(words) != len(_Seen._fields) or words[0] not in set(Mode):
            return _Seen()
        mode = Mode(words[0])
        synced = words[1] == "True" or mode is Mode.USERSPACE  # which counts nothing
        return _Seen(mode, synced, int(words[2]), int(words[3]))


def shown(commands: Iterable[Command]) -> list[str]:
    """Return the programs that commands run, as people write them; what they are given is told by the leftovers."""
    return [" ".join(_words(command.argv)) for command in commands]


def _words(argv: Sequence[str]) -> Sequence[str]:
    if argv[0] == "sh":
        return argv[4:]
    return (argv[0], "(over netlink)", argv[-1])
