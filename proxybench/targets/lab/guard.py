"""Watches the processes that hold a lab up: whether one has ended, or stands still.

What they do in a measurement is felt as the data path's: a write that the API server hands on three seconds late, since
it was stopped, looks like a slow sync; one that it never hands on, since it was killed, like a sync that never came.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxybench.agent.node import oom_kills
from proxybench.hosts.base import end_of
from proxybench.nodes.node import want_of_memory
from proxybench.targets.lab.networks import below

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from proxybench.targets.lab.networks import Networks

_LOOK_SECONDS: Final = 0.5
_DEPTH: Final = 2  # below a process that is held: its children, and theirs; not what an agent has started
_STOPPED: Final = frozenset("Tt")
_CLOSE_SECONDS: Final = 5.0


class Guard:
    """Looks at a lab's processes every half a second, in a thread of its own, until ``close``.

    ``held`` are children of this process, by what they are ("API server"); with what they keep alive. In the file
    ``ended`` the lab itself tells of what ended in it, line by line. ``networks`` are its namespaces.
    """

    def __init__(
        self,
        held: Mapping[str, subprocess.Popen[bytes]],
        ended: Path | None = None,
        networks: Networks | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        self._held = dict(held)
        self._networks = networks
        self._ended = ended
        self._proc = proc
        self._killed = self._killed_for_memory()
        # As they are now: later on orphans of a node's sessions are among them, and one may stand still for ever.
        self._pids = {pid: name for name, one in self._held.items() for pid in below(one.pid, _DEPTH, proc)}
        self._lock = threading.Lock()
        self._passed: dict[str, str] = {}  # by process: what was seen of it since anybody asked
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lab-guard", daemon=True)
        self._thread.start()

    def trouble(self) -> str:
        """Say in one line what has befallen the lab, "" for nothing; of what stood still it is told once."""
        gone = next(self._gone(), "")
        with self._lock:
            stood = next(iter(self._passed.values()), "")
            self._passed.clear()
        return gone or stood

    def close(self) -> None:
        """End the watching. Call it before the lab is taken down."""
        self._over.set()
        self._thread.join(_CLOSE_SECONDS)

    def _gone(self) -> Iterator[str]:
        for name, process in self._held.items():
            if (code := process.poll()) is not None:
                killed = self._killed_for_memory() if code == -signal.SIGKILL else self._killed
                why = want_of_memory("this machine's kernel", self._killed, killed)
                yield f"the lab's {name} (process {process.pid} of this machine) {end_of(code)}{why}"
        if self._ended is not None and self._ended.exists():
            for line in self._ended.read_text().splitlines():
                yield f"in the lab, {line}"
        if self._networks:
            yield self._networks.lack()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for pid, name in self._pids.items():
                if program := self._stopped(pid):
                    words = f"the lab's {name} stood still ({program}, process {pid} of this machine, got SIGSTOP)"
                    with self._lock:
                        self._passed[name] = words

    def _stopped(self, pid: int) -> str:
        """Return the program of a process that is stopped; "" for one that is not, or has ended."""
        with contextlib.suppress(OSError):
            program, _, rest = (self._proc / str(pid) / "stat").read_text().rpartition(")")
            return program.partition("(")[2] if rest.split()[0] in _STOPPED else ""
        return ""

    def _killed_for_memory(self) -> int:
        """Return how many processes this machine's kernel has killed for want of memory since it started."""
        with contextlib.suppress(OSError):
            return oom_kills((self._proc / "vmstat").read_text())
        return 0
